//! How an upload becomes durable. Each step is on stable storage before the next one says so: the bytes, the meta that
//! records them, the two names (data first: the meta's is the commit point), and at last the directory with the names.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::sync::{Arc, PoisonError};
use std::time::{Instant, SystemTime};

use herring_blob::{Chunk, Manifest, PieceDigests};

use crate::custody::Kept;
use crate::files::read_range;
use crate::layout::{Layout, write_file};
use crate::meta::{self, Meta};
use crate::space::{Class, Reservation};
use crate::store::check_shape;
use crate::table::State;
use crate::upload::{Draft, Phase};
use crate::{Description, Entry, Store, WriteError, metrics as names};

/// How often a merge begins anew because somebody dropped a cached chunk between the look at it and the hold on it.
const MERGES: u32 = 8;

impl Draft {
    pub fn commit(&self, store: &Store, manifest: &Arc<Manifest>, replicas: Option<u8>) -> Result<Entry, WriteError> {
        let begun = Instant::now();
        self.touch();
        let mut phase = self.phase.write().unwrap_or_else(PoisonError::into_inner);
        if *phase == Phase::Closed || self.is_spoilt() {
            return Err(WriteError::Gone);
        }
        self.check(manifest)?;
        let id = manifest.id().into();
        let _claim = store.naming().wait(id);
        let entry = match store.get(&id) {
            Some(entry) => match self.merge(&entry, manifest, replicas, &mut phase) {
                Err(error) if store.lost(&entry, &error) => self.publish(store, manifest, replicas, &mut phase)?,
                merged => merged.map(|()| entry)?,
            },
            None => self.publish(store, manifest, replicas, &mut phase)?,
        };
        metrics::histogram!(names::COMMIT_SECONDS).record(begun.elapsed().as_secs_f64());
        Ok(entry)
    }

    /// What was received must be this blob's.
    fn check(&self, manifest: &Arc<Manifest>) -> Result<(), WriteError> {
        let geometry = check_shape(&Description::Blob(manifest.clone()))?;
        let received = self.received();
        if !received.is_empty() && geometry.chunk_size() != self.chunk_size() {
            return Err(WriteError::Conflict { id: manifest.id().into() });
        }
        let right = |n, chunk: &PieceDigests| manifest.digest(n) == Some(chunk.digest()) && geometry.pieces(n) == chunk.pieces();
        let wrong = received.iter().find(|&(&n, chunk)| !right(n, chunk));
        wrong.map_or(Ok(()), |(&chunk, _)| Err(WriteError::Mismatch { chunk }))
    }

    /// A blob that is not here: the upload's file becomes its file.
    fn publish(
        &self,
        store: &Store,
        manifest: &Arc<Manifest>,
        replicas: Option<u8>,
        phase: &mut Phase,
    ) -> Result<Entry, WriteError> {
        self.own_write(|| self.file.set_len(manifest.size()))?;
        if self.is_doubted() {
            let received = self.received().clone();
            received.iter().try_for_each(|(&n, digests)| self.chunk(n, digests).map(drop))?;
        }
        if let Err(error) = self.file.sync_all() {
            // The kernel drops bytes that it could not write, and calls the next fsync a success: they must come again.
            self.close_in(phase)?;
            return Err(error.into());
        }
        let (meta, file, room) = self.write_meta(manifest, Kept::No.with(replicas))?;
        let id = manifest.id().into();
        let (layout, data) = (&self.disk.layout, self.disk.layout.data(&id));
        layout.make_shelf(&id)?;
        self.own_write(|| std::fs::rename(self.path(), &data))?;
        std::fs::rename(layout.draft(&id), layout.meta(&id)).inspect_err(|_| {
            // Back to where the next try looks for it. Where that fails too, the next open removes the nameless data.
            let _ = std::fs::rename(&data, self.path());
        })?;
        // The room is the entry's from here on.
        self.received().clear();
        *phase = Phase::Closed;
        room.keep(0);
        let entry = Entry::new(self.disk.clone(), id, meta, !self.is_doubted());
        entry.0.witness.follow(&self.witness);
        entry.weigh_meta(&file);
        self.disk.weigh_shelf(Layout::shelf_index(&id));
        // Nobody sees it before its names are on the disk: another owner who is told that this one has a chunk may let go of its own.
        layout.sync_shelf(&id).inspect_err(|_| self.withdraw(&entry))?;
        store.adopt(entry.clone());
        self.disk.changed();
        Ok(entry)
    }

    /// Its names may be on the disk or not. Where they cannot be removed either, the next open finds them.
    fn withdraw(&self, entry: &Entry) {
        if let Err(error) = entry.try_bury(|_| true) {
            tracing::error!(id = %entry.id(), %error, "this disk neither takes a directory's names nor lets go of them");
        }
    }

    fn write_meta(&self, manifest: &Arc<Manifest>, kept: Kept) -> Result<(Meta, File, Reservation<'_>), WriteError> {
        let geometry = manifest.geometry();
        let received = BTreeMap::from_iter(self.received().clone());
        let state = |n| if received.contains_key(&n) { State::Durable } else { State::Absent };
        let states = (0..geometry.chunk_count()).map(state).collect();
        let description = Description::Blob(manifest.clone());
        let (meta, bytes) = meta::new(&description, geometry, SystemTime::now(), states, kept);
        let room = self.disk.reserve(meta.on_disk, Class::Durable)?;
        let file = write_file(&self.disk.layout.draft(&description.id()), &bytes)?;
        let with_table = received.iter().filter(|(_, chunk)| chunk.pieces().count() > 1);
        meta::write_pieces(&file, meta.tables, with_table.map(|(&n, chunk)| (n, chunk)))?;
        file.sync_all()?;
        Ok((meta, file, room))
    }

    /// A blob that is here, in part or whole: its file gets what it lacks.
    fn merge(&self, entry: &Entry, manifest: &Arc<Manifest>, replicas: Option<u8>, phase: &mut Phase) -> Result<(), WriteError> {
        if *entry.description() != Description::Blob(manifest.clone()) {
            return Err(WriteError::Conflict { id: entry.id() });
        }
        let received = BTreeMap::from_iter(self.received().clone());
        let chunks: Vec<u32> = received.keys().copied().collect();
        for _ in 0..MERGES {
            for (&n, digests) in &received {
                if !entry.has_right(n)? {
                    entry.write_blocking(n, &self.chunk(n, digests)?)?;
                }
            }
            let life = entry.live().ok_or(WriteError::Gone)?;
            let held = entry.hold(&chunks);
            if held.len() == chunks.len() {
                entry.make_durable(&life, &held, replicas)?;
                return Ok(self.close_in(phase)?);
            }
        }
        Err(WriteError::Full { needed: received.values().map(|chunk| u64::from(chunk.pieces().chunk_len())).sum(), free: 0 })
    }

    /// A chunk that was received, hashed once more: nobody has asked the disk yet whether it took what it was given.
    fn chunk(&self, n: u32, digests: &PieceDigests) -> io::Result<Chunk> {
        let bytes = read_range(&self.file, self.range(n, digests.pieces().chunk_len().into()))?;
        Chunk::verify(bytes.into(), self.chunk_size(), digests.digest()).ok_or_else(|| {
            self.spoil();
            io::Error::other(format!("chunk {n} of upload {} is not what was written; begin again", self.id()))
        })
    }
}
