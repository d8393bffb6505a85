use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, TryStreamExt, stream};
use herring_blob::ByteRange;
use reqwest::header::{self, HeaderMap, HeaderName};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use url::Url;

use crate::above::Above;
use crate::backend::{Backend, Body, Found};
use crate::bucket::if_match;
use crate::cloud::rejected;
use crate::error::Fault;
use crate::index::{Entry, Index};
use crate::shelf::Shelf;
use crate::{ConfigError, Listed, OriginSpec, PAGE, Page, web};

/// Bytes of one index that are read at most: some 300,000 files of nginx's JSON.
const INDEX: usize = 32 << 20;

/// Bytes that the large indexes being paged through may take in memory.
const INDEXES: usize = 128 << 20;

/// Sizes of a page that are asked for at once, where the index does not tell them.
const HEADS: usize = 16;

/// Bytes of an index. A larger one is parsed where that holds up nobody.
const SMALL: usize = 1 << 20;

/// Caddy gives an index that a program can read to who asks for it; nginx gives what it was told to, and who knows HTML only gives that.
const INDEX_KINDS: &str = "application/json, text/html;q=0.9, */*;q=0.1";

/// A server that gives files over HTTP: an object is what answers at its URL, and a directory what answers with a slash behind it.
///
/// Not `object_store`'s own, which lists by WebDAV only and tells neither a status nor where a redirect led.
pub(crate) struct Site {
    /// Its path ends with a slash.
    base: Url,
    client: Client,
    paged: Shelf<Index>,
    above: Above,
}

impl Site {
    pub(crate) fn open(spec: &OriginSpec) -> Result<Self, ConfigError> {
        if let Some((option, _)) = spec.options().next() {
            return Err(crate::cloud::bad_option(spec, &option, "ttl=SECONDS"));
        }
        let mut base = spec.url().clone();
        base.set_query(None);
        base.set_fragment(None);
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let client = web::client(base.scheme() == "https").map_err(|error| rejected(spec, error.without_url()))?;
        Ok(Self { base, client, paged: Shelf::new(INDEXES), above: Above::new(spec.ttl()) })
    }

    fn url(&self, key: &str, directory: bool) -> Url {
        url_of(&self.base, key, directory)
    }

    /// Compressed bytes would be neither those that are asked for nor as many.
    fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.client.request(method, url).header(header::ACCEPT_ENCODING, "identity")
    }

    async fn head_object(&self, key: &str) -> Result<Found, Fault> {
        let response = self.request(Method::HEAD, self.url(key, false)).send().await?;
        if is_directory(response.url()) {
            return Err(Fault::NotFound);
        }
        if [StatusCode::METHOD_NOT_ALLOWED, StatusCode::NOT_IMPLEMENTED].contains(&response.status()) {
            return self.head_by_byte(key).await;
        }
        web::check(response.status(), response.headers())?;
        match content_length(response.headers()) {
            Some(size) => found(response.headers(), size),
            None => self.head_by_byte(key).await,
        }
    }

    /// Where HEAD is not spoken, or tells no length, as Apache's does of an empty file: the answer that has the first byte tells the same.
    async fn head_by_byte(&self, key: &str) -> Result<Found, Fault> {
        let mut response = self.request(Method::GET, self.url(key, false)).header(header::RANGE, "bytes=0-0").send().await?;
        if is_directory(response.url()) {
            return Err(Fault::NotFound);
        }
        if is_empty(&response) {
            return found(response.headers(), 0);
        }
        web::check(response.status(), response.headers())?;
        let size = match given(&response) {
            Some((_, size)) => size,
            // Without a length, it ends where it ends.
            None if response.chunk().await?.is_none() => 0,
            None => return Err(Fault::Unusable("it does not say how long it is".to_owned())),
        };
        found(response.headers(), size)
    }

    /// What the server tells of a directory.
    async fn index(&self, prefix: &str) -> Result<Index, Fault> {
        let url = self.url(prefix, true);
        let response = self.request(Method::GET, url.clone()).header(header::ACCEPT, INDEX_KINDS).send().await?;
        match web::check(response.status(), response.headers()) {
            // It is there, but is not shown.
            Err(Fault::Denied(_)) if response.status() == StatusCode::FORBIDDEN => return Err(Fault::Unlisted),
            other => other?,
        }
        let kind = text(response.headers(), header::CONTENT_TYPE).unwrap_or_default().to_owned();
        if *response.url() != url || !["application/json", "text/html"].iter().any(|known| kind.starts_with(known)) {
            return Err(Fault::Unlisted);
        }
        parse(url, kind, whole(response).await?).await
    }

    /// What is not there is left out, whatever the index says; likewise what cannot be used, where it is not all there is.
    async fn page(&self, index: &Index, prefix: &str, token: Option<&str>) -> Result<Page, Fault> {
        let (told, next) = index.page(token, PAGE);
        let mut listed = stream::iter(told.to_vec()).map(|entry| self.list_entry(prefix, entry)).buffer_unordered(HEADS);
        let (mut entries, mut unusable) = (Vec::with_capacity(told.len()), None);
        while let Some(entry) = listed.next().await {
            match entry {
                Ok(entry) => entries.push(entry),
                Err(Fault::NotFound | Fault::Denied(_)) => {}
                Err(Fault::Unusable(why)) => unusable = Some(why),
                Err(fault) => return Err(fault),
            }
        }
        match unusable {
            Some(why) if entries.is_empty() => Err(Fault::Unusable(why)),
            _ => Ok(Page { entries, next }),
        }
    }

    async fn list_entry(&self, prefix: &str, entry: Entry) -> Result<Listed, Fault> {
        let name = entry.name.into_string();
        Ok(match entry.object {
            None => Listed::Directory { name },
            Some(Some((size, modified))) => Listed::Object { name, size, modified, version: None },
            Some(None) => {
                let Found { version, size, modified } = self.head_object(&format!("{prefix}/{name}")).await?;
                Listed::Object { name, size, modified, version: Some(version) }
            }
        })
    }

    /// Whether what answers 404 may be a directory all the same: not where the index of the deepest directory above it does not have the
    /// way to it.
    async fn may_be_directory(&self, key: &str) -> Result<bool, Fault> {
        if let Some(has) = self.above.has(key, |directory| self.index(directory)).await? {
            return Ok(has);
        }
        match self.head_object(key).await {
            Ok(_) => Ok(false),
            Err(Fault::NotFound) => Ok(true),
            Err(fault) => Err(fault),
        }
    }
}

