use std::sync::Arc;
use std::time::SystemTime;

use futures_util::stream::FuturesUnordered;
use herring_blob::{BlobId, Manifest};
use herring_gossip::View;
use herring_http_api::client::PeerError;
use herring_ring::Point;
use herring_store::{Description, Entry, WriteError};

use crate::ballot::Ballot;
use crate::candidates::Candidate;
use crate::config::SMALL_DEADLINE;
use crate::proof::By;
use crate::{Content, OpenError, ReadError, Swarm, Tried};

/// What is said of who kept something and is gone.
pub(crate) const MISSING: &str = "is missing, and was here within the last hour";

/// What is said of who gave a manifest that does not fit its blob.
const FALSE: &str = "gave a manifest that is known to be false";

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
        // Whoever was filling it may not have heard yet.
        let entry = self.0.store.get(&id.into()).filter(|_| !self.0.fates.is_deleted(&id))?;
        match entry.description() {
            Description::Blob(manifest) => Some(Content::blob(Arc::clone(manifest), entry.modified())),
            Description::Object { .. } => None,
        }
    }

    async fn find_manifest(&self, id: BlobId) -> Result<Content, OpenError> {
        if let Some(content) = self.open_blob_now(id) {
            return Ok(content);
        }
        if self.0.fates.is_deleted(&id) {
            return Err(OpenError::NotFound { what: format!("blob {id}"), tried: Tried::of("nobody, as it", "was deleted") });
        }
        let view = self.view();
        let (owners, others) = self.candidates(&view, Point::of_blob(&id)).peers(view.me());
        // Until this node has met its swarm, nobody else having it says nothing.
        let (mut tried, mut silent) = (Tried::default(), !view.settled());
        for round in [owners, others] {
            let given = self.ask_manifest(&view, id, round, &mut tried, &mut silent).await;
            let disputed = given.len() > 1;
            for manifest in given {
                let content = self.keep_manifest(manifest).await;
                // Where they differ it is found out now: a reader cannot change to another.
                if !disputed || !matches!(self.expect_shown(&content).await, Err(ReadError::False { .. })) {
                    return Ok(content);
                }
                tried.note("one of them", FALSE);
            }
        }
        // Who had it may be gone, and come back: then it is not lost.
        for gone in self.missing_owners(&view, Point::of_blob(&id)) {
            silent = true;
            tried.note(gone, MISSING);
        }
        let what = format!("blob {id}");
        Err(if silent { OpenError::Unavailable { what, tried } } else { OpenError::NotFound { what, tried } })
    }

    /// The blob's entry in the store, made where it is not there. Gone where the blob was deleted: whatever comes first, this or the
    /// word of it, no entry stays. So of what was found to be false.
    pub(crate) async fn entry_of(&self, manifest: &Arc<Manifest>) -> Result<Entry, WriteError> {
        let entry = self.0.store.create(Description::Blob(Arc::clone(manifest))).await?;
        if self.0.fates.is_deleted(&manifest.id()) {
            self.0.store.remove_if(&entry.id(), self.still_deleted(manifest.id())).await?;
            return Err(WriteError::Gone);
        }
        if self.0.proofs.is_false(manifest) {
            self.remove_false(manifest).await?;
            return Err(WriteError::Gone);
        }
        Ok(entry)
    }

    /// Asks all of `round` at once: the manifests that those gave who answer in time, the one that is to be believed first. `silent` is set where one of them may have it but did not say.
    async fn ask_manifest(
        &self,
        view: &View,
        id: BlobId,
        round: Vec<Candidate>,
        tried: &mut Tried,
        silent: &mut bool,
    ) -> Vec<Arc<Manifest>> {
        let ask = self.ask(view, SMALL_DEADLINE);
        let question = |peer: Candidate| async {
            let answer = self.0.peers.manifest(peer.http, id, &ask).await;
            (peer, answer)
        };
        let mut ballot = Ballot::new(round.len(), self.0.config.prove_first);
        let mut answers: FuturesUnordered<_> = round.into_iter().map(question).collect();
        while let Some((peer, answer)) = ballot.next(&mut answers).await {
            match answer {
                Ok((manifest, _)) if self.0.proofs.is_false(&manifest) => tried.note(peer.id, FALSE),
                Ok((manifest, proven)) => ballot.count(manifest, proven),
                Err(error) => {
                    *silent |= error != PeerError::NotFound;
                    tried.note(peer.id, error);
                }
            }
        }
        if ballot.is_disputed() {
            self.0.proofs.note_disputed(id);
        }
        let (given, vouched) = ballot.won();
        given.first().filter(|_| vouched).inspect(|best| self.note_proof(best, By::Others));
        given
    }

    /// Whether enough others say that they have hashed the whole.
    pub(crate) async fn is_vouched(&self, manifest: &Arc<Manifest>) -> bool {
        let (view, id) = (self.view(), manifest.id());
        let (owners, _) = self.candidates(&view, Point::of_blob(&id)).peers(view.me());
        let (mut tried, mut silent) = (Tried::default(), false);
        let found = self.ask_manifest(&view, id, owners, &mut tried, &mut silent).await;
        found.first() == Some(manifest) && self.0.proofs.of(manifest).is_some()
    }

    /// The manifest is kept so that the next open asks nobody. A disk that refuses costs only that.
    async fn keep_manifest(&self, manifest: Arc<Manifest>) -> Content {
        let created = self.entry_of(&manifest).await.map(|entry| entry.modified());
        let not_kept = |error| tracing::debug!(id = %manifest.id(), %error, "a manifest was not kept");
        let modified = created.map_err(not_kept).unwrap_or_else(|()| SystemTime::now());
        Content::blob(manifest, modified)
    }
}
