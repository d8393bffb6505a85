//! What this node owns and lacks, and no other owner offers: a node that owns it no more may have it, or one that only read it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;

use futures_util::{StreamExt, stream};
use herring_blob::BlobId;
use herring_gossip::View;
use herring_http_api::client::PeerError;
use herring_http_api::repair::{BlobParts, RepairCall, RepairReply};
use herring_ring::{Epoch, NodeId};

use super::Custodian;
use super::census::{Census, Part, Parts, lacking, parts_of};
use super::place::{messages, parts_in};
use crate::Swarm;
use crate::candidates::Candidate;
use crate::config::REPAIR_DEADLINE;

/// Nodes that are asked at the same time.
const TOGETHER: usize = 8;
/// Blobs that are sought at a time: a thousand are a message of some 100 KB to every node.
const AT_ONCE: usize = 1_000;

/// What this node should keep, and nobody has who was asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Lost {
    pub chunks: u64,
    /// A blob with such chunks.
    pub of: Option<BlobId>,
}

impl Custodian {
    pub(super) fn lost(&self) -> Lost {
        *self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing was looked for under this ring yet.
    fn seeks_first(&self, epoch: Epoch) -> bool {
        self.sought.lock().unwrap_or_else(PoisonError::into_inner).replace(epoch) != Some(epoch)
    }

    /// Tells of the change.
    fn set_lost(&self, lost: Lost) {
        let before = std::mem::replace(&mut *self.lost.lock().unwrap_or_else(PoisonError::into_inner), lost);
        match lost.of {
            Some(id) if lost != before => tracing::warn!(
                chunks = lost.chunks,
                %id,
                "no node that answers has chunks that this node should keep, of this blob among others; start the nodes that had them, put the blob again, or delete it"
            ),
            None if before.chunks > 0 => tracing::info!("some node has what this node should keep, again"),
            _ => {}
        }
    }
}

impl Swarm {
    /// Asks all nodes for what this one should keep, lacks, and was not offered. True where each said what it has: what is still lacking then
    /// no node has that answers.
    pub(super) async fn seek(&self, view: &View, census: &Census) -> bool {
        let custody = &self.0.custody;
        let (mut gaps, mut all_gaps) = (Vec::new(), 0);
        for gap in census.gaps(|id, chunk| !self.is_durable(id, chunk)) {
            all_gaps += count(&gap);
            gaps.extend(lacking(&gap, |part| self.is_offered(&gap.id, part)));
        }
        custody.gaps.store(all_gaps, Relaxed);
        if custody.seeks_first(census.epoch()) && !gaps.is_empty() {
            // After a change of owners the others have not offered anything yet.
            return false;
        }
        let (mut all, mut lost) = (true, Lost::default());
        for some in gaps.chunks(AT_ONCE) {
            let mut sought: BTreeSet<(BlobId, Part)> = some.iter().flat_map(parts_of).collect();
            for (holder, has) in self.holders_of(view, some.to_vec()).await {
                all &= has.is_some();
                let blobs = has.unwrap_or_default();
                custody.wants.add(&blobs, &holder);
                blobs.iter().flat_map(parts_of).for_each(|part| _ = sought.remove(&part));
            }
            lost = Lost { chunks: lost.chunks + sought.len() as u64, of: lost.of.or(sought.first().map(|(id, _)| *id)) };
        }
        custody.set_lost(lost);
        all
    }

    fn is_offered(&self, id: &BlobId, part: Part) -> bool {
        matches!(part, Part::Chunk(chunk) if !self.0.custody.wants.holders(id, chunk).is_empty())
    }

    fn is_durable(&self, id: &BlobId, chunk: u32) -> bool {
        self.true_entry(id).is_some_and(|entry| entry.is_durable(chunk))
    }

    /// Which of these parts each node has, `None` where it does not say. This node may have read some itself.
    async fn holders_of(&self, view: &View, parts: Vec<BlobParts>) -> BTreeMap<NodeId, Option<Vec<BlobParts>>> {
        if parts.is_empty() {
            return BTreeMap::new();
        }
        let mine = parts.iter().filter_map(|sought| self.here(sought)).collect();
        let messages: Vec<Vec<BlobParts>> = messages(self.with_prints(parts)).collect();
        let answers = stream::iter(Candidate::others(view)).map(|node| {
            let messages = &messages;
            async move {
                let has = self.ask_for(view, &node, messages).await;
                let told = has.inspect_err(|error| tracing::debug!(peer = %node.id, %error, "did not say what it has"));
                (node.id, told.ok())
            }
        });
        let mut holders: BTreeMap<_, Option<Vec<_>>> = answers.buffer_unordered(TOGETHER).collect().await;
        holders.insert(view.me().clone(), Some(mine));
        holders
    }

    async fn ask_for(&self, view: &View, node: &Candidate, messages: &[Vec<BlobParts>]) -> Result<Vec<BlobParts>, PeerError> {
        let mut has = Vec::new();
        for blobs in messages {
            let call = RepairCall::Seek { blobs: blobs.clone() };
            match self.0.peers.repair(node.http, &call, &self.ask(view, REPAIR_DEADLINE)).await? {
                RepairReply::Has { blobs: here } if parts_in(&here) <= parts_in(blobs) => has.extend(here),
                _ => return Err(PeerError::Garbage("another answer".to_owned())),
            }
        }
        Ok(has)
    }

    /// What this node has of what is sought; `None` where that is nothing.
    pub(super) fn here(&self, sought: &BlobParts) -> Option<BlobParts> {
        let entry = self.true_entry(&sought.id).filter(|entry| !self.is_other(entry, sought.print))?;
        let mut parts = Parts::default();
        for (id, part) in parts_of(sought) {
            if matches!(part, Part::Chunk(chunk) if entry.has(chunk)) {
                parts.add(id, sought.replicas, part);
            }
        }
        parts.into_blobs().pop()
    }
}

fn count(blob: &BlobParts) -> u64 {
    parts_of(blob).count() as u64
}
