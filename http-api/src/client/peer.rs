use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use herring_blob::{BlobId, Chunk, ChunkDigest, Manifest, Pieces};
use http::{HeaderMap, Method, Request};
use http_body_util::BodyExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::form_urlencoded::Serializer;
use uuid::Uuid;

use super::answer::Answer;
use super::chunk::{ChunkStream, Until};
use super::error::WireError;
use super::link::SentBody;
use super::route::{NO_LIMIT, Route, Turn};
use super::segments::Segments;
use super::{PeerConfig, PeerError};
use crate::peer::{
    Asker, BACKGROUND, ChunkOf, ChunkRequest, DEADLINE, DIGEST, EPOCH, FROM, HOLDERS, HOP, MetaCall, MetaReply, NamesCall,
    NamesReply, PROTOCOL, PROVEN, Urge, VERSION,
};
use crate::repair::{RepairCall, RepairReply};
use crate::types::{NodeUsage, Presence, Problem};

/// A manifest of 1 TiB in chunks of 4 MiB has 17 MiB.
const MANIFEST_LIMIT: usize = 64 << 20;
/// Nodes that are named with a 503 at most; beyond them nothing is read.
const MOST_HOLDERS: usize = 64;
/// Presence and usage.
const SMALL_LIMIT: usize = 16 << 20;

/// What every request to a peer carries.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The epoch of the asker's view.
    pub epoch: String,
    /// How long the whole of it may take, from waiting for a connection to the body's last byte.
    pub deadline: Duration,
    pub asker: Asker,
}

/// Asks peers. Clones share their connections, which are closed with the last clone.
#[derive(Clone)]
pub struct PeerClient {
    config: Arc<PeerConfig>,
    routes: Arc<Mutex<Routes>>,
}

/// Whom there is to ask, and the way to who was asked.
#[derive(Default)]
struct Routes {
    members: HashMap<SocketAddr, String>,
    open: HashMap<SocketAddr, Arc<Route>>,
}

impl PeerClient {
    pub fn new(config: PeerConfig) -> Self {
        Self { config: Arc::new(config), routes: Arc::default() }
    }

    /// The manifest of `id`, and whether the peer says that it has hashed the whole blob; of that very id, or it is garbage.
    pub async fn manifest(&self, peer: SocketAddr, id: BlobId, ask: &Ask) -> Result<(Manifest, bool), PeerError> {
        let call = Call::new(Method::GET, format!("blobs/{id}/manifest"));
        let read = async |answer: Answer| {
            let proven = answer.headers().get(PROVEN).is_some_and(|said| said == "1");
            Ok((answer.json::<Manifest>(MANIFEST_LIMIT).await?, proven))
        };
        let (manifest, proven) = self.ask(peer, call, ask, read).await?;
        let manifest = manifest.expect(id).map_err(|error| PeerError::Garbage(error.to_string()))?;
        Ok((manifest, proven))
    }

    /// A chunk that is cut into `pieces`. Returns as soon as the answer's head is here; the asker's deadline covers the stream as well, which keeps one of the connections' turns
    /// ([`PeerConfig::bulk_streams`]) until it is dropped. A peer from which nothing comes for `patience`
    /// before it begins to answer hangs: [`PeerError::Broken`].
    pub async fn chunk(
        &self,
        peer: SocketAddr,
        request: &ChunkRequest,
        pieces: Pieces,
        patience: Duration,
        ask: &Ask,
    ) -> Result<ChunkStream, PeerError> {
        let call = Call { patience, ..Call::new(Method::GET, chunk_path(request)).bulk() };
        let until = Until::within(ask.deadline);
        self.ask_until(until, peer, call, ask, async |answer| ChunkStream::new(answer, pieces, request.first, until)).await
    }

    /// Which chunks of a blob the peer holds.
    pub async fn presence(&self, peer: SocketAddr, id: BlobId, ask: &Ask) -> Result<Presence, PeerError> {
        self.json(peer, &format!("blobs/{id}/presence"), SMALL_LIMIT, ask).await
    }

    pub async fn usage(&self, peer: SocketAddr, ask: &Ask) -> Result<NodeUsage, PeerError> {
        self.json(peer, "usage", SMALL_LIMIT, ask).await
    }

    /// Deletes the peer's own copy; well also where it has none.
    pub async fn delete(&self, peer: SocketAddr, id: BlobId, ask: &Ask) -> Result<(), PeerError> {
        self.done(peer, Call::new(Method::DELETE, format!("blobs/{id}")), ask).await
    }

