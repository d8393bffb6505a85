use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use herring_blob::ByteRange;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::error::OriginError;
use super::object::Object;
use crate::random::Content;

/// For anything that is measured here. What takes longer is broken, not slow.
const DEADLINE: Duration = Duration::from_secs(300);
/// Bytes that are read before they are compared: what is no larger is compared when the clock has stopped.
const BLOCK: usize = 16 << 20;
/// The head of an answer.
const LONGEST_HEAD: usize = 16 << 10;

/// Asks as the plainest program would: a connection for each GET, one GET at a time. It asks origins and nodes in the same way.
pub struct Plain {
    /// Kept, since a fresh one costs page faults: 6 ms.
    buffer: Vec<u8>,
    seed: u64,
}

/// A server, and what stands there in front of a key.
#[derive(Debug, Clone)]
pub struct Place {
    pub address: SocketAddr,
    pub prefix: String,
}

struct Body {
    stream: TcpStream,
    /// Bytes of the body, and how many of them are in the buffer already.
    length: u64,
    here: usize,
}

impl Plain {
    pub fn new(seed: u64) -> Self {
        Self { buffer: vec![1; BLOCK + LONGEST_HEAD], seed }
    }

    /// From before the connection to the last byte, which are all compared with what they must be.
    pub async fn get(&mut self, place: &Place, object: Object, range: Option<ByteRange>) -> Result<Duration, OriginError> {
        let url = place.url(&object.key());
        let taken = timeout(DEADLINE, self.get_object(place, object, range)).await;
        taken.map_err(|_| OriginError::TimedOut { url: url.clone(), seconds: DEADLINE.as_secs() })?.map_err(|why| why.at(url))
    }

    async fn get_object(&mut self, place: &Place, object: Object, range: Option<ByteRange>) -> Result<Duration, Broken> {
        let (wanted, content) = (range.unwrap_or(object.all()), object.content(self.seed));
        let began = Instant::now();
        let mut body = self.ask(place, &object.key(), range).await?;
        if body.length != wanted.len() {
            return Err(Broken::Answer(format!("{} bytes of {}", body.length, wanted.len())));
        }
        let (mut at, mut filled) = (wanted.start, body.here);
        while at + (filled as u64) < wanted.end {
            if filled == BLOCK {
                self.compare(content, at, filled)?;
                (at, filled) = (at + filled as u64, 0);
            }
            match body.stream.read(&mut self.buffer[filled..BLOCK]).await? {
                0 => return Err(Broken::Answer(format!("it ended after {} bytes", at - wanted.start + filled as u64))),
                more => filled += more,
            }
        }
        let took = began.elapsed();
        self.compare(content, at, filled)?;
        Ok(took)
    }

    /// A listing, and the time it took; `entries` must be in it.
    pub async fn list(&mut self, place: &Place, directory: u64, entries: u64) -> Result<Duration, OriginError> {
        let key = format!("d{directory}/");
        let url = place.url(&key);
        let listed = timeout(DEADLINE, self.list_directory(place, &key, entries)).await;
        listed.map_err(|_| OriginError::TimedOut { url: url.clone(), seconds: DEADLINE.as_secs() })?.map_err(|why| why.at(url))
    }

    async fn list_directory(&mut self, place: &Place, key: &str, entries: u64) -> Result<Duration, Broken> {
        let began = Instant::now();
        let body = self.ask(place, key, None).await?;
        let mut text = self.buffer[..body.here].to_vec();
        let rest = body.length.saturating_sub(body.here as u64);
        body.stream.take(rest).read_to_end(&mut text).await?;
        let took = began.elapsed();
        // Each entry has one name, whoever lists it.
        let names = String::from_utf8_lossy(&text).matches("\"name\":").count() as u64;
        if names == entries { Ok(took) } else { Err(Broken::Answer(format!("{names} names of {entries}"))) }
    }

