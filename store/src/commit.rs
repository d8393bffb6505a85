//! How an upload becomes durable. Each step is on stable storage before the next one says so: the bytes, the meta that
//! records them, the two names (data first: the meta's is the commit point), and at last the directory with the names.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{Ordering::Acquire, Ordering::Release};
use std::sync::{Arc, PoisonError};
use std::time::{Instant, SystemTime};

use herring_blob::{Chunk, Manifest, PieceDigests};

use crate::files::read_range;
use crate::layout::write_file;
use crate::meta::{self, Meta};
use crate::store::check_shape;
use crate::table::State;
use crate::upload::{Draft, Phase};
use crate::verify::Cache;
use crate::{Description, Entry, ReadError, Store, WriteError, metrics as names};

impl Draft {
    pub fn commit(&self, store: &Store, manifest: &Arc<Manifest>) -> Result<Entry, WriteError> {
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
            Some(entry) => self.merge(&entry, manifest, &mut phase).map(|()| entry)?,
            None => self.publish(store, manifest, &mut phase)?,
        };
        // In both cases: a merged entry may be a cached one, whose names were never made durable.
        self.disk.layout.sync_shelf(&id)?;
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
    fn publish(&self, store: &Store, manifest: &Arc<Manifest>, phase: &mut Phase) -> Result<Entry, WriteError> {
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
        let meta = self.write_meta(manifest)?;
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
        let entry = Entry::new(self.disk.clone(), id, meta, !self.is_doubted());
        entry.0.witness.follow(&self.witness);
        store.adopt(entry.clone());
        Ok(entry)
    }

    fn write_meta(&self, manifest: &Arc<Manifest>) -> io::Result<Meta> {
        let geometry = manifest.geometry();
        let received = BTreeMap::from_iter(self.received().clone());
        let state = |n| if received.contains_key(&n) { State::Durable } else { State::Absent };
        let states = (0..geometry.chunk_count()).map(state).collect();
        let description = Description::Blob(manifest.clone());
        let (meta, bytes) = meta::new(&description, geometry, SystemTime::now(), states, true);
        let file = write_file(&self.disk.layout.draft(&description.id()), &bytes)?;
        let with_table = received.iter().filter(|(_, chunk)| chunk.pieces().count() > 1);
        meta::write_pieces(&file, meta.tables, with_table.map(|(&n, chunk)| (n, chunk)))?;
        file.sync_all()?;
        Ok(meta)
    }

    /// A blob that is here, in part or whole: its file gets what it lacks.
    fn merge(&self, entry: &Entry, manifest: &Arc<Manifest>, phase: &mut Phase) -> Result<(), WriteError> {
        if *entry.description() != Description::Blob(manifest.clone()) {
            return Err(WriteError::Conflict { id: entry.id() });
        }
        let received = self.received().clone();
        for (&n, digests) in &received {
            if !entry.has_right(n)? {
                entry.write_blocking(n, &self.chunk(n, digests)?)?;
            }
        }
        entry.make_durable(received.keys().copied())?;
        Ok(self.close_in(phase)?)
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

impl Entry {
    /// Whether chunk `n` is here and right. A recorded one that nobody has read yet is believed only once it was; a rotten one is
    /// dropped by that.
    fn has_right(&self, n: u32) -> io::Result<bool> {
        match self.verify(n, Cache::Keep) {
            Ok(()) => Ok(true),
            Err(ReadError::Missing { .. }) => Ok(false),
            Err(ReadError::Io(error)) => Err(error),
        }
    }

    /// Makes these chunks, which are here and verified, and the description durable. The caller makes the names so.
    fn make_durable(&self, chunks: impl Iterator<Item = u32>) -> Result<(), WriteError> {
        let life = self.live().ok_or(WriteError::Gone)?;
        let durable = [State::Durable.byte()];
        let chunks: Vec<u32> = chunks.filter(|&n| !self.is_durable(n)).collect();
        if chunks.is_empty() && self.is_kept() {
            return Ok(());
        }
        let files = self.open_files(&life)?;
        self.sync(&files.data)?;
        for &n in &chunks {
            files.meta.write_all_at(&durable, self.0.tables.state(n))?;
        }
        files.meta.write_all_at(&durable, self.0.tables.kept())?;
        self.sync(&files.meta)?;
        chunks.iter().for_each(|&n| self.0.table.set_durable(n));
        self.set_kept();
        Ok(())
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        if self.0.sync_failed.load(Acquire) {
            return Err(io::Error::other(format!("an fsync of {} failed before; restart, or remove it", self.0.id)));
        }
        file.sync_all().inspect_err(|_| self.0.sync_failed.store(true, Release))
    }
}
