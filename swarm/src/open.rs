use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use herring_blob::{BlobId, Geometry, Manifest};
use herring_gossip::View;
use herring_http_api::client::PeerError;
use herring_origin::{Listed, ObjectInfo, Origin, OriginError};
use herring_ring::Point;
use herring_store::{Description, WriteError};

use crate::candidates::Candidate;
use crate::config::SMALL_DEADLINE;
use crate::{Content, OpenError, Source, Swarm, Tried};

impl Swarm {
    /// Opens a blob: its manifest from this node's disk, else from its owners, else from whoever may have it.
    pub async fn open_blob(&self, id: BlobId) -> Result<Content, OpenError> {
        if let Some(content) = self.open_blob_now(id) {
            return Ok(content);
        }
        let swarm = self.clone();
        let interrupted = || Err(OpenError::Unavailable { what: format!("blob {id}"), tried: Tried::default() });
        self.0.manifests.join(id, move || async move { swarm.find_manifest(id).await }).await.unwrap_or_else(interrupted)
    }

    /// Opens a blob whose manifest is on this node's disk. Asks nobody, and does not wait.
    pub fn open_blob_now(&self, id: BlobId) -> Option<Content> {
        let entry = self.0.store.get(&id.into())?;
        match entry.description() {
            Description::Blob(manifest) => Some(Content::blob(Arc::clone(manifest), entry.modified())),
            Description::Object { .. } => None,
        }
    }

    async fn find_manifest(&self, id: BlobId) -> Result<Content, OpenError> {
        if let Some(content) = self.open_blob_now(id) {
            return Ok(content);
        }
        let view = self.view();
        let (owners, others) = self.candidates(&view, Point::of_blob(&id)).peers(view.me());
        // Until this node has met its swarm, nobody else having it says nothing.
        let (mut tried, mut silent) = (Tried::default(), !view.settled());
        let removals = self.0.removals.load(Ordering::Relaxed);
        for round in [owners, others] {
            if let Some(manifest) = self.ask_manifest(&view, id, round, &mut tried, &mut silent).await {
                return Ok(self.keep_manifest(manifest, removals).await);
            }
        }
        let what = format!("blob {id}");
        Err(if silent { OpenError::Unavailable { what, tried } } else { OpenError::NotFound { what, tried } })
    }

    /// Asks all of `round` at once; the first manifest wins. `silent` is set where one of them may have it but did not say.
    async fn ask_manifest(
        &self,
        view: &View,
        id: BlobId,
        round: Vec<Candidate>,
        tried: &mut Tried,
        silent: &mut bool,
    ) -> Option<Manifest> {
        let ask = self.ask(view, SMALL_DEADLINE);
        let question = |peer: Candidate| async {
            let answer = self.0.peers.manifest(peer.http, id, &ask).await;
            (peer, answer)
        };
        let mut answers: FuturesUnordered<_> = round.into_iter().map(question).collect();
        while let Some((peer, answer)) = answers.next().await {
            match answer {
                Ok(manifest) => return Some(manifest),
                Err(error) => {
                    *silent |= error != PeerError::NotFound;
                    tried.note(peer.id, error);
                }
            }
        }
        None
    }

    /// The manifest is kept so that the next open asks nobody. A disk that refuses costs only that. Where something was
    /// removed since it was asked for, it may be what was removed, and is not kept.
    async fn keep_manifest(&self, manifest: Manifest, removals: u64) -> Content {
        let manifest = Arc::new(manifest);
        let created = match self.0.removals.load(Ordering::Relaxed) == removals {
            true => self.0.store.create(Description::Blob(Arc::clone(&manifest))).await.map(|entry| entry.modified()),
            false => Err(WriteError::Gone),
        };
        let not_kept = |error| tracing::debug!(id = %manifest.id(), %error, "a manifest was not kept");
        let modified = created.map_err(not_kept).unwrap_or_else(|()| SystemTime::now());
        Content::blob(manifest, modified)
    }

    /// Opens the present version of an origin's object.
    pub async fn open_object(&self, origin: &str, key: &str) -> Result<Content, OpenError> {
        let name = (origin.to_owned(), key.to_owned());
        let from = self.origin(origin)?;
        if let Some((at, content)) = self.0.objects.get(&name)
            && at.elapsed() < from.ttl()
        {
            return Ok(content);
        }
        let info = from.head(key).await.map_err(|error| open_error(origin, key, error))?;
        let content = self.object_content(info)?;
        self.0.objects.insert(name, (Instant::now(), content.clone()));
        Ok(content)
    }

    /// After it changed: the next open asks the origin.
    pub fn forget_object(&self, origin: &str, key: &str) {
        self.0.objects.remove(&(origin.to_owned(), key.to_owned()));
    }

    pub(crate) fn forget_content(&self, content: &Content) {
        if let Source::Object(object) = content.source() {
            self.forget_object(&object.origin, &object.key);
        }
    }

    /// How long what an origin says of an object or a directory is believed; of one that is not configured, nothing.
    pub fn origin_ttl(&self, origin: &str) -> Duration {
        self.0.origins.get(origin).map_or(Duration::ZERO, Origin::ttl)
    }

    fn object_content(&self, info: ObjectInfo) -> Result<Content, OpenError> {
        let (origin, key, size) = (&info.object.origin, &info.object.key, info.object.size);
        let too_large =
            || OpenError::InvalidKey { detail: format!("{origin}/{key} has {size} bytes, more than can be cut into chunks") };
        let geometry = Geometry::new(info.object.size, self.0.config.chunk_size).ok_or_else(too_large)?;
        Ok(Content::object(info.object, geometry, info.modified))
    }

    /// One level of an origin's keys below `prefix`.
    pub async fn list_origin(&self, origin: &str, prefix: &str) -> Result<Vec<Listed>, OpenError> {
        let (from, mut listed, mut token) = (self.origin(origin)?, Vec::new(), None);
        loop {
            let page = from.list(prefix, token.as_deref()).await.map_err(|error| open_error(origin, prefix, error))?;
            listed.extend(page.entries);
            token = page.next;
            if token.is_none() {
                return Ok(listed);
            }
        }
    }

    pub(crate) fn origin(&self, name: &str) -> Result<&Origin, OpenError> {
        let known = || self.0.origins.names().collect::<Vec<_>>().join(", ");
        let unknown = || OpenError::NoOrigin { origin: name.to_owned(), known: known() };
        self.0.origins.get(name).ok_or_else(unknown)
    }
}

fn open_error(origin: &str, key: &str, error: OriginError) -> OpenError {
    let what = format!("{origin}/{key}");
    let detail = error.to_string();
    let mut tried = Tried::default();
    let origin = format!("origin {origin}");
    tried.note(&origin, detail.strip_prefix(&origin).unwrap_or(&detail).trim_start());
    match error {
        OriginError::NotFound { .. } => OpenError::NotFound { what, tried },
        OriginError::InvalidKey { .. } | OriginError::OutOfRange { .. } | OriginError::Unlisted { .. } => {
            OpenError::InvalidKey { detail }
        }
        OriginError::Denied { .. } => OpenError::Denied { detail },
        OriginError::Changed { .. }
        | OriginError::Unavailable { .. }
        | OriginError::Throttled { .. }
        | OriginError::TimedOut { .. } => OpenError::Unavailable { what, tried },
    }
}
