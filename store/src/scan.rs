//! What is there when the store is opened. A crash leaves data without meta, meta without data or a meta that was not
//! written to its end; none of these was ever acknowledged, so they are removed.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use herring_blob::{BlobId, ContentId, ObjectId};

use crate::disk::Disk;
use crate::layout::remove_file;
use crate::{Entry, OpenError, meta};

pub(crate) fn scan(disk: &Arc<Disk>) -> Result<HashMap<ContentId, Entry>, OpenError> {
    let mut entries = HashMap::new();
    empty(&disk.layout.uploads())?;
    for name in shelved(&disk.layout.blobs())? {
        find::<BlobId>(disk, &name, &mut entries)?;
    }
    for name in shelved(&disk.layout.objects())? {
        find::<ObjectId>(disk, &name, &mut entries)?;
    }
    let (bytes, chunks) = entries.values().map(|entry| (entry.bytes(), u64::from(entry.present_count()))).fold((0, 0), add);
    disk.space.found(bytes, chunks);
    Ok(entries)
}

fn add(a: (u64, u64), b: (u64, u64)) -> (u64, u64) {
    (a.0 + b.0, a.1 + b.1)
}

fn empty(uploads: &Path) -> Result<(), OpenError> {
    names(uploads)?.iter().map(|name| uploads.join(name)).try_for_each(|path| remove_file(&path).map_err(OpenError::at(&path)))
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
        Err(why) => {
            tracing::warn!(%id, why, "removed what a crash left half written");
            for path in [disk.layout.meta(&id), disk.layout.data(&id)] {
                remove_file(&path).map_err(OpenError::at(&path))?;
            }
        }
    }
    Ok(())
}

/// The entry, or why it is none. Only what is known to be broken is: a disk that cannot be read now may be read later.
fn read(disk: &Arc<Disk>, id: &ContentId) -> Result<Result<Entry, String>, OpenError> {
    let (data, path) = (disk.layout.data(id), disk.layout.meta(id));
    if !data.try_exists().map_err(OpenError::at(&data))? {
        return Ok(Err("its data is missing".into()));
    }
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Err("its meta is missing".into())),
        Err(source) => return Err(OpenError::Io { path, source }),
    };
    Ok(match meta::parse(&bytes) {
        Ok(meta) if meta.description.id() == *id => Ok(Entry::new(disk.clone(), *id, meta, false)),
        Ok(_) => Err("its meta is another's".into()),
        Err(error) => Err(error.to_string()),
    })
}
