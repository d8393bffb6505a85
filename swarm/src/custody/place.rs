//! Comparing with the other owners, and offering what they lack.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use futures_util::{StreamExt, stream};
use herring_gossip::View;
use herring_http_api::client::PeerError;
use herring_http_api::repair::{BlobParts, Bucket, Compared, RepairCall, RepairReply};
use herring_http_api::types::Presence;
use herring_ring::NodeId;
use herring_store::{Description, Entry};
use uuid::Uuid;

use super::census::{Census, Part, lacking};
use crate::candidates::Candidate;
use crate::config::REPAIR_DEADLINE;
use crate::fates;
use crate::proof::By;
use crate::{ServeError, Swarm};

/// Nodes that are compared with at the same time.
const TOGETHER: usize = 8;
/// Members that are asked for fates at a look, besides those who came since the last one: what one knows, all know soon.
const MET: usize = 3;
/// What may be offered in one message: parts, counted as runs of chunks.
const MOST_RUNS: usize = 10_000;
/// … and counted one by one, where it is not a single blob's: some 20 MB once they are taken apart. From a peer at most twice that is taken.
pub(super) const MOST_PARTS: u64 = Presence::MOST as u64;

/// Why a node cannot be offered anything now.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unplaced {
    #[error("sees another ring just now")]
    OtherRing,
    #[error(transparent)]
    Peer(#[from] PeerError),
}

impl Swarm {
    /// Reconciles fates with some members, and so with all in the end. True where all who were asked answered.
    pub(super) async fn meet(&self, view: &View) -> bool {
        let mut others = Candidate::others(view);
        let calm = self.0.custody.placed().is_some_and(|(epoch, _)| epoch == view.epoch());
        let most = if calm { MET } else { MET * TOGETHER };
        let random = usize::try_from(Uuid::new_v4().as_u64_pair().1 >> 32).unwrap_or(0);
        let first = random % others.len().max(1);
        others.rotate_left(first);
        others.truncate(most);
        let met = stream::iter(others).map(|node| async move {
            match self.reconcile_fates(view, &node).await {
                Ok(_) => {
                    self.0.custody.met.store(true, Relaxed);
                    true
                }
                Err(error) => {
                    tracing::debug!(peer = %node.id, %error, "fates were not reconciled");
                    view.suspect(&node.id)
                }
            }
        });
        met.buffer_unordered(TOGETHER).fold(true, |all, met| async move { all && met }).await
    }

    /// Offers every other owner what it lacks. True where all have the same.
    pub(super) async fn place_all(&self, view: &View, census: &Arc<Census>) -> bool {
        let others = view.ring().members().iter().filter(|member| member.id != *view.me());
        let nodes: Vec<Candidate> = others.filter_map(|member| view.get(&member.id)).map(Candidate::from).collect();
        let placed = stream::iter(nodes).map(|node| async move {
            match self.place_at(view, census, &node).await {
                Ok(same) => same,
                Err(error) => {
                    tracing::debug!(peer = %node.id, %error, "replicas were not compared");
                    false
                }
            }
        });
        placed.buffer_unordered(TOGETHER).fold(true, |all, placed| async move { all && placed }).await
    }

    /// Whether the two have the same of what both own. Where they have not, the node lacks what it is offered now, or offers what this one lacks.
    async fn place_at(&self, view: &View, census: &Arc<Census>, node: &Candidate) -> Result<bool, Unplaced> {
        let buckets = self.compare(view, census, node).await?;
        if buckets.is_empty() {
            return Ok(true);
        }
        // Of a joiner it is all that there is.
        let (counted, peer) = (Arc::clone(census), node.id.clone());
        let parts = tokio::task::spawn_blocking(move || counted.shared_parts(&peer, &buckets)).await;
        let lacking = self.offer(view, node, parts.unwrap_or_default()).await?;
        if !lacking.is_empty() {
            tracing::info!(peer = %node.id, blobs = lacking.len(), "an owner lacks what this node keeps, and was offered it");
        }
        Ok(false)
    }

    /// The smallest buckets in which the two keep different things.
    async fn compare(&self, view: &View, census: &Census, node: &Candidate) -> Result<Vec<Bucket>, Unplaced> {
        let mut asked = vec![Bucket::ALL];
        loop {
            let digests = census.digests(&node.id, asked.clone());
            let call = RepairCall::Compare { what: Compared::Kept, epoch: census.epoch().to_string(), digests };
            let buckets = match self.0.peers.repair(node.http, &call, &self.ask(view, REPAIR_DEADLINE)).await? {
                RepairReply::Differ { buckets } => Bucket::of_those(asked, buckets),
                RepairReply::OtherEpoch { .. } => return Err(Unplaced::OtherRing),
                _ => return Err(PeerError::Garbage("another answer".to_owned()).into()),
            };
            if buckets.iter().all(|bucket| bucket.is_smallest()) {
                return Ok(buckets);
            }
            asked = buckets.into_iter().flat_map(Bucket::parts).collect();
        }
    }