/// Everything in a key is a letter of it: `%`, `#` and `?` have no other meaning.
fn url_of(base: &Url, key: &str, directory: bool) -> Url {
    let mut url = base.clone();
    {
        let mut path = url.path_segments_mut().expect("http and https have paths");
        path.pop_if_empty().extend(key.split('/').filter(|segment| !segment.is_empty()));
        if directory {
            path.push("");
        }
    }
    url
}

#[async_trait]
impl Backend for Site {
    async fn head(&self, key: &str) -> Result<Found, Fault> {
        self.head_object(key).await
    }

    async fn read(&self, key: &str, version: &str, size: u64, range: ByteRange) -> Result<Body, Fault> {
        let mut request = self.request(Method::GET, self.url(key, false));
        request = request.header(header::RANGE, format!("bytes={}-{}", range.start, range.end - 1));
        if let Some(version) = if_match(version) {
            request = request.header(header::IF_MATCH, version);
        }
        let response = request.send().await?;
        if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            return Err(Fault::Changed);
        }
        web::check(response.status(), response.headers())?;
        let (given, whole) =
            given(&response).ok_or_else(|| Fault::Unusable("its answer does not say which bytes it has".to_owned()))?;
        if is_directory(response.url()) || whole != size || found(response.headers(), whole)?.version != version {
            return Err(Fault::Changed);
        }
        if given != range {
            return Err(match response.status() {
                StatusCode::PARTIAL_CONTENT => Fault::Unusable(format!("it was asked for the bytes {range} and gave {given}")),
                _ => Fault::Unusable(
                    "its server does not answer ranges, without which only files of a chunk or less can be read".to_owned(),
                ),
            });
        }
        Ok(response.bytes_stream().map_err(Fault::from).boxed())
    }

    async fn begin(&self, key: &str, most: u64) -> Result<(Found, Option<Body>), Fault> {
        let request = self.request(Method::GET, self.url(key, false)).header(header::RANGE, format!("bytes=0-{}", most - 1));
        let response = request.send().await?;
        if is_directory(response.url()) {
            return Err(Fault::NotFound);
        }
        // Of what is empty there are no bytes to ask for, and who ignores ranges would send all of it.
        if [StatusCode::RANGE_NOT_SATISFIABLE, StatusCode::OK].contains(&response.status()) {
            return Ok((self.head_object(key).await?, None));
        }
        web::check(response.status(), response.headers())?;
        let unusable = || Fault::Unusable("its answer does not say which bytes it has".to_owned());
        let (given, whole) = given(&response).ok_or_else(unusable)?;
        if given != ByteRange::new(0, most.min(whole)) {
            return Err(Fault::Unusable(format!("it was asked for the first {most} bytes and gave {given}")));
        }
        Ok((found(response.headers(), whole)?, Some(response.bytes_stream().map_err(Fault::from).boxed())))
    }

    /// A token is the last name of the page before.
    async fn list(&self, prefix: &str, token: Option<&str>) -> Result<Page, Fault> {
        if let Some(index) = token.and_then(|_| self.paged.get(prefix)) {
            return self.page(&index, prefix, token).await;
        }
        let index = match self.index(prefix).await {
            Ok(index) => Arc::new(index),
            Err(Fault::NotFound) if self.may_be_directory(prefix).await? => return Err(Fault::Unlisted),
            Err(fault) => return Err(fault),
        };
        if index.len() > PAGE {
            self.paged.put(prefix, index.bytes(), Arc::clone(&index));
        }
        self.page(&index, prefix, token).await
    }

    async fn is_directory(&self, key: &str) -> Result<bool, Fault> {
        let response = self.request(Method::HEAD, self.url(key, true)).send().await?;
        match web::check(response.status(), response.headers()) {
            Ok(()) => Ok(is_directory(response.url())),
            Err(Fault::Denied(_)) if response.status() == StatusCode::FORBIDDEN => Ok(true),
            Err(Fault::NotFound) => self.may_be_directory(key).await,
            Err(fault) => Err(fault),
        }
    }
}

