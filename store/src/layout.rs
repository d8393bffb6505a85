use std::collections::HashSet;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use herring_blob::ContentId;
use uuid::Uuid;

/// The version of the layout that this program writes, and the newest that it reads. 2: the byte of a meta that says whether it is kept
/// may be a number of replicas, which a program of format 1 would take for rot. Nothing else changed, so a store of format 1 becomes one
/// of format 2 when it is opened.
pub const FORMAT: u32 = 2;

/// Directories of entries: 256 below `blobs`, then 256 below `objects`.
pub(crate) const SHELVES: usize = 512;

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{} is in use by another herring process; stop that one, or give this one another data directory", .dir.display())]
    Locked { dir: PathBuf },
    #[error("{} was written by a newer herring (format {found}, this one knows up to {FORMAT}); run that version, or use another data directory", .dir.display())]
    Newer { dir: PathBuf, found: u32 },
    #[error("{} holds {found:?} where a format number should be; if this is no herring store, use another data directory", .path.display())]
    Foreign { path: PathBuf, found: String },
    #[error("{} could not be read or prepared: {source}; check that the disk is well and that this user may write there", .path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl OpenError {
    pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}

/// Where everything lies below the store's directory.
pub(crate) struct Layout {
    dir: PathBuf,
    /// Shelves that are known to be durable; at most 512.
    synced: Mutex<HashSet<PathBuf>>,
    /// What the disk answers when a shelf is flushed.
    #[cfg(test)]
    pub at_sync: std::sync::OnceLock<AtSync>,
}

#[cfg(test)]
type AtSync = Box<dyn Fn(&ContentId) -> io::Result<()> + Send + Sync>;

