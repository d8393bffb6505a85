use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use herring_blob::ByteRange;

use super::error::LabError;
use super::hosts::Stop;

/// For a connection, and between two looks at whether to stop.
const GLANCE: Duration = Duration::from_millis(250);
const CONNECT: Duration = Duration::from_secs(3);
/// Bytes read at once.
const PIECE: usize = 256 << 10;

/// A connection to a plain web server, on which one thing is asked after the other: as little work as a client can have.
pub struct Http<'a> {
    host: usize,
    stream: BufReader<TcpStream>,
    deadline: Instant,
    stop: &'a Stop,
}

impl<'a> Http<'a> {
    /// From `host`, where this thread is.
    pub fn connect(host: usize, server: SocketAddr, deadline: Instant, stop: &'a Stop) -> Result<Self, LabError> {
        let connected = TcpStream::connect_timeout(&server, CONNECT).and_then(|stream| {
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(GLANCE))?;
            Ok(BufReader::with_capacity(PIECE, stream))
        });
        let stream = connected.map_err(LabError::io(format!("host {host}: {server}")))?;
        Ok(Self { host, stream, deadline, stop })
    }

    /// Gives the body to `take`, piece by piece, each with where it begins in it; the number of its bytes.
    pub fn get(
        &mut self,
        path: &str,
        range: Option<ByteRange>,
        mut take: impl FnMut(u64, &[u8]) -> Result<(), LabError>,
    ) -> Result<u64, LabError> {
        let range = range.map_or_else(String::new, |range| format!("Range: bytes={}-{}\r\n", range.start, range.end - 1));
        let request = format!("GET {path} HTTP/1.1\r\nHost: central\r\n{range}\r\n");
        self.stream.get_mut().write_all(request.as_bytes()).map_err(LabError::io(path))?;
        let (length, mut at) = (self.head(path)?, 0);
        let mut piece = vec![0; PIECE];
        while at < length {
            let wanted = usize::try_from(length - at).unwrap_or(PIECE).min(PIECE);
            let read = self.patiently(path, |stream| stream.read(&mut piece[..wanted]))?;
            if read == 0 {
                return Err(self.broken(path, format!("it ended after {at} of {length} bytes")));
            }
            take(at, &piece[..read])?;
            at += read as u64;
        }
        Ok(length)
    }

    /// Up to the body; its length.
    fn head(&mut self, path: &str) -> Result<u64, LabError> {
        let status = self.line(path)?;
        let mut length = None;
        loop {
            let line = self.line(path)?;
            match line.split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.trim().parse().ok(),
                None if line.is_empty() => break,
                _ => {}
            }
        }
        let good = status.split(' ').nth(1).is_some_and(|code| code == "200" || code == "206");
        length.filter(|_| good).ok_or_else(|| self.broken(path, format!("it was answered with {status:?}")))
    }

    fn line(&mut self, path: &str) -> Result<String, LabError> {
        let mut line = Vec::new();
        // What was read of a line before a timeout stays in it.
        let read = self.patiently(path, |stream| stream.read_until(b'\n', &mut line))?;
        if read == 0 && line.is_empty() {
            return Err(self.broken(path, "it was closed instead of answered".to_owned()));
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    fn patiently<T>(
        &mut self,
        path: &str,
        mut read: impl FnMut(&mut BufReader<TcpStream>) -> io::Result<T>,
    ) -> Result<T, LabError> {
        loop {
            self.stop.go_on()?;
            match read(&mut self.stream) {
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
                done => return done.map_err(LabError::io(format!("host {}: {path}", self.host))),
            }
            if Instant::now() > self.deadline {
                return Err(self.broken(path, "it takes too long".to_owned()));
            }
        }
    }

    fn broken(&self, path: &str, detail: String) -> LabError {
        LabError::Broken { host: self.host, detail: format!("{path}: {detail}") }
    }
}
