use std::collections::HashSet;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use herring_blob::{BlobId, Manifest};
use herring_gossip::View;
use herring_http_api::client::PeerError;
use herring_ring::Point;
use herring_store::{Description, Entry, WriteError};
use tokio::time::sleep;

use crate::ballot::{Ballot, Given};
use crate::candidates::Candidate;
use crate::config::{AGAIN, SMALL_DEADLINE};
use crate::proof::By;
use crate::{Content, OpenError, Source, Swarm, Tried};

/// What is said of who kept something and is gone.
pub(crate) const MISSING: &str = "is missing, and was here within the last hour";

/// What is said of who gave a manifest that does not fit its blob.
const FALSE: &str = "gave a manifest that is known to be false";

impl Swarm {
    /// Opens a blob: its manifest from this node's disk, else from its owners, else from whoever may have it.
    pub async fn open_blob(&self, id: BlobId) -> Result<Content, OpenError> {
        if let Some(content) = self.open_blob_now(id).filter(|content| self.needs_nobody(content)) {
            return Ok(content);
        }
        let swarm = self.clone();
        let interrupted = || Err(OpenError::Unavailable { what: format!("blob {id}"), tried: Tried::default() });
        self.0.manifests.join(id, move || async move { swarm.find_manifest(id).await }).await.unwrap_or_else(interrupted)
    }

    /// Whether others need not say what they think of a manifest that is here: it may be shown, or this node can find out by itself.
    fn needs_nobody(&self, content: &Content) -> bool {
        let small = content.size() <= self.0.config.prove_first;
        self.is_shown(content) || small && self.entry_with(content).is_some_and(|entry| entry.is_complete())
    }

    /// Opens a blob whose manifest is on this node's disk. Asks nobody, and does not wait.
    pub fn open_blob_now(&self, id: BlobId) -> Option<Content> {
        // Whoever was filling it may not have heard yet.
        let entry = self.0.store.get(&id.into()).filter(|_| !self.0.fates.is_deleted(&id))?;
        match entry.description() {
            Description::Blob(manifest) if self.0.proofs.is_false(manifest) => None,
            Description::Blob(manifest) => Some(Content::blob(Arc::clone(manifest), entry.modified())),
            Description::Object { .. } => None,
        }
    }

    async fn find_manifest(&self, id: BlobId) -> Result<Content, OpenError> {
        let here = self.open_blob_now(id);
        if let Some(content) = here.as_ref().filter(|content| self.needs_nobody(content)) {
            return Ok(content.clone());
        }
        if self.0.fates.is_deleted(&id) {
            return Err(OpenError::NotFound { what: format!("blob {id}"), tried: Tried::of("nobody, as it", "was deleted") });
        }
        // One silent second must not fail a reader.
        let mut pauses = AGAIN.into_iter();
        loop {
            let (mut tried, mut silent) = (Tried::default(), false);
            if let Some(content) = self.seek_manifest(id, here.as_ref(), &mut tried, &mut silent).await {
                return Ok(content);
            }
            match pauses.next().filter(|_| silent) {
                Some(pause) => sleep(pause).await,
                None => return Err(self.without_manifest(id, silent, tried)),
            }
        }
    }

    /// Asks the owners, then the others. `silent` as in [`Self::ask_manifest`].
    async fn seek_manifest(&self, id: BlobId, here: Option<&Content>, tried: &mut Tried, silent: &mut bool) -> Option<Content> {
        let view = self.view();
        // Until this node has met its swarm, nobody else having it says nothing.
        *silent = !view.settled();
        let (owners, others) = self.candidates(&view, Point::of_blob(&id)).peers(view.me());
        for round in [owners, others] {
            let given = self.ask_manifest(&view, id, round, tried, silent).await;
            if let Some(manifest) = self.pick_manifest(here, given, tried).await {
                return Some(self.keep_manifest(manifest).await);
            }
            if let Some(content) = here {
                return Some(content.clone());
            }
        }
        None
    }

    /// Who had it may be gone, and come back: then it is not lost.
    fn without_manifest(&self, id: BlobId, silent: bool, mut tried: Tried) -> OpenError {
        let gone = self.missing_owners(&self.view(), Point::of_blob(&id));
        let may_be_there = silent || !gone.is_empty();
        gone.into_iter().for_each(|node| tried.note(node, MISSING));
        let what = format!("blob {id}");
        if may_be_there { OpenError::Unavailable { what, tried } } else { OpenError::NotFound { what, tried } }
    }

