//! What is there when the store is opened. A crash leaves data without meta, meta without data or a meta that was not even
//! begun; none of these was ever acknowledged, so they are removed. A meta that makes no sense may once have made some: it is
//! moved aside with its data.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use herring_blob::{BlobId, ContentId, ObjectId};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir};

use crate::disk::Disk;
use crate::layout::{remove_file, sync_dir};
use crate::meta::{self, MetaError};
use crate::{Entry, OpenError};

/// Shelves that are read at a time: more than processors, for a cold disk is waited for. 1,000,000 entries of one chunk took 9 CPU-s on
/// tmpfs, 12 to 21 on ext4 with most of it in memory and 29 with nothing, beside other work, and 660 bytes each; 250 of 4,000 chunks 0.06 s.
const THREADS: usize = 16;
/// Bytes of names that are asked for at once.
const NAMES: usize = 64 << 10;

pub(crate) fn scan(disk: &Arc<Disk>) -> Result<HashMap<ContentId, Entry>, OpenError> {
    empty(&disk.layout.uploads())?;
    empty(&disk.layout.native_dir())?;
    let mut shelves = shelves(&disk.layout.blobs(), |name| Some(name.parse::<BlobId>().ok()?.into()))?;
    shelves.extend(self::shelves(&disk.layout.objects(), |name| Some(name.parse::<ObjectId>().ok()?.into()))?);
    // The shelves' own names, for the same reason as those on them: see `Shelf::read`.
    let tops = [disk.layout.blobs(), disk.layout.objects()];
    tops.iter().try_for_each(|top| sync_dir(top).map_err(OpenError::at(top)))?;
    read_all(disk, &shelves)
}

fn empty(dir: &Path) -> Result<(), OpenError> {
    names(dir)?.iter().map(|name| dir.join(name)).try_for_each(|path| remove_file(&path).map_err(OpenError::at(&path)))
}

fn names(dir: &Path) -> Result<Vec<String>, OpenError> {
    let list = || fs::read_dir(dir)?.map(|file| Ok(file?.file_name().to_string_lossy().into_owned())).collect::<io::Result<_>>();
    list().map_err(OpenError::at(dir))
}

/// A directory of entries.
struct Shelf {
    dir: PathBuf,
    /// What the names on it begin with.
    name: String,
    id: fn(&str) -> Option<ContentId>,
}

fn shelves(top: &Path, id: fn(&str) -> Option<ContentId>) -> Result<Vec<Shelf>, OpenError> {
    let shelf = |name: String| Shelf { dir: top.join(&name), name, id };
    Ok(names(top)?.into_iter().filter(|name| name.len() == 2).map(shelf).collect())
}

