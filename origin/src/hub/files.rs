use futures_util::{StreamExt, TryStreamExt};
use herring_blob::ByteRange;
use quick_cache::sync::Cache;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderName};
use reqwest::{Method, Response, StatusCode};
use url::Url;

use super::NO_TIME;
use super::api::{Api, End, Trail, check};
use super::place::Place;
use crate::backend::{Body, Found};
use crate::error::Fault;

/// Places of large files' bytes that are remembered, of some 1 KiB each.
const LINKS: usize = 1024;

const LINKED_ETAG: HeaderName = HeaderName::from_static("x-linked-etag");
const LINKED_SIZE: HeaderName = HeaderName::from_static("x-linked-size");

/// Files' bytes. The hub sends whoever wants a large file's to another host, by a link that is good for an hour or so: without
/// remembering it, each chunk would cost a question of the hub.
pub(super) struct Files {
    /// By file and version.
    links: Cache<String, Url>,
}

impl Files {
    pub fn new() -> Self {
        Self { links: Cache::new(LINKS) }
    }

    pub async fn head(&self, api: &Api, place: &Place) -> Result<Found, Fault> {
        let trail = api.follow(Method::HEAD, api.url("", &place.file_path())?, None).await?;
        let (version, size) = trail.found();
        let missing = || Fault::Unusable("the hub tells no ETag or no size".to_owned());
        Ok(Found { version: version.ok_or_else(missing)?, size: size.ok_or_else(missing)?, modified: NO_TIME })
    }

    pub async fn read(&self, api: &Api, place: &Place, version: &str, size: u64, range: ByteRange) -> Result<Body, Fault> {
        let path = place.file_path();
        let name = format!("{path}\n{version}");
        if let Some(link) = self.links.get(&name) {
            match linked(api, link, size, range).await {
                Err(Fault::Denied(_) | Fault::NotFound | Fault::Unusable(_)) => drop(self.links.remove(&name)),
                done => return done,
            }
        }
        let trail = api.follow(Method::GET, api.url("", &path)?, Some(range)).await?;
        match trail.found() {
            (Some(now), Some(bytes)) if now == version && bytes == size => {}
            (Some(_), Some(_)) => return Err(Fault::Changed),
            _ => return Err(Fault::Unusable("the hub tells no ETag or no size".to_owned())),
        }
        match trail.end {
            End::Here(answer) => body(answer, size, range),
            End::There(link) => {
                let body = linked(api, link.clone(), size, range).await?;
                self.links.insert(name, link);
                Ok(body)
            }
        }
    }
}

impl Trail {
    /// The version and size of the whole file. Where the hub sends elsewhere, its own word counts: others have other ETags.
    fn found(&self) -> (Option<String>, Option<u64>) {
        let here = match &self.end {
            End::Here(answer) => Some(answer.headers()),
            End::There(_) => None,
        };
        let etag = text(&self.said, &LINKED_ETAG).or_else(|| text(here?, &ETAG));
        let size = text(&self.said, &LINKED_SIZE).and_then(|size| size.parse().ok()).or_else(|| whole_size(here?));
        (etag.map(|etag| unquoted(etag).to_owned()), size)
    }
}

/// What a link leads to, by which the version is fixed; its size is looked at all the same.
async fn linked(api: &Api, link: Url, size: u64, range: ByteRange) -> Result<Body, Fault> {
    let answer = api.ask(Method::GET, link, Some(range)).await?;
    check(answer.status(), answer.headers())?;
    body(answer, size, range)
}

fn body(answer: Response, size: u64, range: ByteRange) -> Result<Body, Fault> {
    if whole_size(answer.headers()).is_some_and(|bytes| bytes != size) {
        return Err(Fault::Changed);
    }
    let gives = match answer.status() {
        StatusCode::PARTIAL_CONTENT => first_byte(answer.headers()) == Some(range.start),
        _ => range.start == 0 && range.end == size,
    };
    if !gives {
        return Err(Fault::Unusable("it gives other bytes than were asked for".to_owned()));
    }
    Ok(answer.bytes_stream().map_err(Fault::from).boxed())
}

/// `bytes 0-9/100`, else the length of a whole body.
fn whole_size(headers: &HeaderMap) -> Option<u64> {
    match text(headers, &CONTENT_RANGE) {
        Some(range) => range.rsplit('/').next()?.parse().ok(),
        None => text(headers, &CONTENT_LENGTH)?.parse().ok(),
    }
}

fn first_byte(headers: &HeaderMap) -> Option<u64> {
    text(headers, &CONTENT_RANGE)?.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn unquoted(etag: &str) -> &str {
    etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"')
}