    /// The one that is believed, of those that were given and what is here. Where they differ it is found out now which is right: a reader cannot change to
    /// another.
    pub(crate) async fn pick_manifest(&self, here: Option<&Content>, given: Given, tried: &mut Tried) -> Option<Arc<Manifest>> {
        let mut all = given.all;
        if let Some(Source::Blob(mine)) = here.map(Content::source)
            && !all.is_empty()
            && !all.contains(mine)
        {
            all.push(Arc::clone(mine));
        }
        if all.len() < 2 || given.known >= Some(self.least(&all[0])) {
            return all.into_iter().next();
        }
        self.0.proofs.note_disputed(all[0].id());
        // All at once: one that keeps back a chunk must not hold up the others.
        let contents = all.iter().map(|manifest| Content::blob(Arc::clone(manifest), SystemTime::now()));
        let shown = contents.map(|content| async move {
            let shown = self.expect_shown(&content).await;
            (content, shown)
        });
        let mut shown: FuturesUnordered<_> = shown.collect();
        while let Some((content, outcome)) = shown.next().await {
            match (outcome, content.source()) {
                (Ok(()), Source::Blob(manifest)) => {
                    self.0.proofs.note_settled(&manifest.id());
                    return Some(Arc::clone(manifest));
                }
                (Err(error), _) => tried.note("one of them", error),
                _ => {}
            }
        }
        None
    }

    /// The blob's entry in the store, made where it is not there. Gone where the blob was deleted: whatever comes first, this or the
    /// word of it, no entry stays. So of what was found to be false.
    pub(crate) async fn entry_of(&self, manifest: &Arc<Manifest>) -> Result<Entry, WriteError> {
        let mut entry = self.0.store.create(Description::Blob(Arc::clone(manifest))).await?;
        if !is_of(&entry, manifest) && self.make_way(manifest).await {
            entry = self.0.store.create(Description::Blob(Arc::clone(manifest))).await?;
        }
        if !is_of(&entry, manifest) {
            return Err(WriteError::Conflict { id: entry.id() });
        }
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

    /// Asks all of `round` at once, each address once: the manifests that those gave who answer in time. `silent` is set where one of them may have it but did
    /// not say.
    pub(crate) async fn ask_manifest(
        &self,
        view: &View,
        id: BlobId,
        round: Vec<Candidate>,
        tried: &mut Tried,
        silent: &mut bool,
    ) -> Given {
        let ask = self.ask(view, SMALL_DEADLINE);
        let question = |peer: Candidate| async {
            let answer = self.0.peers.manifest(peer.http, id, &ask).await;
            (peer, answer)
        };
        // Who gossips under several names has one voice.
        let mut addresses = HashSet::new();
        let round: Vec<_> = round.into_iter().filter(|peer| addresses.insert(peer.http)).collect();
        let mut ballot = Ballot::new(self.0.config.prove_first, self.0.config.opinions);
        let mut answers: FuturesUnordered<_> = round.into_iter().map(question).collect();
        while let Some((peer, answer)) = ballot.next(&mut answers).await {
            match answer {
                Ok((manifest, _)) if self.0.proofs.is_false(&manifest) => tried.note(peer.id, FALSE),
                Ok((manifest, proven)) => ballot.count(manifest, proven),
                Err(error) => {
                    match error {
                        PeerError::NotFound => ballot.count_without(),
                        _ => *silent = true,
                    }
                    tried.note(peer.id, error);
                }
            }
        }
        let given = ballot.won();
        if let (Some(best), Some(known)) = (given.all.first(), given.known) {
            self.note_proof(best, known);
        }
        given
    }

    /// What the owners give. `here`: what this node keeps itself, which is one more voice.
    pub(crate) async fn owners_manifests(&self, id: BlobId, here: Option<&Arc<Manifest>>) -> Given {
        let view = self.view();
        let (owners, _) = self.candidates(&view, Point::of_blob(&id)).peers(view.me());
        let (mut tried, mut silent) = (Tried::default(), false);
        let mut given = self.ask_manifest(&view, id, owners, &mut tried, &mut silent).await;
        if let Some(here) = here
            && (given.all.is_empty() || given.all[0] == *here)
        {
            given.known = given.known.max(Some(By::Word));
            given.all = vec![Arc::clone(here)];
        }
        given
    }

    /// The manifest is kept so that the next open asks nobody. A disk that refuses costs only that.
    async fn keep_manifest(&self, manifest: Arc<Manifest>) -> Content {
        let entry = self.entry_of(&manifest).await;
        let not_kept = |error| tracing::debug!(id = %manifest.id(), %error, "a manifest was not kept");
        match entry.as_ref().map_err(not_kept).map(|entry| (entry.description(), entry.modified())) {
            Ok((Description::Blob(kept), modified)) => Content::blob(Arc::clone(kept), modified),
            _ => Content::blob(manifest, SystemTime::now()),
        }
    }
}

fn is_of(entry: &Entry, manifest: &Arc<Manifest>) -> bool {
    matches!(entry.description(), Description::Blob(kept) if Arc::ptr_eq(kept, manifest) || kept == manifest)
}