/// After redirects.
fn is_directory(url: &Url) -> bool {
    url.path().ends_with('/')
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    text(headers, header::CONTENT_LENGTH)?.parse().ok()
}

/// Whether an answer says that there is no byte to ask for.
fn is_empty(response: &Response) -> bool {
    let said = text(response.headers(), header::CONTENT_RANGE);
    response.status() == StatusCode::RANGE_NOT_SATISFIABLE && said.is_some_and(|said| said.trim() == "bytes */0")
}

/// Which bytes an answer has, and of how many. A server without ranges gives all of them.
fn given(response: &Response) -> Option<(ByteRange, u64)> {
    if response.status() != StatusCode::PARTIAL_CONTENT {
        let size = content_length(response.headers())?;
        return Some((ByteRange::new(0, size), size));
    }
    let (range, size) = text(response.headers(), header::CONTENT_RANGE)?.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last && last < u64::MAX).then_some((ByteRange::new(first, last + 1), size.parse().ok()?))
}

/// The ETag is the version; without one, the modification time in seconds and the size.
fn found(headers: &HeaderMap, size: u64) -> Result<Found, Fault> {
    let modified = text(headers, header::LAST_MODIFIED).and_then(|text| httpdate::parse_http_date(text).ok());
    let made_up = |modified: SystemTime| {
        format!("{:x}-{size:x}", modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs())
    };
    let version = text(headers, header::ETAG).map(str::to_owned).or_else(|| modified.map(made_up));
    let version = version
        .ok_or_else(|| Fault::Unusable("it tells neither ETag nor Last-Modified, so versions cannot be told apart".to_owned()))?;
    Ok(Found { version, size, modified: modified.unwrap_or(SystemTime::UNIX_EPOCH) })
}

async fn parse(directory: Url, content_type: String, body: Bytes) -> Result<Index, Fault> {
    let large = body.len() > SMALL;
    let parse = move || Index::parse(&directory, &content_type, &body).ok_or(Fault::Unlisted);
    if !large {
        return parse();
    }
    tokio::task::spawn_blocking(parse).await.unwrap_or_else(|error| Err(Fault::Unavailable(error.to_string())))
}

async fn whole(response: Response) -> Result<Bytes, Fault> {
    let mut body = response.bytes_stream();
    let mut all = BytesMut::new();
    while let Some(part) = body.try_next().await? {
        if all.len() + part.len() > INDEX {
            return Err(Fault::Unusable(format!("its index has more than {} MiB", INDEX >> 20)));
        }
        all.extend_from_slice(&part);
    }
    Ok(all.freeze())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures_util::FutureExt;

    use super::*;

    /// The one thread for what blocks is taken: whatever is ready nevertheless was done here.
    #[test]
    fn a_large_index_is_not_parsed_where_requests_are_answered() {
        let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            let (release, held) = mpsc::channel::<()>();
            tokio::task::spawn_blocking(move || held.recv().is_ok());
            let index = |bytes: usize| {
                let body = format!("[{}]", " ".repeat(bytes));
                parse(Url::parse("http://h/").unwrap(), "application/json".to_owned(), body.into())
            };
            assert!(index(10).now_or_never().is_some());
            let mut large = std::pin::pin!(index(SMALL));
            assert!((&mut large).now_or_never().is_none());
            release.send(()).unwrap();
            assert_eq!(large.await.unwrap().len(), 0);
        });
    }

    /// Whatever a key is, it is asked of the same server, below the same path, and is all of what is asked for there.
    #[test]
    fn fuzz_urls() {
        use percent_encoding::percent_decode_str;
        const PARTS: [&str; 22] = [
            "a", "b.c", "/", "..", ".", "%2e", "%2E%2e", "%2f", "%5c", "%00", "\\", "?", "#", "@", ":", "//", "http:", "\u{e9}",
            " ", ";", "|", "[",
        ];
        let base = Url::parse("http://host:81/base/dir/").unwrap();
        bolero::check!().with_type::<Vec<u8>>().with_iterations(4000).for_each(|picks| {
            let key: String = picks.iter().map(|pick| PARTS[usize::from(*pick) % PARTS.len()]).collect();
            if crate::key::check_key(&key).is_err() {
                return;
            }
            let url = url_of(&base, &key, false);
            assert_eq!((url.origin(), url.username(), url.query(), url.fragment()), (base.origin(), "", None, None), "{key:?}");
            let below = url.path().strip_prefix("/base/dir/").unwrap_or_else(|| panic!("{key:?} leads to {url}"));
            assert_eq!(percent_decode_str(below).decode_utf8().as_deref(), Ok(key.as_str()));
            // As a server reads it that decodes first and looks for dots then.
            assert_eq!(below.split('/').count(), key.split('/').count(), "{key:?}");
        });
    }
}
