use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use herring_blob::{BlobId, ByteRange, Manifest};
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use url::{Host, Url};

use super::answer::Answer;
use super::error::WireError;
use super::link::SentBody;
use super::route::{NO_LIMIT, Route, Seat, Turn};
use super::upload::Upload;
use super::{ClientError, PeerConfig};
use crate::ByteStream;
use crate::access::Token;
use crate::types::{BlobInfo, Cluster, Drain, Explain, OriginPage, Owners, PutWish, Stored};

/// What a node tells in JSON or text. A terabyte in chunks of 4 MiB has a manifest of 17 MiB; its explanation is the longest.
const BODY_LIMIT: usize = 256 << 20;

/// Asks one node, by its public API. Clones share its connections, which are closed with the last clone.
#[derive(Clone)]
pub struct ApiClient {
    base: Url,
    route: Arc<Route>,
    answer_timeout: Duration,
    wish: PutWish,
    /// `Bearer TOKEN`.
    shown: Option<HeaderValue>,
}

impl ApiClient {
    /// For the node at `base`, such as `http://127.0.0.1:7070`, in clear. Nothing is dialled yet.
    pub fn new(base: &str) -> Result<Self, ClientError> {
        Self::with_config(base, &PeerConfig::patient())
    }

    /// Where `base` begins with https, by the configured TLS. A token is shown over TLS alone, or to a node of this machine.
    pub fn with_config(base: &str, config: &PeerConfig) -> Result<Self, ClientError> {
        let bad = |detail: &str| ClientError::BadUrl { url: base.to_owned(), detail: detail.to_owned() };
        let example = "a node's URL looks like http://127.0.0.1:7070";
        if !base.is_empty() && !base.contains("://") {
            return Err(bad(&format!("write http://{base}; {example}")));
        }
        let url = Url::parse(base).map_err(|error| bad(&format!("{error}; {example}")))?;
        let tls = match url.scheme() {
            "http" => None,
            "https" => {
                Some(config.tls.clone().ok_or_else(|| bad("https needs the authority to trust: name its file, --ca FILE"))?)
            }
            _ => return Err(bad(example)),
        };
        if url.path() != "/" || url.query().is_some() || !url.username().is_empty() {
            return Err(bad("it must end behind host and port"));
        }
        if config.token.is_some() && tls.is_none() && !is_here(&url) {
            return Err(bad(
                "the token would cross the network for all to read: write https:// (with --ca FILE), or leave the token out",
            ));
        }
        let shown = config.token.as_ref().map(bearer);
        let host = url.host_str().ok_or_else(|| bad(example))?;
        let target = format!("{host}:{}", url.port_or_known_default().unwrap_or(80));
        let config = PeerConfig { tls, ..config.clone() };
        let (route, answer_timeout) = (Arc::new(Route::new(target, None, &config)), config.answer_timeout);
        Ok(Self { base: url, route, answer_timeout, wish: PutWish::default(), shown })
    }

    /// The same, but what it puts is to be kept so.
    #[must_use]
    pub fn wishing(self, wish: PutWish) -> Self {
        Self { wish, ..self }
    }

    /// The members, as that node sees them.
    pub async fn cluster(&self) -> Result<Cluster, ClientError> {
        self.json(self.url(["v1", "cluster"])?).await
    }

    /// The owners of a chunk, or of the manifest.
    pub async fn owners(&self, id: BlobId, chunk: Option<u32>) -> Result<Owners, ClientError> {
        self.json(with_chunk(self.url(["v1", "ring", "owners", &id.to_string()])?, chunk)).await
    }

    /// Where each chunk is and should be, or where that one is.
    pub async fn explain(&self, id: BlobId, chunk: Option<u32>) -> Result<Explain, ClientError> {
        self.json(with_chunk(self.url(["v1", "blobs", &id.to_string(), "explain"])?, chunk)).await
    }

    pub async fn manifest(&self, id: BlobId) -> Result<Manifest, ClientError> {
        let manifest: Manifest = self.json(self.url(["v1", "blobs", &id.to_string(), "manifest"])?).await?;
        manifest.expect(id).map_err(|error| self.garbage(error.to_string()))
    }

    pub async fn blob_info(&self, id: BlobId) -> Result<BlobInfo, ClientError> {
        let answer = match self.control(Method::HEAD, self.blob_url(id)?).await {
            // An answer to HEAD has no room for reasons.
            Err(refused @ ClientError::Problem(_)) => {
                return Err(self.get(id, Some(ByteRange::at(0, 1))).await.err().unwrap_or(refused));
            }
            answer => answer?,
        };
        let size = answer.length().ok_or_else(|| self.garbage("it did not say how long the blob is"))?;
        Ok(BlobInfo { id, size })
    }

    pub async fn delete(&self, id: BlobId) -> Result<(), ClientError> {
        self.control(Method::DELETE, self.blob_url(id)?).await.map(drop)
    }