    /// Hands over one chunk of an upload; it is not durable before the commit.
    pub async fn upload_chunk(
        &self,
        peer: SocketAddr,
        upload: Uuid,
        chunk_size: u32,
        index: u32,
        chunk: &Chunk,
        ask: &Ask,
    ) -> Result<(), PeerError> {
        let path = format!("uploads/{upload}/chunks/{index}?chunk_size={chunk_size}");
        let (digest, body) = (Some(chunk.digest()), chunk.segments().to_vec());
        let call = Call { digest, body, ..Call::new(Method::PUT, path).bulk() };
        self.done(peer, call, ask).await
    }

    /// Makes an upload a blob; answers what the peer has of it on its disk then. A peer that restarted since has forgotten
    /// what it was given before.
    pub async fn commit_upload(
        &self,
        peer: SocketAddr,
        upload: Uuid,
        manifest: &Manifest,
        replicas: Option<u8>,
        ask: &Ask,
    ) -> Result<Presence, PeerError> {
        let body = serde_json::to_vec(manifest).expect("a manifest has string keys only, and writing to memory does not fail");
        let replicas = replicas.map(|replicas| format!("?replicas={replicas}")).unwrap_or_default();
        let path = format!("uploads/{upload}/commit{replicas}");
        let call = Call { body: vec![body.into()], turn: Turn::Commit, ..Call::new(Method::POST, path) };
        self.ask(peer, call, ask, async |answer| answer.json(SMALL_LIMIT).await).await
    }

    /// Forgets an upload that will not be committed.
    pub async fn abort_upload(&self, peer: SocketAddr, upload: Uuid, ask: &Ask) -> Result<(), PeerError> {
        self.done(peer, Call::new(Method::DELETE, format!("uploads/{upload}")), ask).await
    }

    /// One step of reading or changing a name.
    pub async fn names(&self, peer: SocketAddr, call: &NamesCall, ask: &Ask) -> Result<NamesReply, PeerError> {
        self.post(peer, "names", call, ask).await
    }

    /// One step of keeping replicas where they should be.
    pub async fn repair(&self, peer: SocketAddr, call: &RepairCall, ask: &Ask) -> Result<RepairReply, PeerError> {
        self.post(peer, "repair", call, ask).await
    }

    /// A question about an origin, which may take the peer a while: it goes beside the commits. A peer from which nothing comes for
    /// `patience` before it begins to answer hangs: [`PeerError::Broken`].
    pub async fn meta(&self, peer: SocketAddr, call: &MetaCall, patience: Duration, ask: &Ask) -> Result<MetaReply, PeerError> {
        let call = Call { patience, turn: Turn::Commit, ..Call::post("meta", call) };
        self.ask(peer, call, ask, async |answer| answer.json(MANIFEST_LIMIT).await).await
    }

    async fn post<Q: Serialize, A>(&self, peer: SocketAddr, path: &str, question: &Q, ask: &Ask) -> Result<A, PeerError>
    where
        A: DeserializeOwned + Send + 'static,
    {
        self.ask(peer, Call::post(path, question), ask, async |answer| answer.json(MANIFEST_LIMIT).await).await
    }

    /// Says who is where: over TLS a peer must show a certificate for its id, and one at another address than these for the IP address. Keeps the
    /// connections of those members only, and of an address that now belongs to another none. Requests under way to others go on to their end.
    pub fn members(&self, members: HashMap<SocketAddr, String>) {
        let mut routes = self.routes();
        routes.open.retain(|peer, route| members.get(peer).is_some_and(|id| route.whom() == Some(id)));
        routes.members = members;
    }

    async fn json<T>(&self, peer: SocketAddr, path: &str, limit: usize, ask: &Ask) -> Result<T, PeerError>
    where
        T: DeserializeOwned + Send + 'static,
    {
        let call = Call::new(Method::GET, path.to_owned());
        self.ask(peer, call, ask, async |answer| answer.json(limit).await).await
    }

    async fn done(&self, peer: SocketAddr, call: Call, ask: &Ask) -> Result<(), PeerError> {
        self.ask(peer, call, ask, async |_| Ok(())).await
    }

    async fn ask<T>(
        &self,
        peer: SocketAddr,
        call: Call,
        ask: &Ask,
        read: impl AsyncFnOnce(Answer) -> Result<T, WireError>,
    ) -> Result<T, PeerError> {
        self.ask_until(Until::within(ask.deadline), peer, call, ask, read).await
    }

