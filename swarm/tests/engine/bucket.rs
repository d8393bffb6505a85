//! A bucket of S3 that counts what it is asked, and answers as a test wants it to.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

/// How the bucket answers.
#[derive(Debug, Clone, Default)]
pub enum Manner {
    #[default]
    Well,
    /// Once there is a permit.
    Hold(Arc<Semaphore>),
    /// 500.
    Ill,
    /// 403 to so many, then well.
    Deny(usize),
    /// 503 to so many, with a second's rest, then well.
    Busy(usize),
}

#[derive(Default)]
struct State {
    /// Versions by key.
    objects: Mutex<BTreeMap<String, u32>>,
    /// `HEAD key`, `LIST prefix` (all below it up to the next slash) and `ANY prefix` (whether there is something).
    asked: watch::Sender<Vec<String>>,
    manner: Mutex<Manner>,
}

pub struct Bucket {
    addr: SocketAddr,
    state: Arc<State>,
    serving: AbortOnDropHandle<()>,
}

/// Bytes of every object.
pub const SIZE: u64 = 5;
/// Entries of a page.
const PAGE: usize = 3;

impl Bucket {
    pub async fn open(keys: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (addr, state) = (listener.local_addr().unwrap(), Arc::new(State::default()));
        let bucket =
            Self { addr, state: Arc::clone(&state), serving: AbortOnDropHandle::new(tokio::spawn(serve(listener, state))) };
        keys.iter().for_each(|key| bucket.put(key, 1));
        bucket
    }

    /// `NAME=URL` with so many seconds to live.
    pub fn spec(&self, name: &str, ttl: u32) -> String {
        format!("{name}=s3://b?endpoint=http://{}&anonymous=true&region=none&ttl={ttl}", self.addr)
    }

    pub fn put(&self, key: &str, version: u32) {
        self.state.objects.lock().unwrap().insert(key.to_owned(), version);
    }

    pub fn set(&self, manner: Manner) {
        *self.state.manner.lock().unwrap() = manner;
    }

    pub fn asked(&self) -> Vec<String> {
        self.state.asked.borrow().clone()
    }

    /// Waits until it was asked so often.
    pub async fn until_asked(&self, times: usize) {
        let mut asked = self.state.asked.subscribe();
        let met = timeout(Duration::from_secs(20), asked.wait_for(|asked| asked.len() >= times)).await;
        met.expect("the questions that a test waits for must come").expect("the sender lives as long as the bucket");
    }

    /// Nobody listens any more.
    pub fn close(&self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    let mut guests = Vec::new();
    while let Ok((stream, _)) = listener.accept().await {
        guests.push(AbortOnDropHandle::new(tokio::spawn(answer(stream, Arc::clone(&state)))));
    }
}

/// One request a connection.
async fn answer(mut stream: TcpStream, state: Arc<State>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let key = path.strip_prefix("/b").unwrap().trim_start_matches('/');
    let query: BTreeMap<_, _> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
    let prefix = query.get("prefix").copied().unwrap_or_default().replace("%2F", "/");
    let what = match query.contains_key("list-type") {
        true if query.contains_key("delimiter") => format!("LIST {prefix}"),
        true => format!("ANY {prefix}"),
        false => format!("{method} {key}"),
    };
    state.asked.send_modify(|asked| asked.push(what));
    if let Some(refused) = refuse(&state).await {
        let _ = stream.write_all(refused.as_bytes()).await;
        return;
    }
    let response = match query.contains_key("list-type") {
        true => list(&state.objects.lock().unwrap(), &prefix, query.contains_key("delimiter"), query.get("continuation-token")),
        false => look(&state.objects.lock().unwrap(), key),
    };
    let _ = stream.write_all(response.as_bytes()).await;
}

async fn refuse(state: &State) -> Option<String> {
    let empty = |status: &str| Some(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
    let gate = {
        let mut manner = state.manner.lock().unwrap();
        match &mut *manner {
            Manner::Deny(left) if *left > 0 => {
                *left -= 1;
                return empty("403 Forbidden");
            }
            Manner::Busy(left) if *left > 0 => {
                *left -= 1;
                return empty("503 Slow Down\r\nRetry-After: 1");
            }
            Manner::Ill => return empty("500 Internal Server Error"),
            Manner::Hold(gate) => Arc::clone(gate),
            Manner::Well | Manner::Deny(_) | Manner::Busy(_) => return None,
        }
    };
    gate.acquire().await.unwrap().forget();
    None
}

fn look(objects: &BTreeMap<String, u32>, key: &str) -> String {
    match objects.get(key) {
        Some(version) => format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\nETag: \"v{version}\"\r\n\
             Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\nConnection: close\r\n\r\n"
        ),
        None => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned(),
    }
}

/// One level where there is a delimiter. The token is the last name before.
fn list(objects: &BTreeMap<String, u32>, prefix: &str, delimiter: bool, after: Option<&&str>) -> String {
    let mut level = BTreeMap::new();
    for (key, version) in objects.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix)) {
        match key[prefix.len()..].split_once('/').filter(|_| delimiter) {
            Some((directory, _)) => level.insert(format!("{prefix}{directory}/"), None),
            None => level.insert(key.clone(), Some(version)),
        };
    }
    let rest: Vec<_> =
        level.iter().filter(|(key, _)| after.is_none_or(|after| key.replace('/', "%2F").as_str() > *after)).collect();
    let mut xml = "<ListBucketResult>".to_owned();
    for (key, version) in rest.iter().take(PAGE) {
        let _ = match version {
            None => write!(xml, "<CommonPrefixes><Prefix>{key}</Prefix></CommonPrefixes>"),
            Some(version) => write!(
                xml,
                "<Contents><Key>{key}</Key><Size>{SIZE}</Size><ETag>&quot;v{version}&quot;</ETag>\
                 <LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
            ),
        };
    }
    if rest.len() > PAGE {
        let last = rest[PAGE - 1].0;
        let _ = write!(xml, "<IsTruncated>true</IsTruncated><NextContinuationToken>{last}</NextContinuationToken>");
    } else {
        xml.push_str("<IsTruncated>false</IsTruncated>");
    }
    xml.push_str("</ListBucketResult>");
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{xml}", xml.len())
}
