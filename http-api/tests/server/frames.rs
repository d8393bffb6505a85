//! HTTP/2 as somebody speaks it who means ill: frame by frame, and nothing checked.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::sockets::{Running, within};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The fields of a request, in HPACK without compression. `method`: an index of the static table, 2 is GET and 3 POST.
pub fn asks(method: u8, path: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    // Scheme http; authority and path are the literal values of static names 1 and 4.
    [&[0x80 | method, 0x86, 0x01], text("localhost").as_slice(), &[0x04], &text(path)].concat()
}

pub fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &asks(2, path))
}

pub fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &8u32.to_be_bytes())
}

/// A connection that greeted, and heard the server's greeting.
pub struct Raw(TcpStream);

/// A frame that came: its type, flags, stream and payload.
#[derive(Debug)]
pub struct Came {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Raw {
    pub async fn connect(server: &Running) -> Self {
        let mut raw = Self(server.raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await);
        raw.0.set_nodelay(true).unwrap();
        raw.send(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
        raw
    }

    /// Fails once the other end has closed.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        within(self.0.write_all(bytes)).await
    }

    /// `None` at the connection's end, however it ends.
    pub async fn next(&mut self) -> Option<Came> {
        let mut head = [0; 9];
        within(self.0.read_exact(&mut head)).await.ok()?;
        let mut payload = vec![0; usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])];
        within(self.0.read_exact(&mut payload)).await.ok()?;
        let stream = u32::from_be_bytes(head[5..].try_into().unwrap());
        Some(Came { kind: head[3], flags: head[4], stream, payload })
    }

    /// Whether the server is still there, and worked off all that it was sent.
    pub async fn is_well(&mut self) -> bool {
        if self.send(&frame(PING, 0, 0, b"are you?")).await.is_err() {
            return false;
        }
        loop {
            match self.next().await {
                Some(Came { kind: PING, flags: ACK, .. }) => return true,
                Some(_) => {}
                None => return false,
            }
        }
    }

    /// Sends all of it, and listens meanwhile; then waits for the end. The error codes of the last words, if any were heard.
    pub async fn flood(self, bytes: impl IntoIterator<Item = Vec<u8>>) -> Vec<u32> {
        let (reader, mut writer) = self.0.into_split();
        let mut hears = Box::pin(last_words(reader));
        let mut said = None;
        for part in bytes {
            tokio::select! {
                biased;
                words = &mut hears, if said.is_none() => said = Some(words),
                written = writer.write_all(&part) => if written.is_err() { break },
            }
            if said.is_some() {
                break;
            }
        }
        match said {
            Some(words) => words,
            None => within(hears).await,
        }
    }
}

async fn last_words(mut reader: tokio::net::tcp::OwnedReadHalf) -> Vec<u32> {
    let mut words = Vec::new();
    let mut head = [0; 9];
    while reader.read_exact(&mut head).await.is_ok() {
        let mut payload = vec![0; usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])];
        if reader.read_exact(&mut payload).await.is_err() {
            break;
        }
        if head[3] == GOAWAY {
            words.push(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
        }
    }
    words
}
