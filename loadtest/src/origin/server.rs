//! An origin of our own: HTTP/1.1 with ranges, ETags, If-Match and nginx's JSON index, as slow as is wished, and every request counted.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use herring_blob::ByteRange;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::object::{Object, index, parse_directory};
use super::request::Request;

/// The head of a request.
const LONGEST_HEAD: usize = 16 << 10;
/// Bytes written at once, and between two looks at the clock.
const PIECE: usize = 64 << 10;
/// A connection on which nothing is asked for so long is closed: longer than clients keep theirs, 90 s.
const IDLE: Duration = Duration::from_secs(120);
/// Everything is as old as this.
const MODIFIED: &str = "Sun, 01 Nov 2026 00:00:00 GMT";

#[derive(Debug, Clone, Copy)]
pub struct Site {
    /// Before each answer.
    pub latency: Duration,
    /// Bytes a second of each connection; 0: as many as go.
    pub rate: u64,
    /// Of the objects' bytes.
    pub seed: u64,
    /// What is listed in each directory.
    pub entries: u64,
}

/// What was asked and given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub heads: u64,
    pub gets: u64,
    pub lists: u64,
    /// Of objects.
    pub bytes: u64,
}

impl Counts {
    pub fn since(self, before: Self) -> Self {
        let (heads, gets) = (self.heads - before.heads, self.gets - before.gets);
        Self { heads, gets, lists: self.lists - before.lists, bytes: self.bytes - before.bytes }
    }
}

#[derive(Debug, Default)]
struct Counters {
    heads: AtomicU64,
    gets: AtomicU64,
    lists: AtomicU64,
    bytes: AtomicU64,
    /// Requests that are being answered.
    busy: AtomicU64,
}

/// It runs until this is dropped.
pub struct Origin {
    pub address: SocketAddr,
    counters: Arc<Counters>,
    accepting: JoinHandle<()>,
}

impl Origin {
    pub async fn start(site: Site) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (address, counters) = (listener.local_addr()?, Arc::<Counters>::default());
        let accepting = tokio::spawn(accept(listener, site, counters.clone()));
        Ok(Self { address, counters, accepting })
    }

    pub fn counts(&self) -> Counts {
        let Counters { heads, gets, lists, bytes, .. } = &*self.counters;
        let [heads, gets, lists, bytes] = [heads, gets, lists, bytes].map(|counter| counter.load(Relaxed));
        Counts { heads, gets, lists, bytes }
    }

    pub fn is_busy(&self) -> bool {
        self.counters.busy.load(Relaxed) > 0
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, site: Site, counters: Arc<Counters>) {
    // They end with this task.
    let mut conversations = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => { conversations.spawn(converse(stream, site, counters.clone())); }
            Some(_) = conversations.join_next() => {}
        }
    }
}

/// An error is the other side's end of it.
async fn converse(mut stream: TcpStream, site: Site, counters: Arc<Counters>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut unread = Vec::new();
    while let Ok(Some(head)) = timeout(IDLE, read_head(&mut stream, &mut unread)).await? {
        let Some(request) = Request::parse(&head) else {
            return stream.write_all(b"HTTP/1.1 405 Method Not Allowed\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").await;
        };
        let busy = Busy::new(&counters.busy);
        answer(&mut stream, &request, site, &counters).await?;
        drop(busy);
        if request.last {
            break;
        }
    }
    stream.shutdown().await
}

struct Busy<'a>(&'a AtomicU64);

impl<'a> Busy<'a> {
    fn new(counter: &'a AtomicU64) -> Self {
        counter.fetch_add(1, Relaxed);
        Self(counter)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Up to its empty line; `None` where no more come. What comes behind it stays in `unread`.
async fn read_head(stream: &mut TcpStream, unread: &mut Vec<u8>) -> io::Result<Option<String>> {
    loop {
        if let Some(end) = unread.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = unread.split_off(end + 4);
            let head = std::mem::replace(unread, rest);
            return Ok(Some(String::from_utf8_lossy(&head[..end]).into_owned()));
        }
        if unread.len() > LONGEST_HEAD || stream.read_buf(unread).await? == 0 {
            return Ok(None);
        }
    }
}

async fn answer(stream: &mut TcpStream, request: &Request, site: Site, counters: &Counters) -> io::Result<()> {
    let object = Object::parse(&request.path);
    let listed = request.path.strip_suffix('/').and_then(parse_directory).filter(|_| !request.head);
    let counter = match (request.head, listed) {
        (true, _) => &counters.heads,
        (false, Some(_)) => &counters.lists,
        (false, None) => &counters.gets,
    };
    counter.fetch_add(1, Relaxed);
    sleep(site.latency).await;
    match (object, listed) {
        (Some(object), _) => give(stream, request, object, site, counters).await,
        (None, Some(_)) => {
            let body = index(site.entries, MODIFIED);
            let head = head("200 OK", body.len() as u64, "Content-Type: application/json\r\n");
            stream.write_all((head + &body).as_bytes()).await
        }
        (None, None) => stream.write_all(head("404 Not Found", 0, "").as_bytes()).await,
    }
}

async fn give(stream: &mut TcpStream, request: &Request, object: Object, site: Site, counters: &Counters) -> io::Result<()> {
    let (etag, size) = (object.etag(), object.size);
    if request.if_match.as_ref().is_some_and(|wanted| *wanted != etag) {
        return stream.write_all(head("412 Precondition Failed", 0, "").as_bytes()).await;
    }
    let about = format!(
        "ETag: {etag}\r\nLast-Modified: {MODIFIED}\r\nAccept-Ranges: bytes\r\nContent-Type: application/octet-stream\r\n"
    );
    let (status, range, about) = match request.range.filter(|_| !request.head).map(|asked| asked.within(size)) {
        None => ("200 OK", object.all(), about),
        Some(Some(range)) => {
            let said = format!("Content-Range: bytes {}-{}/{size}\r\n", range.start, range.end - 1);
            ("206 Partial Content", range, about + &said)
        }
        Some(None) => {
            let about = format!("Content-Range: bytes */{size}\r\n");
            return stream.write_all(head("416 Range Not Satisfiable", 0, &about).as_bytes()).await;
        }
    };
    stream.write_all(head(status, range.len(), &about).as_bytes()).await?;
    if request.head { Ok(()) } else { send(stream, object, range, site, &counters.bytes).await }
}

fn head(status: &str, length: u64, more: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{more}\r\n")
}

/// The bytes of `range`, not faster than the rate.
async fn send(stream: &mut TcpStream, object: Object, range: ByteRange, site: Site, sent: &AtomicU64) -> io::Result<()> {
    let (content, began) = (object.content(site.seed), Instant::now());
    let (mut buffer, mut at) = (vec![0; PIECE + 8], range.start);
    while at < range.end {
        // Content is known from multiples of 8 on.
        let skip = usize::try_from(at % 8).unwrap_or(0);
        let length = usize::try_from(range.end - at).unwrap_or(PIECE).min(PIECE);
        content.fill(at - at % 8, &mut buffer[..skip + length]);
        stream.write_all(&buffer[skip..skip + length]).await?;
        at += length as u64;
        sent.fetch_add(length as u64, Relaxed);
        if site.rate > 0 && at < range.end {
            sleep_until(began + Duration::from_secs_f64((at - range.start) as f64 / site.rate as f64)).await;
        }
    }
    Ok(())
}
