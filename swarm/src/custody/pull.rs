//! Pulling what this node owns and lacks, one blob after the other, at a pace that leaves the links to readers.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use herring_blob::{BlobId, ContentId, Manifest};
use herring_gossip::View;
use herring_ring::Point;
use herring_store::{Entry, WriteError};
use metrics::counter;
use tokio::time::sleep;

use super::census::{Part, owners};
use super::wants::Want;
use crate::candidates::Candidate;
use crate::config::MEMORY_DEADLINE;
use crate::fetch::{Role, Want as Wanted};
use crate::{Content, Source, Swarm, Tried, metrics as m};

/// Blobs that are pulled at the same time: small ones wait for the disk more than for anything else.
pub(super) const PULLERS: usize = 8;
/// Chunks of one blob that are asked for at the same time, each in its turn.
const TOGETHER: usize = 8;
/// Chunks of one blob before the next blob's turn. They share two flushes.
const TURN: usize = 64;
/// After something that could not be pulled.
const PAUSE: Duration = Duration::from_millis(500);
/// What part of the rate is left to pulls while readers wait: a quarter.
const BESIDE_READERS: u32 = 4;

/// Why a part did not come. It will be offered again.
#[derive(Debug, thiserror::Error)]
enum Missed {
    #[error("its manifest could not be had from {0}")]
    Manifest(String),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("{0} of its chunks did not come")]
    Chunks(usize),
}

impl Swarm {
    pub(super) async fn pull_all(self) {
        let custody = &self.0.custody;
        loop {
            let taken = custody.wants.next().await;
            let view = self.view();
            if let Some(wait) = self.unsettled(&view) {
                drop(taken);
                sleep(wait).await;
                continue;
            }
            let (id, parts) = (taken.id, taken.want.parts.clone());
            if let Err(error) = self.pull(&view, id, &taken.want).await {
                if matches!(error, Missed::Write(WriteError::Full { .. })) {
                    custody.full.store(true, Relaxed);
                }
                tracing::info!(%id, %error, "this node could not get all that it should keep of a blob; it is tried again");
                counter!(m::PULLS_MISSED).increment(1);
                // Whoever has it offers it again.
                custody.wants.done(id, parts);
                custody.turns.pause();
                sleep(PAUSE).await;
            }
            drop(taken);
            if custody.wants.is_empty() {
                custody.turns.pause();
                // Whether that was all, those who offered it know.
                custody.nudge();
            }
        }
    }

    /// Some of what is wanted of a blob: it is durable here when this returns.
    async fn pull(&self, view: &View, id: BlobId, want: &Want) -> Result<(), Missed> {
        let wants = &self.0.custody.wants;
        if self.0.fates.is_deleted(&id) {
            wants.done(id, want.parts.iter().copied());
            return Ok(());
        }
        let (manifest, entry) = self.entry_to_keep(view, id, want).await?;
        let (mine, others): (Vec<Part>, Vec<Part>) =
            want.parts.iter().partition(|part| self.owns(view, &manifest, **part, want.replicas));
        wants.done(id, others);
        if mine.is_empty() && !entry.is_kept() {
            return Ok(());
        }
        let chunks = mine.iter().filter_map(|part| if let Part::Chunk(chunk) = part { Some(*chunk) } else { None });
        let chunks: Vec<u32> = chunks.take(TURN).collect();
        let (content, count) = (Content::blob(manifest, entry.modified()), chunks.len());
        let came = stream::iter(chunks).map(|chunk| self.pull_chunk(&content, chunk)).buffer_unordered(TOGETHER);
        let came: Vec<u32> = came.collect::<Vec<_>>().await.into_iter().flatten().collect();
        let missed = count - came.len();
        // Removed meanwhile, or evicted for want of room: then this says so.
        let kept = entry.keep(came, want.replicas).await?;
        wants.done(id, kept.into_iter().map(Part::Chunk).chain([Part::Manifest]));
        if self.0.fates.is_deleted(&id) {
            // The word came while this was under way.
            self.remove_deleted(id).await?;
        }
        if missed == 0 { Ok(()) } else { Err(Missed::Chunks(missed)) }
    }