    /// The one way that all requests take: a turn, a head, a status, a body, all within the deadline.
    async fn ask_until<T>(
        &self,
        until: Until,
        peer: SocketAddr,
        call: Call,
        ask: &Ask,
        read: impl AsyncFnOnce(Answer) -> Result<T, WireError>,
    ) -> Result<T, PeerError> {
        let route = self.route(peer);
        let work = async {
            let seat = route.seat(call.turn).await;
            let patience = call.patience;
            let request = call.request(&route.base(), ask, until.left())?;
            let answer = seat.send(request, patience).await?;
            let holders = holders(answer.headers());
            Ok(read(answer.accepted().await.map_err(|problem| refused(problem, holders))?).await?)
        };
        until.wait(work).await
    }

    fn route(&self, peer: SocketAddr) -> Arc<Route> {
        let Routes { members, open } = &mut *self.routes();
        let begin = || Arc::new(Route::new(peer.to_string(), members.get(&peer).cloned(), &self.config));
        open.entry(peer).or_insert_with(begin).clone()
    }

    fn routes(&self) -> MutexGuard<'_, Routes> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request before it has its turn.
struct Call {
    method: Method,
    /// Behind `/peer/v1/`.
    path: String,
    digest: Option<ChunkDigest>,
    body: Vec<Bytes>,
    turn: Turn,
    /// How long the answer's head may take.
    patience: Duration,
}

impl Call {
    fn new(method: Method, path: String) -> Self {
        Self { method, path, digest: None, body: Vec::new(), turn: Turn::Control, patience: NO_LIMIT }
    }

    fn post(path: &str, body: &impl Serialize) -> Self {
        let body = serde_json::to_vec(body).expect("what peers say has string keys only, and writing to memory does not fail");
        Self { body: vec![body.into()], ..Self::new(Method::POST, path.to_owned()) }
    }

    fn bulk(self) -> Self {
        Self { turn: Turn::Bulk, ..self }
    }

    fn request(self, base: &str, ask: &Ask, left: Duration) -> Result<Request<SentBody>, WireError> {
        let mut request = Request::builder()
            .method(self.method)
            .uri(format!("{base}/peer/v1/{}", self.path))
            .header(EPOCH, &ask.epoch)
            .header(DEADLINE, left.as_millis().to_string())
            .header(FROM, &ask.asker.from)
            .header(VERSION, PROTOCOL)
            .header(HOP, 1);
        if ask.asker.background {
            request = request.header(BACKGROUND, 1);
        }
        if let Some(digest) = self.digest {
            request = request.header(DIGEST, digest.to_string());
        }
        let body = Segments::new(self.body).map_err(|never| match never {}).boxed_unsync();
        request.body(body).map_err(|error| WireError::Garbage(format!("this request cannot be written: {error}")))
    }
}

fn chunk_path(request: &ChunkRequest) -> String {
    let mut query = Serializer::new(String::new());
    if let ChunkOf::Object { object, identity, chunk_size, wanted } = &request.of {
        query
            .append_pair("origin", &object.origin)
            .append_pair("identity", identity)
            .append_pair("key", &object.key)
            .append_pair("version", &object.version)
            .append_pair("size", &object.size.to_string())
            .append_pair("chunk_size", &chunk_size.to_string())
            .append_pair("wanted", &wanted.to_string());
    }
    query.append_pair("first", &request.first.to_string());
    match request.urge {
        Urge::Any => {}
        Urge::Held => drop(query.append_pair("urge", "held")),
        Urge::Named => drop(query.append_pair("urge", "named")),
        Urge::Insist => drop(query.append_pair("urge", "insist")),
    }
    let (index, query) = (request.index, query.finish());
    match &request.of {
        ChunkOf::Blob(id) => format!("blobs/{id}/chunks/{index}?{query}"),
        ChunkOf::Object { .. } => format!("objects/chunks/{index}?{query}"),
    }
}

/// Whom a busy peer names, if it names any; nobody names more than a few.
pub(crate) fn holders(headers: &HeaderMap) -> Option<Vec<String>> {
    let named = headers.get(HOLDERS)?.to_str().ok()?;
    Some(named.split(',').map(|id| id.trim().to_owned()).filter(|id| !id.is_empty()).take(MOST_HOLDERS).collect())
}

fn refused(problem: Problem, holders: Option<Vec<String>>) -> PeerError {
    match holders {
        Some(holders) if problem.status == 503 => PeerError::Busy { holders },
        _ => PeerError::of(problem.status, problem.detail),
    }
}
