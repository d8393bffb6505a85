//! The plainest client that there is: one connection, HTTP/1.1, one GET at a time, and what comes is dropped.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use herring_blob::{BlobId, ByteRange};

use super::DEADLINE;

/// Read at once.
const BUFFER: usize = 1 << 20;

pub struct Plain {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Plain {
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        Ok(Self { stream, buffer: vec![0; BUFFER] })
    }

    /// A range of a blob: how many bytes came, which are as many as were asked for.
    pub fn get(&mut self, id: BlobId, range: ByteRange) -> io::Result<u64> {
        let last = range.end - 1;
        let request = format!("GET /v1/blobs/{id} HTTP/1.1\r\nHost: localhost\r\nRange: bytes={}-{last}\r\n\r\n", range.start);
        self.stream.write_all(request.as_bytes())?;
        let (length, mut here) = self.head()?;
        if length != range.len() {
            return Err(io::Error::other(format!("{length} bytes of {}", range.len())));
        }
        while here < length {
            let most = usize::try_from(length - here).unwrap_or(BUFFER).min(BUFFER);
            match self.stream.read(&mut self.buffer[..most])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                more => here += more as u64,
            }
        }
        Ok(length)
    }

    /// How long the body is, and how many bytes of it came with the head.
    fn head(&mut self) -> io::Result<(u64, u64)> {
        let mut filled = 0;
        loop {
            match self.stream.read(&mut self.buffer[filled..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                more => filled += more,
            }
            let end = self.buffer[..filled].windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(end) = end {
                let length = length(&String::from_utf8_lossy(&self.buffer[..end]));
                return length.map(|length| (length, (filled - end - 4) as u64)).map_err(io::Error::other);
            }
        }
    }
}

fn length(head: &str) -> Result<u64, String> {
    let (status, headers) = head.split_once("\r\n").unwrap_or((head, ""));
    let mut fields = headers.lines().filter_map(|line| line.split_once(':'));
    let length = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|(_, value)| value.trim().parse().ok()).filter(|_| status.contains(" 206"));
    length.ok_or_else(|| format!("no part of a body, but {status:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_part_counts() {
        let head = |status| format!("HTTP/1.1 {status}\r\nServer: x\r\ncontent-Length:  42");
        assert_eq!(length(&head("206 Partial Content")), Ok(42));
        assert!(length(&head("200 OK")).is_err() && length("HTTP/1.1 206 Partial Content").is_err());
    }
}
