//! What this node keeps for others: after a change of owners, or while it drains.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering::Relaxed;

use futures_util::future::join_all;
use herring_blob::{BlobId, ContentId};
use herring_gossip::View;
use herring_http_api::repair::BlobParts;
use herring_ring::NodeId;
use herring_store::{Entry, WriteError};

use super::census::{Batch, Census, Part};
use crate::Swarm;
use crate::candidates::Candidate;

/// Parts that are offered to their owners at a time.
const BATCH: usize = 512;

impl Swarm {
    /// Offers to all owners what they own and this node keeps; what all of them have is only cached here from then on. True where nothing is left.
    pub(super) async fn hand_over(&self, view: &View, census: &Census) -> bool {
        let (mut left, mut silent) = (0, BTreeSet::new());
        for batch in census.foreign(BATCH) {
            let lacking = self.offer_to_owners(view, &batch, &mut silent).await;
            let confirmed = batch.confirmed(&lacking);
            left += batch.parts.len() - confirmed.len();
            // What this node says that it has, it has as long as the ring is the same.
            let word = self.0.custody.word.lock().await;
            if self.view().epoch() != census.epoch() {
                return false;
            }
            let chunks = confirmed.iter().filter(|(_, part)| *part != Part::Manifest).count() as u64;
            self.let_go(confirmed).await;
            drop(word);
            let less = |count: u64| Some(count.saturating_sub(chunks));
            let _ = self.0.custody.foreign_chunks.fetch_update(Relaxed, Relaxed, less);
        }
        // The manifest of what was let go is foreign only from the next census on.
        left == 0 && !census.has_foreign()
    }

    /// What each owner lacks; who did not answer is not among them, and is not asked again.
    async fn offer_to_owners(
        &self,
        view: &View,
        batch: &Batch,
        silent: &mut BTreeSet<NodeId>,
    ) -> BTreeMap<NodeId, Vec<BlobParts>> {
        let asked = batch.offers.iter().filter(|(id, _)| !silent.contains(*id));
        let offers = asked.filter_map(|(id, parts)| Some((Candidate::from(view.get(id)?), parts.clone())));
        let answers = join_all(offers.map(|(node, parts)| async {
            let lacking = self.offer(view, &node, parts).await;
            let told = lacking
                .inspect_err(|error| tracing::debug!(peer = %node.id, %error, "an owner could not be offered what it owns"));
            (node.id, told.ok())
        }))
        .await;
        let (answered, failed): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(_, lacking)| lacking.is_some());
        silent.extend(failed.into_iter().map(|(node, _)| node));
        answered.into_iter().filter_map(|(node, lacking)| Some((node, lacking?))).collect()
    }

    async fn let_go(&self, parts: Vec<(BlobId, Part)>) {
        let mut blobs: BTreeMap<BlobId, Vec<Part>> = BTreeMap::new();
        parts.into_iter().for_each(|(id, part)| blobs.entry(id).or_default().push(part));
        for (id, parts) in blobs {
            let Some(entry) = self.0.store.get(&ContentId::from(id)) else { continue };
            if let Err(error) = release(&entry, &parts).await {
                tracing::warn!(%id, %error, "what other nodes keep by now could not be let go");
            }
        }
    }
}

async fn release(entry: &Entry, parts: &[Part]) -> Result<(), WriteError> {
    let chunks: Vec<u32> =
        parts.iter().filter_map(|part| if let Part::Chunk(chunk) = part { Some(*chunk) } else { None }).collect();
    tracing::debug!(id = %entry.id(), chunks = chunks.len(), "all owners have what this node kept for them");
    if !chunks.is_empty() {
        entry.release(chunks).await?;
    }
    let keeps_chunks = (0..entry.geometry().chunk_count()).any(|chunk| entry.is_durable(chunk));
    if parts.contains(&Part::Manifest) && !keeps_chunks {
        entry.release_description().await?;
    }
    Ok(())
}