    /// Which of these the node lacks; it pulls them from now on.
    pub(super) async fn offer(&self, view: &View, node: &Candidate, parts: Vec<BlobParts>) -> Result<Vec<BlobParts>, Unplaced> {
        let mut lacking = Vec::new();
        for blobs in messages(self.with_prints(parts)) {
            let call = RepairCall::Offer { epoch: view.epoch().to_string(), blobs };
            match self.0.peers.repair(node.http, &call, &self.ask(view, REPAIR_DEADLINE)).await? {
                RepairReply::Lacking { blobs } if parts_in(&blobs) <= 2 * MOST_PARTS => lacking.extend(blobs),
                RepairReply::OtherEpoch { .. } => return Err(Unplaced::OtherRing),
                _ => return Err(PeerError::Garbage("another answer".to_owned()).into()),
            }
        }
        Ok(lacking)
    }

    /// Under which manifest this node has them.
    pub(super) fn with_prints(&self, mut parts: Vec<BlobParts>) -> Vec<BlobParts> {
        for blob in &mut parts {
            blob.print = self.true_entry(&blob.id).and_then(|entry| print_of(&entry));
        }
        parts
    }

    /// Whether what is here is of another manifest than a peer means, and may be the false one of the two.
    pub(super) fn is_other(&self, entry: &Entry, meant: Option<u64>) -> bool {
        let Description::Blob(manifest) = entry.description() else { return false };
        meant.is_some() && meant != print_of(entry) && self.0.proofs.of(manifest) != Some(By::Myself)
    }

    /// What a peer asks so that replicas are where they should be.
    pub async fn answer_repair(&self, from: String, call: RepairCall) -> Result<RepairReply, ServeError> {
        let view = self.view();
        let stranger = || ServeError::Invalid(format!("a question of {from:?}, who is no node"));
        let other = || Ok(RepairReply::OtherEpoch { epoch: view.epoch().to_string() });
        check(&call)?;
        match call {
            RepairCall::Fates { fates, buckets } => self.answer_fates(fates, &buckets).await,
            RepairCall::Compare { what: Compared::Fates, digests, .. } => {
                Ok(RepairReply::Differ { buckets: self.0.fates.differing(&digests) })
            }
            RepairCall::Compare { epoch, .. } | RepairCall::Offer { epoch, .. } if epoch != view.epoch().to_string() => other(),
            RepairCall::Compare { digests, .. } => {
                let peer: NodeId = from.parse().map_err(|_| stranger())?;
                let buckets = self.census(&view).await.differing(&peer, &digests);
                if !buckets.is_empty() {
                    // The peer may be the one who lacks something.
                    self.0.custody.nudge();
                }
                Ok(RepairReply::Differ { buckets })
            }
            RepairCall::Seek { blobs } => {
                Ok(RepairReply::Has { blobs: blobs.iter().filter_map(|sought| self.here(sought)).collect() })
            }
            RepairCall::Offer { blobs, .. } => {
                let holder: NodeId = from.parse().map_err(|_| stranger())?;
                let _word = self.0.custody.word.lock().await;
                if self.view().epoch() != view.epoch() {
                    return other();
                }
                // What is known to be deleted is not wanted; but who offers it must not take it for kept either.
                let (dead, alive): (Vec<_>, Vec<_>) = blobs.into_iter().partition(|blob| self.0.fates.is_deleted(&blob.id));
                let mut lacking: Vec<_> = alive.iter().filter_map(|offered| self.lacking(offered)).collect();
                self.0.custody.wants.add(&lacking, &holder);
                lacking.extend(dead);
                Ok(RepairReply::Lacking { blobs: lacking })
            }
        }
    }

    /// What this node should have of what is offered, and has not.
    fn lacking(&self, offered: &BlobParts) -> Option<BlobParts> {
        let mut entry = self.true_entry(&offered.id);
        if entry.as_ref().is_some_and(|entry| self.is_other(entry, offered.print)) {
            // The offer is not taken for what is here. Which of the two is right shows when it is pulled.
            self.0.proofs.note_disputed(offered.id);
            entry = None;
        }
        let wanted = |replicas: Option<u8>| replicas.map_or(self.replicas(), usize::from);
        let kept = entry.as_ref().filter(|entry| entry.is_kept());
        let unlike = kept.is_some_and(|entry| wanted(offered.replicas) > wanted(entry.replicas()));
        // How many replicas there shall be is kept with the manifest: the highest number that any put asked for.
        let replicas = if unlike { u8::try_from(wanted(offered.replicas)).ok() } else { offered.replicas };
        let offered = BlobParts { manifest: offered.manifest || unlike, replicas, ..offered.clone() };
        lacking(&offered, |part| match part {
            Part::Chunk(chunk) => entry.as_ref().is_some_and(|entry| entry.is_durable(chunk)),
            Part::Manifest => entry.as_ref().is_some_and(Entry::is_kept) && !unlike,
        })
    }
}

fn print_of(entry: &Entry) -> Option<u64> {
    let Description::Blob(manifest) = entry.description() else { return None };
    #[expect(clippy::cast_possible_truncation, reason = "a half tells them apart as well")]
    Some(manifest.print() as u64)
}