    /// Lets the node give what it keeps to others, while it serves reads; answers how far that is.
    pub async fn drain(&self) -> Result<Drain, ClientError> {
        self.parse(self.control(Method::POST, self.url(["v1", "drain"])?).await?).await
    }

    /// How far it is with that.
    pub async fn drained(&self) -> Result<Drain, ClientError> {
        self.json(self.url(["v1", "drain"])?).await
    }

    /// Lets the node take part again.
    pub async fn cancel_drain(&self) -> Result<(), ClientError> {
        self.control(Method::DELETE, self.url(["v1", "drain"])?).await.map(drop)
    }

    /// `Ok` when the node serves: `ready`, and behind a colon what is not as it should be; else in a sentence why not.
    pub async fn ready(&self) -> Result<String, String> {
        let asked = async { self.text(self.url(["readyz"])?).await };
        match asked.await {
            Ok(ready) => Ok(ready.trim_end().to_owned()),
            Err(ClientError::Problem(problem)) => Err(problem.detail),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The node's figures as Prometheus text.
    pub async fn metrics(&self) -> Result<String, ClientError> {
        self.text(self.url(["metrics"])?).await
    }

    async fn text(&self, url: Url) -> Result<String, ClientError> {
        let mut answer = self.control(Method::GET, url).await?;
        let text = self.in_time(answer.bounded(BODY_LIMIT)).await?;
        String::from_utf8(text.into()).map_err(|error| self.garbage(error.to_string()))
    }

    /// The bytes of a blob, or of a range of it, and how many will come. A stream that breaks off ends in an error.
    pub async fn get(&self, id: BlobId, range: Option<ByteRange>) -> Result<(u64, ByteStream), ClientError> {
        self.read(self.blob_url(id)?, range).await
    }

    /// The bytes of an origin's object, or of a range of it, and how many will come.
    pub async fn get_object(&self, origin: &str, key: &str, range: Option<ByteRange>) -> Result<(u64, ByteStream), ClientError> {
        let url = self.url(["v1", "origins", origin].into_iter().chain(key.split('/')))?;
        self.read(url, range).await
    }

    /// A page of what lies directly below `prefix`, which has no slash at its ends; empty: the origin's root. `token`: `next` of the
    /// page before.
    pub async fn list(&self, origin: &str, prefix: &str, token: Option<&str>) -> Result<OriginPage, ClientError> {
        let segments = ["v1", "origins", origin].into_iter().chain(prefix.split('/').filter(|_| !prefix.is_empty()));
        let url = self.url(segments.chain([""]))?;
        self.json(with(url, [("token", token)])).await
    }

    /// Puts a blob; `true` where it is new to the swarm. `expected` is the id that the bytes must have, `size` the
    /// number of bytes where it is known.
    pub async fn put(
        &self,
        expected: Option<BlobId>,
        size: Option<u64>,
        body: ByteStream,
    ) -> Result<(Stored, bool), ClientError> {
        let (method, url) = match expected {
            Some(id) => (Method::PUT, self.blob_url(id)?),
            None => (Method::POST, self.url(["v1", "blobs"])?),
        };
        let [replicas, ack] = [self.wish.replicas, self.wish.ack].map(|wish| wish.map(|wish| wish.to_string()));
        let url = with(url, [("replicas", replicas.as_deref()), ("ack", ack.as_deref())]);
        let (upload, body) = Upload::watch(body);
        let mut request = self.request(method, &url, body)?;
        if let Some(size) = size {
            request.headers_mut().insert(CONTENT_LENGTH, size.into());
        }
        let send = async { self.send(self.route.seat(Turn::Bulk).await, request).await };
        let sent = upload.while_moving(self.answer_timeout, send).await;
        let answer = match (sent, upload.failure()) {
            (_, Some(failure)) => return Err(ClientError::Source(failure)),
            (sent, None) => sent.unwrap_or_else(|limit| Err(self.timed_out(limit)))?,
        };
        let created = answer.status() == StatusCode::CREATED;
        Ok((self.in_time(answer.json(BODY_LIMIT)).await?, created))
    }

    async fn read(&self, url: Url, range: Option<ByteRange>) -> Result<(u64, ByteStream), ClientError> {
        if range.is_some_and(|range| range.is_empty()) {
            // HTTP has no words for an empty range.
            return Ok((0, Box::pin(stream::empty())));
        }
        let mut request = self.request(Method::GET, &url, empty())?;
        if let Some(range) = range {
            let text = format!("bytes={}-{}", range.start, range.end - 1);
            request.headers_mut().insert(RANGE, HeaderValue::from_str(&text).expect("digits are valid in a header"));
        }
        let answer = self.in_time(async { Ok(self.send(self.route.seat(Turn::Bulk).await, request).await) }).await??;
        self.check_range(&answer, range)?;
        let length = answer.length().ok_or_else(|| self.garbage("it did not say how long the body is"))?;
        Ok((length, answer.stream()))
    }

    /// A server may ignore a range and send all of it, which is not what was asked.
    fn check_range(&self, answer: &Answer, range: Option<ByteRange>) -> Result<(), ClientError> {
        let Some(range) = range else { return Ok(()) };
        let said = answer.headers().get(CONTENT_RANGE).and_then(|said| said.to_str().ok()).unwrap_or("nothing");
        let right = answer.status() == StatusCode::PARTIAL_CONTENT && said.starts_with(&format!("bytes {}-", range.start));
        if right { Ok(()) } else { Err(self.garbage(format!("bytes {range} were asked, it sends {said}"))) }
    }

    pub(super) async fn json<T: DeserializeOwned + Send + 'static>(&self, url: Url) -> Result<T, ClientError> {
        self.parse(self.control(Method::GET, url).await?).await
    }

    pub(super) async fn parse<T: DeserializeOwned + Send + 'static>(&self, answer: Answer) -> Result<T, ClientError> {
        self.in_time(answer.json(BODY_LIMIT)).await
    }