    /// Up to the body, whose first bytes are then in the buffer.
    async fn ask(&mut self, place: &Place, key: &str, range: Option<ByteRange>) -> Result<Body, Broken> {
        let mut stream = TcpStream::connect(place.address).await?;
        stream.set_nodelay(true)?;
        let range = range.map_or_else(String::new, |range| format!("Range: bytes={}-{}\r\n", range.start, range.end - 1));
        let (prefix, host) = (&place.prefix, place.address);
        let request = format!("GET {prefix}{key} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{range}\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut filled = 0;
        loop {
            if let Some(end) = self.buffer[..filled].windows(4).position(|four| four == b"\r\n\r\n") {
                let length = length(&String::from_utf8_lossy(&self.buffer[..end])).map_err(Broken::Answer)?;
                self.buffer.copy_within(end + 4..filled, 0);
                return Ok(Body { stream, length, here: filled - end - 4 });
            }
            match stream.read(&mut self.buffer[filled..LONGEST_HEAD]).await? {
                0 => return Err(Broken::Answer("it has no end of its head".to_owned())),
                more => filled += more,
            }
        }
    }

    fn compare(&self, content: Content, at: u64, length: usize) -> Result<(), Broken> {
        if content.matches(at, &self.buffer[..length]) {
            Ok(())
        } else {
            Err(Broken::Answer(format!("wrong bytes from {at} on")))
        }
    }
}

impl Place {
    fn url(&self, key: &str) -> String {
        format!("http://{}{}{key}", self.address, self.prefix)
    }
}

/// What comes behind this head, or what is said instead of a success.
fn length(head: &str) -> Result<u64, String> {
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    let length = lines.filter_map(|line| line.split_once(':')).find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    match (status.split(' ').nth(1), length.and_then(|(_, value)| value.trim().parse().ok())) {
        (Some("200" | "206"), Some(length)) => Ok(length),
        (Some("200" | "206"), None) => Err("it does not say how long it is".to_owned()),
        _ => Err(status.to_owned()),
    }
}

/// What went wrong with one GET.
#[derive(Debug)]
enum Broken {
    Io(io::Error),
    Answer(String),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Broken {
    fn at(self, url: String) -> OriginError {
        match self {
            Self::Io(source) => OriginError::Io { url, source },
            Self::Answer(detail) => OriginError::Answer { url, detail },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::server::{Origin, Site};
    use super::*;

    const SITE: Site = Site { latency: Duration::ZERO, rate: 0, seed: 5, entries: 3 };

    async fn served() -> (Origin, Place) {
        let origin = Origin::start(SITE).await.unwrap();
        let place = Place { address: origin.address, prefix: "/".into() };
        (origin, place)
    }

    #[tokio::test]
    async fn the_origin_gives_what_the_client_expects_and_counts_it() {
        let (origin, place) = served().await;
        let mut plain = Plain::new(SITE.seed);
        let object = Object { directory: 1, number: 2, size: (BLOCK + 100) as u64 };
        plain.get(&place, object, None).await.unwrap();
        plain.get(&place, object, Some(ByteRange::new(65_536, 65_600))).await.unwrap();
        plain.list(&place, 1, 3).await.unwrap();
        let counts = origin.counts();
        assert_eq!((counts.gets, counts.lists, counts.heads, counts.bytes), (2, 1, 0, object.size + 64));
    }

    #[tokio::test]
    async fn what_is_not_as_it_should_be_is_told() {
        let (_origin, place) = served().await;
        let object = Object { directory: 1, number: 2, size: 100 };
        let wrong = Plain::new(SITE.seed + 1).get(&place, object, None).await.unwrap_err();
        assert!(wrong.to_string().contains("wrong bytes from 0 on"), "{wrong}");
        let mut plain = Plain::new(SITE.seed);
        let short = plain.list(&place, 1, 4).await.unwrap_err();
        assert!(short.to_string().contains("3 names of 4"), "{short}");
        let behind = plain.get(&place, object, Some(ByteRange::new(200, 300))).await.unwrap_err();
        assert!(behind.to_string().contains("416"), "{behind}");
        let nowhere = Place { prefix: "/nowhere/".into(), ..place };
        let missing = plain.get(&nowhere, object, None).await.unwrap_err();
        assert!(missing.to_string().contains("404"), "{missing}");
    }
}