/// Whether a question can be one: what it costs to answer grows with what it names, and not with its bytes.
fn check(call: &RepairCall) -> Result<(), ServeError> {
    let fits = match call {
        RepairCall::Compare { digests, .. } => digests.len() <= Bucket::MOST,
        RepairCall::Fates { fates, buckets } => fates.len() <= fates::BATCH && buckets.len() <= Bucket::MOST,
        RepairCall::Offer { blobs, .. } | RepairCall::Seek { blobs } => parts_in(blobs) <= 2 * MOST_PARTS,
    };
    if fits { Ok(()) } else { Err(ServeError::Invalid("a question about more than nodes ask at once".to_owned())) }
}

/// Chunks and manifests.
pub(super) fn parts_in(blobs: &[BlobParts]) -> u64 {
    blobs.iter().map(|blob| blob.chunks.count() + u64::from(blob.manifest)).sum()
}

/// Parts in messages of a bounded size; of a large blob some in each.
pub(super) fn messages(parts: Vec<BlobParts>) -> impl Iterator<Item = Vec<BlobParts>> {
    let mut pieces = parts.into_iter().flat_map(pieces_of).peekable();
    std::iter::from_fn(move || {
        let (mut message, mut size) = (Vec::new(), 0);
        let mut parts = 0;
        let fits = |size: usize, parts: u64, piece: &BlobParts| {
            size == 0 || size + piece.chunks.chunks.len() < MOST_RUNS && parts + piece.chunks.count() < MOST_PARTS
        };
        while let Some(piece) = pieces.next_if(|piece| fits(size, parts, piece)) {
            size += 1 + piece.chunks.chunks.len();
            parts += 1 + piece.chunks.count();
            message.push(piece);
        }
        (!message.is_empty()).then_some(message)
    })
}

fn pieces_of(blob: BlobParts) -> Vec<BlobParts> {
    if blob.chunks.chunks.len() <= MOST_RUNS {
        return vec![blob];
    }
    let piece = |runs: &[(u32, u32)]| BlobParts { chunks: Presence { chunks: runs.to_vec(), replicas: None }, ..blob.clone() };
    blob.chunks.chunks.chunks(MOST_RUNS).map(piece).collect()
}

#[cfg(test)]
mod tests {
    use herring_blob::BlobId;

    use super::super::census::parts_of;
    use super::*;

    #[test]
    fn messages_are_bounded_and_nothing_is_left_out() {
        let runs = u32::try_from(MOST_RUNS).unwrap();
        let blob = |of: &[u8], chunks: u32| BlobParts {
            id: BlobId::of(of),
            manifest: true,
            chunks: Presence::of((0..chunks).map(|chunk| chunk * 2)),
            replicas: None,
            print: None,
        };
        let parts = vec![blob(b"1", 3), blob(b"2", 5 * runs / 2), blob(b"3", 0), blob(b"4", runs)];
        let all: std::collections::BTreeSet<_> = parts.iter().flat_map(parts_of).collect();
        let messages: Vec<_> = messages(parts).collect();
        assert!(messages.iter().all(|message| message.iter().map(|blob| blob.chunks.chunks.len()).sum::<usize>() <= MOST_RUNS));
        assert_eq!(messages.iter().flatten().flat_map(parts_of).collect::<std::collections::BTreeSet<_>>(), all);
    }

    #[test]
    fn a_question_about_more_than_there_is_is_refused() {
        let blob = |chunks: &[(u32, u32)]| BlobParts {
            id: herring_blob::BlobId::of(b"b"),
            manifest: true,
            chunks: Presence { chunks: chunks.to_vec(), replicas: None },
            replicas: None,
            print: None,
        };
        let all = blob(&[(0, Presence::MOST)]);
        for few in [vec![all.clone()], messages(vec![all.clone(), all.clone()]).next().unwrap(), vec![blob(&[(0, 9)]); 5000]] {
            assert!(check(&RepairCall::Seek { blobs: few.clone() }).is_ok());
            assert!(check(&RepairCall::Offer { epoch: String::new(), blobs: few }).is_ok());
        }
        assert!(check(&RepairCall::Seek { blobs: vec![all; 3] }).is_err());
        let digest = |bucket| herring_http_api::repair::BucketDigest { bucket, digest: "0".repeat(32) };
        let compare = |count| RepairCall::Compare {
            what: Compared::Fates,
            epoch: String::new(),
            digests: vec![digest(Bucket::ALL); count],
        };
        assert!(check(&compare(Bucket::MOST)).is_ok() && check(&compare(Bucket::MOST + 1)).is_err());
        let fates = |count| vec![herring_http_api::repair::Fate { id: BlobId::of(b"x"), deleted: true, at_ms: 1 }; count];
        assert!(check(&RepairCall::Fates { fates: fates(fates::BATCH), buckets: vec![] }).is_ok());
        assert!(check(&RepairCall::Fates { fates: fates(fates::BATCH + 1), buckets: vec![] }).is_err());
        assert!(check(&RepairCall::Fates { fates: vec![], buckets: vec![Bucket::ALL; Bucket::MOST + 1] }).is_err());
    }
}