    fn owns(&self, view: &View, manifest: &Manifest, part: Part, replicas: Option<u8>) -> bool {
        let owns = |point: Point| owners(view.ring(), point.as_u64(), replicas, self.replicas()).contains(&view.me());
        match part {
            Part::Chunk(chunk) => owns(Point::of_chunk(manifest, chunk)),
            // Who owns a chunk knows of it, though nobody may have that.
            Part::Manifest => {
                let mut points = (0..manifest.geometry().chunk_count()).map(|chunk| Point::of_chunk(manifest, chunk));
                owns(Point::of_blob(&manifest.id())) || points.any(owns)
            }
        }
    }

    async fn entry_to_keep(&self, view: &View, id: BlobId, want: &Want) -> Result<(Arc<Manifest>, Entry), Missed> {
        let here = self.open_blob_now(id);
        let manifest = match here.as_ref().map(Content::source) {
            Some(Source::Blob(manifest)) if !self.0.proofs.is_disputed(&id) => Arc::clone(manifest),
            _ => self.manifest_to_keep(view, id, here.as_ref(), want).await?,
        };
        let entry = self.entry_of(&manifest).await?;
        Ok((manifest, entry))
    }

    /// As those give it who offered the blob, and its owners: one alone may lie.
    async fn manifest_to_keep(
        &self,
        view: &View,
        id: BlobId,
        here: Option<&Content>,
        want: &Want,
    ) -> Result<Arc<Manifest>, Missed> {
        let (owners, _) = self.candidates(view, Point::of_blob(&id)).peers(view.me());
        let holders = want.holders.iter().filter_map(|id| view.get(id)).map(Candidate::from);
        let asked = holders.filter(|one| !self.is_me(view, one)).chain(owners).collect();
        let (mut tried, mut silent) = (Tried::default(), false);
        let given = self.ask_manifest(view, id, asked, &mut tried, &mut silent).await;
        let picked = self.pick_manifest(here, given, &mut tried).await;
        picked.ok_or_else(|| Missed::Manifest(tried.to_string()))
    }

    /// The chunk's number once it is on this node's disk.
    async fn pull_chunk(&self, content: &Content, chunk: u32) -> Option<u32> {
        if self.is_here(content, chunk) {
            return Some(chunk);
        }
        let length = content.geometry().chunk_range(chunk).len();
        let _turn = self.0.custody.turns.take().await;
        let has_room = self.0.store.could_keep(length);
        self.0.custody.full.store(!has_room, Relaxed);
        if !has_room {
            return None;
        }
        let share = if self.0.readers.are_waiting() { BESIDE_READERS } else { 1 };
        self.0.custody.pace.spend(length, share).await;
        let _share = self.0.ahead_memory.take(length, MEMORY_DEADLINE).await.ok()?;
        self.launch(content, chunk, Wanted { first: 0, until: chunk + 1 }, Role::Reader).landed().await;
        let came = self.is_here(content, chunk);
        if came {
            self.0.custody.came();
            self.0.custody.pace.pulled(length);
            self.0.custody.turns.came();
            counter!(m::BYTES_PULLED).increment(length);
        }
        came.then_some(chunk)
    }

    /// Who said that they have a chunk which this node wants to keep.
    pub(crate) fn told_holders(&self, view: &View, content: &Content, chunk: u32) -> Vec<Candidate> {
        let ContentId::Blob(id) = content.id() else { return Vec::new() };
        let holders = self.0.custody.wants.holders(&id, chunk);
        holders.iter().filter_map(|id| view.get(id)).map(Candidate::from).filter(|one| !self.is_me(view, one)).collect()
    }
}
