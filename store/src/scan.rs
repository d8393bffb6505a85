//! What is there when the store is opened. A crash leaves data without meta, meta without data or a meta that was not even
//! begun; none of these was ever acknowledged, so they are removed. A meta that makes no sense may once have made some: it is
//! moved aside with its data.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use herring_blob::{BlobId, ContentId, ObjectId};

use crate::disk::Disk;
use crate::layout::remove_file;
use crate::meta::{self, MetaError};
use crate::{Entry, OpenError, weight};

pub(crate) fn scan(disk: &Arc<Disk>) -> Result<HashMap<ContentId, Entry>, OpenError> {
    let mut entries = HashMap::new();
    empty(&disk.layout.uploads())?;
    empty(&disk.layout.native_dir())?;
    for name in shelved(&disk.layout.blobs())? {
        find::<BlobId>(disk, &name, &mut entries)?;
    }
    for name in shelved(&disk.layout.objects())? {
        find::<ObjectId>(disk, &name, &mut entries)?;
    }
    Ok(entries)
}

fn empty(dir: &Path) -> Result<(), OpenError> {
    names(dir)?.iter().map(|name| dir.join(name)).try_for_each(|path| remove_file(&path).map_err(OpenError::at(&path)))
}

/// The names on all shelves below `top`, each once, whether its data, its meta or both are there.
fn shelved(top: &Path) -> Result<HashSet<String>, OpenError> {
    let mut found = HashSet::new();
    for shelf in names(top)?.into_iter().filter(|shelf| shelf.len() == 2) {
        found.extend(names(&top.join(shelf))?.into_iter().map(|name| name.strip_suffix(".meta").unwrap_or(&name).to_owned()));
    }
    Ok(found)
}

fn names(dir: &Path) -> Result<Vec<String>, OpenError> {
    let list = || fs::read_dir(dir)?.map(|file| Ok(file?.file_name().to_string_lossy().into_owned())).collect::<io::Result<_>>();
    list().map_err(OpenError::at(dir))
}

/// Takes the entry called `name` in, or clears away what is left of it. A name that is no id is none of ours: left alone.
fn find<I: std::str::FromStr + Into<ContentId>>(
    disk: &Arc<Disk>,
    name: &str,
    entries: &mut HashMap<ContentId, Entry>,
) -> Result<(), OpenError> {
    let Ok(id) = name.parse::<I>().map(Into::into) else { return Ok(()) };
    match read(disk, &id)? {
        Ok(entry) => drop(entries.insert(id, entry)),
        Err(Broken::Half(why)) => remove(disk, &id, why)?,
        Err(Broken::Rotten(error)) => quarantine(disk, &id, &error)?,
    }
    Ok(())
}

/// Why there is no entry.
enum Broken {
    /// A crash came before it was there, or after it was removed.
    Half(&'static str),
    /// It may well have been there, and durable.
    Rotten(MetaError),
}

/// The entry, or why it is none. Only what is known to be broken is: what cannot be opened now may be opened later.
fn read(disk: &Arc<Disk>, id: &ContentId) -> Result<Result<Entry, Broken>, OpenError> {
    let (data, path) = (disk.layout.data(id), disk.layout.meta(id));
    let given = match fs::metadata(&data) {
        Ok(metadata) => weight::given(&metadata),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Err(Broken::Half("its data is missing"))),
        Err(source) => return Err(OpenError::Io { path: data, source }),
    };
    let file = match fs::File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Err(Broken::Half("its meta is missing"))),
        Err(source) => return Err(OpenError::Io { path, source }),
    };
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
