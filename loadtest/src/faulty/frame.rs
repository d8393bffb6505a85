use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// What a client says before its first frame.
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const WINDOW_UPDATE: u8 = 8;

pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
pub const PADDED: u8 = 8;

const HEAD: usize = 9;

/// One frame of HTTP/2 (RFC 9113), its payload not understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    /// 0: the connection.
    pub stream: u32,
    pub payload: Bytes,
}

impl Frame {
    pub fn reset(stream: u32, code: u32) -> Self {
        Self { kind: RST_STREAM, flags: 0, stream, payload: Bytes::copy_from_slice(&code.to_be_bytes()) }
    }

    /// Lets the other side send so many bytes more on this connection; not 0.
    pub fn window(bytes: u32) -> Self {
        Self { kind: WINDOW_UPDATE, flags: 0, stream: 0, payload: Bytes::copy_from_slice(&bytes.to_be_bytes()) }
    }

    pub fn is(&self, kind: u8, flag: u8) -> bool {
        self.kind == kind && self.flags & flag != 0
    }

    /// Bytes that count against the connection's window.
    pub fn weight(&self) -> u32 {
        // A payload has at most 2²⁴ − 1 bytes.
        if self.kind == DATA { u32::try_from(self.payload.len()).unwrap_or(u32::MAX) } else { 0 }
    }

    /// The next one; `None` where the other side has ended between two.
    pub async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Self>> {
        let mut head = [0; HEAD];
        if from.read(&mut head[..1]).await? == 0 {
            return Ok(None);
        }
        from.read_exact(&mut head[1..]).await?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let mut payload = BytesMut::with_capacity(length).limit(length);
        while payload.has_remaining_mut() {
            if from.read_buf(&mut payload).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        // The first bit is reserved.
        let stream = u32::from_be_bytes(stream) & (u32::MAX >> 1);
        Ok(Some(Self { kind, flags, stream, payload: payload.into_inner().freeze() }))
    }

    pub fn head(&self) -> [u8; HEAD] {
        let [_, a, b, c] = u32::try_from(self.payload.len()).unwrap_or(u32::MAX).to_be_bytes();
        let [w, x, y, z] = self.stream.to_be_bytes();
        [a, b, c, self.kind, self.flags, w, x, y, z]
    }

    pub async fn write(&self, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        to.write_all(&self.head()).await?;
        to.write_all(&self.payload).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_frame_is_read_as_it_was_written() {
        let frames = [
            Frame::reset(7, 2),
            Frame::window(1),
            Frame { kind: DATA, flags: END_STREAM, stream: 9, payload: vec![3; 70_000].into() },
        ];
        let mut wire = Vec::new();
        for frame in &frames {
            frame.write(&mut wire).await.unwrap();
        }
        let mut read = &wire[..];
        for frame in &frames {
            assert_eq!(Frame::read(&mut read).await.unwrap().as_ref(), Some(frame));
        }
        assert_eq!(Frame::read(&mut read).await.unwrap(), None);
        assert!(Frame::read(&mut &wire[..wire.len() - 1][..]).await.unwrap().is_some());
        assert!(Frame::read(&mut &wire[..5]).await.is_err(), "it ends within a frame");
    }
}