/// What is on all shelves, each read by one of several threads.
fn read_all(disk: &Arc<Disk>, shelves: &[Shelf]) -> Result<HashMap<ContentId, Entry>, OpenError> {
    let (next, found) = (AtomicUsize::new(0), Mutex::default());
    let work = || {
        let mut mine = std::iter::from_fn(|| shelves.get(next.fetch_add(1, Relaxed)));
        // Nobody needs the rest after an error.
        mine.try_for_each(|shelf| shelf.read(disk, &found)).inspect_err(|_| next.store(shelves.len(), Relaxed))
    };
    thread::scope(|scope| {
        let help = |n: usize| thread::Builder::new().name(format!("scan-{n}")).spawn_scoped(scope, work);
        // Where no more threads can be had, those that there are do it all.
        let helpers: Vec<_> = (1..THREADS.min(shelves.len())).map_while(|n| help(n).ok()).collect();
        work()?;
        helpers.into_iter().try_for_each(|helper| helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })?;
    Ok(found.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// What there is of an entry.
#[derive(Default)]
struct Parts {
    data: Option<CString>,
    /// The meta's inode and name.
    meta: Option<(u64, CString)>,
}

impl Shelf {
    /// Takes its entries in, and clears away what is left of others.
    fn read(&self, disk: &Arc<Disk>, found: &Mutex<HashMap<ContentId, Entry>>) -> Result<(), OpenError> {
        let dir = File::open(&self.dir).map_err(OpenError::at(&self.dir))?;
        let mut parts: Vec<(ContentId, Parts)> = self.list(&dir).map_err(OpenError::at(&self.dir))?.into_iter().collect();
        // A disk that must seek finds them so one after the other.
        parts.sort_unstable_by_key(|(_, parts)| parts.meta.as_ref().map(|meta| meta.0));
        let mut entries = Vec::with_capacity(parts.len());
        for (id, parts) in parts {
            match read(disk, &dir, &id, &parts)? {
                Ok(entry) => entries.push((id, entry)),
                Err(Broken::Half(why)) => remove(disk, &id, why)?,
                Err(Broken::Rotten(error)) => quarantine(disk, &id, &error)?,
            }
        }
        if entries.iter().any(|(_, entry)| entry.is_kept()) {
            // Who was killed before the flush left names that may be only in memory, and from here on others are told that they are durable.
            dir.sync_all().map_err(OpenError::at(&self.dir))?;
        }
        found.lock().unwrap_or_else(PoisonError::into_inner).extend(entries);
        Ok(())
    }

    /// A name that is no id is none of ours: left alone.
    fn list(&self, dir: &File) -> io::Result<HashMap<ContentId, Parts>> {
        let mut found: HashMap<_, Parts> = HashMap::new();
        let mut buffer = [MaybeUninit::uninit(); NAMES];
        let mut list = RawDir::new(dir, &mut buffer);
        while let Some(file) = list.next() {
            let file = file?;
            let Ok(name) = file.file_name().to_str() else { continue };
            let bare = name.strip_suffix(".meta").unwrap_or(name);
            let Some(id) = (self.id)(bare).filter(|_| bare.starts_with(&self.name)) else { continue };
            let parts = found.entry(id).or_default();
            let name_on_shelf = file.file_name().to_owned();
            match bare.len() < name.len() {
                true => parts.meta = Some((file.ino(), name_on_shelf)),
                false => parts.data = Some(name_on_shelf),
            }
        }
        Ok(found)
    }
}

/// Why there is no entry.
enum Broken {
    /// A crash came before it was there, or after it was removed.
    Half(&'static str),
    /// It may well have been there, and durable.
    Rotten(MetaError),
}

/// The entry, or why it is none. Only what is known to be broken is: what cannot be opened now may be opened later.
fn read(disk: &Arc<Disk>, shelf: &File, id: &ContentId, parts: &Parts) -> Result<Result<Entry, Broken>, OpenError> {
    let Some(data) = &parts.data else { return Ok(Err(Broken::Half("its data is missing"))) };
    let Some((_, name)) = &parts.meta else { return Ok(Err(Broken::Half("its meta is missing"))) };
    // By their names on the open shelf: neither the kernel nor this program spells whole paths a million times.
    let stat = rustix::fs::statat(shelf, data, AtFlags::SYMLINK_NOFOLLOW);
    let stat = stat.map_err(|error| OpenError::at(&disk.layout.data(id))(error.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(Err(Broken::Rotten(MetaError::NoData)));
    }
    let given = u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
    let file = rustix::fs::openat(shelf, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let file = File::from(file.map_err(|error| OpenError::at(&disk.layout.meta(id))(error.into()))?);
    Ok(match meta::read(&file) {
        Ok(meta) if meta.description.id() == *id => {
            let entry = Entry::new(disk.clone(), *id, meta, false);
            entry.found(given);
            Ok(entry)
        }
        Ok(_) => Err(Broken::Rotten(MetaError::Another)),
        // A rotten sector does not make a file shorter than its fixed part; it may make it seem too short for what it says of itself.
        Err(MetaError::Stub) => Err(Broken::Half("its meta was never written")),
        Err(error) => Err(Broken::Rotten(error)),
    })
}

fn remove(disk: &Disk, id: &ContentId, why: &str) -> Result<(), OpenError> {
    tracing::warn!(%id, why, "removed what a crash left half written");
    [disk.layout.meta(id), disk.layout.data(id)].iter().try_for_each(|path| remove_file(path).map_err(OpenError::at(path)))
}

/// One bad sector of a meta must not cost the data that it describes: others may know what it said.
fn quarantine(disk: &Disk, id: &ContentId, error: &MetaError) -> Result<(), OpenError> {
    let place = disk.layout.quarantine(id).map_err(OpenError::at(&disk.layout.meta(id)))?;
    tracing::error!(%id, %error, place = %place.display(), "a meta file is rotten, check the disk; its entry is left out, its files were moved aside");
    Ok(())
}
