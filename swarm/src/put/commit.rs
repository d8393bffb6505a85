//! The end of a put: everyone who holds a part commits it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use futures_util::{StreamExt, TryStreamExt, stream};
use herring_blob::{BlobId, Manifest};
use herring_http_api::client::PeerError;
use herring_http_api::types::Presence;
use herring_ring::{NodeId, Point};

use super::abandon::Abandon;
use super::spread::{Copies, PartError, settle};
use super::{Holders, Part, Transfer};
use crate::candidates::Candidate;
use crate::config::{COMMIT_DEADLINE, REMOVE_DEADLINE};
use crate::{Content, PutError, ReadError, ServeError, Source, Tried};

/// Chunks that are read back and given to others at the same time: 16 MiB.
const MENDED_TOGETHER: usize = 4;

/// What came of a commit.
pub(super) struct Committed {
    /// How many replicas the least replicated part has.
    pub replicas: usize,
    /// How many there shall be.
    pub wanted: usize,
    /// Everyone who has it on disk.
    pub by: BTreeSet<NodeId>,
}

impl Transfer {
    /// Answers which chunks the node holds now: one that restarted under the put has forgotten its parts and commits gladly without.
    async fn commit_to(&self, node: Candidate, manifest: Arc<Manifest>) -> Result<Presence, PartError> {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner).insert(node.id.clone());
        let swarm = &self.swarm.0;
        if self.swarm.is_me(&self.view, &node) {
            return self.swarm.commit_upload(self.upload, manifest, self.options.replicas).await.map_err(|error| match error {
                ServeError::Write(error) => PartError::Here(error),
                other => PartError::There(PeerError::Broken(other.to_string())),
            });
        }
        if let Some(lives) = self.lives {
            self.swarm.tell_one(&self.view, &node, lives, REMOVE_DEADLINE).await.map_err(PartError::There)?;
        }
        let ask = self.swarm.ask(&self.view, COMMIT_DEADLINE);
        let commit = || swarm.peers.commit_upload(node.http, self.upload, &manifest, self.options.replicas, &ask);
        let mut question = swarm.health.ask(&node.id, Duration::MAX);
        let mut committed = commit().await;
        if matches!(committed, Err(PeerError::Changed(_))) {
            // It knows that the blob was deleted, and not yet that it lives again.
            self.tell_alive(&node, manifest.id()).await?;
            committed = commit().await;
        }
        settle(&mut question, committed)
    }

    async fn tell_alive(&self, node: &Candidate, id: BlobId) -> Result<(), PartError> {
        self.swarm.hear_fate(&self.view, node, id).await.map_err(PartError::There)?;
        let lives = self.swarm.revive(&self.view, id).await;
        lives.map(drop).map_err(|error| PartError::There(PeerError::Broken(error.to_string())))
    }

    /// Has everyone who holds a part put it on disk under the manifest, the manifest's owners last.
    pub(super) async fn commit_all(&self, manifest: &Arc<Manifest>, parts: &[Part]) -> Result<Committed, PutError> {
        let walk = self.walk(Point::of_blob(&manifest.id()));
        let keepers: BTreeSet<&NodeId> = walk.iter().take(self.replicas()).map(|one| &one.id).collect();
        let holders: BTreeSet<&NodeId> = parts.iter().flat_map(|part| &part.holders).collect();
        let others = holders.difference(&keepers).filter_map(|id| self.view.get(id)).map(Candidate::from).collect();
        let mut held = self.commit_at(others, manifest).await;
        let kept = self.spread(walk, Copies::all(self), |node| self.commit_to(node, Arc::clone(manifest))).await?;
        let keepers = kept.len();
        held.extend(kept);
        self.mend(manifest, parts, &mut held).await?;
        self.touched.lock().unwrap_or_else(PoisonError::into_inner).retain(|id| !held.contains_key(id));
        let replicas = parts.iter().map(|part| replicas(part.chunk, &held)).min().unwrap_or(keepers).min(keepers);
        let said = held.values().map(|presence| presence.replicas.map_or(self.swarm.replicas(), usize::from));
        Ok(Committed { replicas, wanted: said.max().unwrap_or(replicas), by: held.into_keys().collect() })
    }

    async fn commit_at(&self, nodes: Vec<Candidate>, manifest: &Arc<Manifest>) -> BTreeMap<NodeId, Presence> {
        let commits = nodes.into_iter().map(|node| async {
            let committed = self.commit_to(node.clone(), Arc::clone(manifest)).await;
            let told =
                committed.inspect_err(|error| tracing::warn!(node = %node.id, %error, "a node did not commit its part of a put"));
            Some((node.id, told.ok()?))
        });
        join_all(commits).await.into_iter().flatten().collect()
    }

    /// Some who took parts may be gone before they committed. Those parts are read back from who did, and given to others.
    async fn mend(
        &self,
        manifest: &Arc<Manifest>,
        parts: &[Part],
        held: &mut BTreeMap<NodeId, Presence>,
    ) -> Result<(), PutError> {
        let weak: Vec<u32> = parts.iter().map(|part| part.chunk).filter(|chunk| replicas(*chunk, held) < self.needed()).collect();
        if weak.is_empty() {
            return Ok(());
        }
        let again = Self::new(self.swarm.clone(), self.view.clone(), self.options).saying(self.lives);
        let mut abandon = Abandon(Some(again.clone()));
        let content = Content::blob(Arc::clone(manifest), SystemTime::now());
        let resent = stream::iter(weak).map(|chunk| again.resend(&content, chunk, held)).buffer_unordered(MENDED_TOGETHER);
        let takers: Vec<Holders> = resent.try_collect().await?;
        let takers: BTreeSet<NodeId> = takers.into_iter().flatten().collect();
        let nodes = takers.iter().filter_map(|id| self.view.get(id)).map(Candidate::from).collect();
        held.extend(again.commit_at(nodes, manifest).await);
        abandon.0 = None;
        let least = parts.iter().map(|part| replicas(part.chunk, held)).min().unwrap_or_default();
        let tried = Tried::of("some who took parts", "did not commit them; what others committed stays, so put it again");
        if least < self.needed() { Err(PutError::TooFewReplicas { needed: self.needed(), got: least, tried }) } else { Ok(()) }
    }

    async fn resend(&self, content: &Content, chunk: u32, held: &BTreeMap<NodeId, Presence>) -> Result<Holders, PutError> {
        let Source::Blob(manifest) = content.source() else { return Ok(Holders::new()) };
        let have = replicas(chunk, held);
        let lost = |error: ReadError| PutError::TooFewReplicas {
            needed: self.needed(),
            got: have,
            tried: Tried::of("reading it back to replace a lost replica:", error),
        };
        let bytes = self.swarm.fetch(content, chunk).await.map_err(lost)?.chunk();
        let mut walk = self.walk(Point::of_chunk(manifest, chunk));
        walk.retain(|node| !held.get(&node.id).is_some_and(|presence| presence.has(chunk)));
        let missing = self.needed().saturating_sub(have);
        let copies = Copies { wanted: missing, needed: missing };
        let given = self.spread(walk, copies, |node| self.send_to(node, chunk, bytes.clone())).await?;
        Ok(given.into_keys().collect())
    }
}

/// How many of those who committed have a chunk.
fn replicas(chunk: u32, held: &BTreeMap<NodeId, Presence>) -> usize {
    held.values().filter(|presence| presence.has(chunk)).count()
}