    pub(super) async fn control(&self, method: Method, url: Url) -> Result<Answer, ClientError> {
        self.exchange(self.request(method, &url, empty())?).await
    }

    /// Sends a small request.
    pub(super) async fn exchange(&self, request: Request<SentBody>) -> Result<Answer, ClientError> {
        self.in_time(async { Ok(self.send(self.route.seat(Turn::Control).await, request).await) }).await?
    }

    async fn send(&self, seat: Seat, request: Request<SentBody>) -> Result<Answer, ClientError> {
        let answer = seat.send(request, NO_LIMIT).await.map_err(|error| error.at(self.base.as_str()))?;
        answer.accepted().await.map_err(ClientError::Problem)
    }

    async fn in_time<T>(&self, work: impl Future<Output = Result<T, WireError>>) -> Result<T, ClientError> {
        let done = timeout(self.answer_timeout, work).await.map_err(|_| self.timed_out(self.answer_timeout))?;
        done.map_err(|error| error.at(self.base.as_str()))
    }

    pub(super) fn request(&self, method: Method, url: &Url, body: SentBody) -> Result<Request<SentBody>, ClientError> {
        let request = Request::builder().method(method).uri(url.as_str()).body(body);
        let request = request.map_err(|error| ClientError::BadUrl { url: url.to_string(), detail: error.to_string() });
        let mut request = request?;
        if let Some(shown) = &self.shown {
            request.headers_mut().insert(AUTHORIZATION, shown.clone());
        }
        Ok(request)
    }

    pub(super) fn json_request(
        &self,
        method: Method,
        url: &Url,
        body: &impl Serialize,
    ) -> Result<Request<SentBody>, ClientError> {
        let json = serde_json::to_vec(body).expect("what is asked has string keys only, and writing to memory does not fail");
        let body = Full::from(json).map_err(|never| match never {}).boxed_unsync();
        let mut request = self.request(method, url, body)?;
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(request)
    }

    fn blob_url(&self, id: BlobId) -> Result<Url, ClientError> {
        self.url(["v1", "blobs", &id.to_string()])
    }

    /// The base and these segments, each encoded as it needs.
    pub(super) fn url<'a>(&self, segments: impl IntoIterator<Item = &'a str>) -> Result<Url, ClientError> {
        let mut url = self.base.clone();
        let mut path = url.path_segments_mut().expect("an http URL has a path");
        path.clear();
        for segment in segments {
            if segment == "." || segment == ".." || segment.contains(char::is_control) {
                // A URL cannot hold these, or loses them: they would silently name something else.
                let detail = format!("{segment:?} cannot be part of a key or name");
                return Err(ClientError::BadUrl { url: self.base.to_string(), detail });
            }
            path.push(segment);
        }
        drop(path);
        Ok(url)
    }

    pub(super) fn failed(&self, error: WireError) -> ClientError {
        error.at(self.base.as_str())
    }

    fn garbage(&self, detail: impl Into<String>) -> ClientError {
        self.failed(WireError::Garbage(detail.into()))
    }

    fn timed_out(&self, limit: Duration) -> ClientError {
        ClientError::TimedOut { url: self.base.to_string(), ms: limit.as_millis() }
    }
}

/// Whether the node is of this machine, and nobody in between can listen.
fn is_here(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// Neither logged nor kept in a table of headers.
fn bearer(token: &Token) -> HeaderValue {
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.reveal())).expect("a token is of visible letters");
    value.set_sensitive(true);
    value
}

fn with_chunk(url: Url, chunk: Option<u32>) -> Url {
    with(url, [("chunk", chunk.map(|chunk| chunk.to_string()).as_deref())])
}

/// The URL and those parameters that have a value.
pub(super) fn with<const N: usize>(mut url: Url, parameters: [(&str, Option<&str>); N]) -> Url {
    for (name, value) in parameters {
        if let Some(value) = value {
            url.query_pairs_mut().append_pair(name, value);
        }
    }
    url
}

pub(super) fn empty() -> SentBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}
