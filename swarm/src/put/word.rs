//! The word of a put that its blob lives, which a deletion before it does not outweigh.
//!
//! A deletion counts once most owners of the manifest know it, and no other node knows it sooner. So a put has met every deletion before it if
//! each of those owners took the manifest, or said what it knows. Where one of them could not be asked, or a member is missing and deletes
//! on the other side of a partition, the put says that the blob lives, and everyone who acknowledges it has that on disk first: the later word
//! counts when the two sides meet.

use std::sync::Arc;

use futures_util::future::join_all;
use herring_blob::{BlobId, Manifest};
use herring_gossip::NodeInfo;
use herring_http_api::repair::Fate;
use herring_ring::Point;

use super::commit::Committed;
use super::{Part, Transfer};
use crate::candidates::Candidate;
use crate::{PutError, Tried};

/// How often a put that deletions disturb is committed before it is refused.
const WORDS: usize = 4;
/// How often a put is committed before it is refused where others put the same blob: each of them says at most a few words, all at the beginning.
const ROUNDS: usize = 64;

impl Transfer {
    /// Commits it so that no deletion before now undoes it.
    pub(super) async fn commit_to_stay(&self, manifest: &Arc<Manifest>, parts: &[Part]) -> Result<Committed, PutError> {
        let id = manifest.id();
        let mut lives = self.first_word(id).await?;
        let (mut said, mut words) = (lives.is_some(), 0);
        for _ in 0..ROUNDS {
            let known = self.swarm.0.fates.get(&id);
            let done = self.saying(lives).commit_all(manifest, parts).await?;
            let now = self.swarm.0.fates.get(&id);
            let stays = said || self.met_all_owners(id, &done);
            if stays && now == known {
                return Ok(done);
            }
            // Some of those who had it may have heard of a deletion before they heard this, and have forgotten it: so it is committed once more.
            lives = match now {
                // Whoever puts it too has said it. A word of one's own would disturb that put in turn.
                Some(word) if stays && !word.deleted => Some(word),
                _ if words == WORDS => break,
                _ => {
                    (said, words) = (true, words + 1);
                    Some(self.swarm.revive(&self.view, id).await?)
                }
            };
        }
        let tried = Tried::of("the others", "deleted it again and again while it was put; put it again");
        Err(PutError::TooFewReplicas { needed: self.needed(), got: 0, tried })
    }

    /// What must be said in any case.
    async fn first_word(&self, id: BlobId) -> Result<Option<Fate>, PutError> {
        let whole = self.sees_all() && self.hears_others(id).await;
        if whole && !self.swarm.0.fates.is_deleted(&id) {
            return Ok(None);
        }
        Ok(Some(self.swarm.revive(&self.view, id).await?))
    }

    pub(super) fn saying(&self, lives: Option<Fate>) -> Self {
        Self { lives, ..self.clone() }
    }

    /// Nobody of the last hour is missing, the owners are those by which this put began, and this node has heard what others know since it started.
    fn sees_all(&self) -> bool {
        let heard = self.swarm.0.custody.has_met() || self.view.members().len() < 2;
        heard && self.swarm.missing().is_empty() && self.swarm.view().epoch() == self.view.epoch()
    }

    /// A put of fewer replicas than usual does not ask all owners to keep it: the others say what they know.
    async fn hears_others(&self, id: BlobId) -> bool {
        let others = self.owners(id).into_iter().skip(self.replicas()).filter(|node| node.id != *self.view.me());
        let heard = others.map(|node| async move { self.swarm.hear_fate(&self.view, &Candidate::from(node), id).await.is_ok() });
        join_all(heard).await.into_iter().all(|heard| heard)
    }

    fn met_all_owners(&self, id: BlobId, done: &Committed) -> bool {
        self.sees_all() && self.owners(id).iter().take(self.replicas()).all(|node| done.by.contains(&node.id))
    }

    /// As a deletion counts them.
    fn owners(&self, id: BlobId) -> Vec<&NodeInfo> {
        self.view.owners(Point::of_blob(&id), self.swarm.replicas())
    }
}