impl Layout {
    pub fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            synced: Mutex::default(),
            #[cfg(test)]
            at_sync: std::sync::OnceLock::new(),
        }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn blobs(&self) -> PathBuf {
        self.dir.join("blobs")
    }

    pub fn objects(&self) -> PathBuf {
        self.dir.join("objects")
    }

    pub fn uploads(&self) -> PathBuf {
        self.dir.join("uploads")
    }

    /// The directory that an entry's two files lie in.
    fn shelf(&self, id: &ContentId) -> PathBuf {
        let (top, name) = self.place(id);
        top.join(&name[..2])
    }

    /// Where `id`'s shelf is among all.
    pub fn shelf_index(id: &ContentId) -> usize {
        let (first, name) = match id {
            ContentId::Blob(id) => (0, id.to_string()),
            ContentId::Object(id) => (SHELVES / 2, id.to_string()),
        };
        // An id is hexadecimal digits.
        first + usize::from_str_radix(&name[..2], 16).unwrap_or_default()
    }

    pub fn shelf_at(&self, index: usize) -> PathBuf {
        let top = if index < SHELVES / 2 { self.blobs() } else { self.objects() };
        top.join(format!("{:02x}", index % (SHELVES / 2)))
    }

    pub fn data(&self, id: &ContentId) -> PathBuf {
        self.shelf(id).join(self.place(id).1)
    }

    pub fn meta(&self, id: &ContentId) -> PathBuf {
        self.data(id).with_extension("meta")
    }

    /// Moves an entry's files to a new directory of their own below `quarantine`, so that its id is free. The data goes first: data
    /// without a meta is taken for what a crash left.
    pub fn quarantine(&self, id: &ContentId) -> io::Result<PathBuf> {
        self.put_aside(&[self.data(id), self.meta(id)])
    }

    /// Moves these files, which have names, to a new directory of their own below `quarantine`.
    pub fn put_aside(&self, files: &[PathBuf]) -> io::Result<PathBuf> {
        let place = self.dir.join("quarantine").join(Uuid::new_v4().to_string());
        DirBuilder::new().recursive(true).mode(0o700).create(&place)?;
        for path in files {
            std::fs::rename(path, place.join(path.file_name().unwrap_or_default()))?;
        }
        Ok(place)
    }

    /// Where [`Records`](crate::Records) are; not there before the first one is written.
    pub fn records(&self) -> PathBuf {
        self.dir.join("records.redb")
    }

    /// Second names of the data of blobs that are whole and verified, which anybody may read as they are. Empty after a start.
    pub fn native_dir(&self) -> PathBuf {
        self.dir.join("native")
    }

    pub fn native(&self, id: &ContentId) -> PathBuf {
        self.native_dir().join(self.place(id).1)
    }

    /// Where an entry's meta is written before it is renamed into place.
    pub fn draft(&self, id: &ContentId) -> PathBuf {
        self.uploads().join(self.place(id).1).with_extension("meta")
    }

    /// Makes the shelf of this id if it is not there. Durable only with [`sync_shelf`](Self::sync_shelf).
    pub fn make_shelf(&self, id: &ContentId) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(self.shelf(id))
    }

    pub fn lock_path(&self) -> PathBuf {
        self.dir.join("lock")
    }

    /// A shelf that may have been removed is made, and made durable, anew.
    pub fn forget_shelf(&self, id: &ContentId) {
        self.synced.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.shelf(id));
    }

    /// Makes renames and removals on this id's shelf durable, and the shelf itself, which needs that once.
    pub fn sync_shelf(&self, id: &ContentId) -> io::Result<()> {
        #[cfg(test)]
        self.at_sync.get().map_or(Ok(()), |answer| answer(id))?;
        let shelf = self.shelf(id);
        sync_dir(&shelf)?;
        let synced = || self.synced.lock().unwrap_or_else(PoisonError::into_inner);
        if !synced().contains(&shelf) {
            sync_dir(&self.place(id).0)?;
            synced().insert(shelf);
        }
        Ok(())
    }

    fn place(&self, id: &ContentId) -> (PathBuf, String) {
        match id {
            ContentId::Blob(id) => (self.blobs(), id.to_string()),
            ContentId::Object(id) => (self.objects(), id.to_string()),
        }
    }

    /// Makes the directories, takes the lock and checks the format. The lock is held as long as the file is open.
    pub fn prepare(&self) -> Result<File, OpenError> {
        make_dirs(&self.dir)?;
        let lock = self.lock()?;
        match self.format()? {
            None => self.lay_out()?,
            Some(found) if found > FORMAT => return Err(OpenError::Newer { dir: self.dir.clone(), found }),
            Some(found) if found < FORMAT => self.write_format()?,
            Some(_) => {}
        }
        make_dirs(&self.native_dir())?;
        Ok(lock)
    }

    fn lock(&self) -> Result<File, OpenError> {
        let path = self.lock_path();
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(OpenError::at(&path))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(OpenError::Locked { dir: self.dir.clone() }),
            Err(TryLockError::Error(source)) => Err(OpenError::Io { path, source }),
        }
    }

    fn format(&self) -> Result<Option<u32>, OpenError> {
        let path = self.dir.join("format");
        match std::fs::read_to_string(&path) {
            Ok(text) => match text.trim().parse() {
                Ok(found) => Ok(Some(found)),
                Err(_) => Err(OpenError::Foreign { path, found: text }),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(OpenError::Io { path, source }),
        }
    }

    /// The format file comes last: where it is, the directories are.
    fn lay_out(&self) -> Result<(), OpenError> {
        [self.blobs(), self.objects(), self.uploads()].iter().try_for_each(|dir| make_dirs(dir))?;
        self.write_format()
    }

    fn write_format(&self) -> Result<(), OpenError> {
        let (draft, path) = (self.dir.join("format.new"), self.dir.join("format"));
        let write = || write_file(&draft, format!("{FORMAT}\n").as_bytes())?.sync_all();
        write().map_err(OpenError::at(&draft))?;
        std::fs::rename(&draft, &path).map_err(OpenError::at(&path))?;
        sync_dir(&self.dir).map_err(OpenError::at(&self.dir))
    }
}

fn make_dirs(dir: &Path) -> Result<(), OpenError> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(OpenError::at(dir))
}

/// A new or emptied file that only this user may open.
pub(crate) fn create_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// The file, with these bytes; not yet durable.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let mut file = create_file(path)?;
    file.write_all(bytes)?;
    Ok(file)
}

pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Removes a file; one that is not there is fine.
pub(crate) fn remove_file(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
