//! A bucket of S3 that counts what it is asked, and answers as a test wants it to.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use crate::net::PATIENCE;
use crate::site::{Site, response};

/// How the bucket answers.
#[derive(Debug, Clone, Default)]
pub enum Manner {
    #[default]
    Well,
    /// Once there is a permit.
    Hold(Arc<Semaphore>),
    /// Never to the first that asks, well to the others.
    HoldFirst,
    /// 500.
    Ill,
    /// 500 to so many, then well.
    Fail(usize),
    /// 403 to so many, then well.
    Deny(usize),
    /// 503 to so many, with a second's rest, then well.
    Busy(usize),
}

#[derive(Default)]
struct State {
    /// Versions by key.
    objects: Mutex<BTreeMap<String, u32>>,
    /// `HEAD key`, `GET key` (whole), `LIST prefix` (all below it up to the next slash) and `ANY prefix` (whether there is something).
    asked: watch::Sender<Vec<String>>,
    manner: Mutex<Manner>,
    /// Its listings name no versions.
    nameless: AtomicBool,
}

pub struct Bucket {
    site: Site,
    state: Arc<State>,
}

/// Bytes of every object.
pub const SIZE: u64 = 5;
/// Entries of a page.
const PAGE: usize = 3;

impl Bucket {
    pub async fn open(keys: &[&str]) -> Self {
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let site = Site::open(move |method, target| answer(Arc::clone(&shared), method, target).boxed()).await;
        let bucket = Self { site, state };
        keys.iter().for_each(|key| bucket.put(key, 1));
        bucket
    }

    /// `NAME=URL` with so many seconds to live.
    pub fn spec(&self, name: &str, ttl: u32) -> String {
        format!("{name}=s3://b?endpoint=http://{}&anonymous=true&region=none&ttl={ttl}", self.site.addr)
    }

    pub fn put(&self, key: &str, version: u32) {
        self.state.objects.lock().unwrap().insert(key.to_owned(), version);
    }

    pub fn set(&self, manner: Manner) {
        *self.state.manner.lock().unwrap() = manner;
    }

    pub fn list_no_versions(&self) {
        self.state.nameless.store(true, Relaxed);
    }

    pub fn asked(&self) -> Vec<String> {
        self.state.asked.borrow().clone()
    }

    /// Waits until it was asked so often.
    pub async fn until_asked(&self, times: usize) {
        let mut asked = self.state.asked.subscribe();
        let met = timeout(PATIENCE, asked.wait_for(|asked| asked.len() >= times)).await;
        met.expect("the questions that a test waits for must come").expect("the sender lives as long as the bucket");
    }

    /// Nobody listens any more.
    pub fn close(&self) {
        self.site.close();
    }
}

async fn answer(state: Arc<State>, method: String, target: String) -> String {
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
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
        return refused;
    }
    let objects = state.objects.lock().unwrap();
    match query.contains_key("list-type") {
        true => {
            let page = list(&objects, &prefix, query.contains_key("delimiter"), query.get("continuation-token"));
            response("200 OK", "", &if state.nameless.load(Relaxed) { page.replace("ETag", "Tag") } else { page })
        }
        false => look(&objects, &method, key),
    }
}

async fn refuse(state: &State) -> Option<String> {
    let empty = |status: &str, headers: &str| Some(response(status, headers, ""));
    let gate = {
        let mut manner = state.manner.lock().unwrap();
        match &mut *manner {
            Manner::Deny(left) if *left > 0 => {
                *left -= 1;
                return empty("403 Forbidden", "");
            }
            Manner::Busy(left) if *left > 0 => {
                *left -= 1;
                return empty("503 Slow Down", "Retry-After: 1\r\n");
            }
            Manner::Fail(left) if *left > 0 => {
                *left -= 1;
                return empty("500 Internal Server Error", "");
            }
            Manner::Ill => return empty("500 Internal Server Error", ""),
            Manner::Hold(gate) => Arc::clone(gate),
            Manner::HoldFirst => {
                *manner = Manner::Well;
                Arc::new(Semaphore::new(0))
            }
            Manner::Well | Manner::Fail(_) | Manner::Deny(_) | Manner::Busy(_) => return None,
        }
    };
    gate.acquire().await.unwrap().forget();
    None
}

fn look(objects: &BTreeMap<String, u32>, method: &str, key: &str) -> String {
    match objects.get(key) {
        // Whatever is asked for ends behind its few bytes.
        Some(version) if method == "GET" => response(
            "206 Partial Content",
            &format!(
                "Content-Range: bytes 0-4/{SIZE}\r\nETag: \"v{version}\"\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
            ),
            &format!("v{version:04}"),
        ),
        // The head of an answer to HEAD has the length of what GET would give.
        Some(version) => format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\nETag: \"v{version}\"\r\n\
             Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\nConnection: close\r\n\r\n"
        ),
        None => response("404 Not Found", "", ""),
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
    xml
}
