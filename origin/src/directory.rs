use std::cell::OnceCell;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use herring_blob::ByteRange;
use rustix::fs::OFlags;
use tokio::sync::Semaphore;

use crate::backend::{Backend, Body, Found};
use crate::error::Fault;
use crate::names::Names;
use crate::shelf::Shelf;
use crate::{ConfigError, Listed, OriginSpec, PAGE, Page};

/// Threads that one directory may keep busy. A hung network mount holds each of them for as long as it hangs, and the
/// whole program has 512 (tokio's default).
const THREADS: usize = 64;

/// Bytes that are read at a time: one piece of a 4 MiB chunk, so the first can be shown while the next is read.
const PART: u64 = 256 << 10;

/// Bytes that the names of the large directories that are being listed may take; those of 1,000,000 files take some 20 MiB.
const NAMES: usize = 64 << 20;

/// A directory of this machine, or one that is mounted here.
///
/// Not `object_store`'s own: that one follows links out of the directory, collects a listing however long it is, does not
/// look again whether the file changed while it was read, and cannot name a file such as `a#1`.
#[derive(Clone)]
pub(crate) struct Directory {
    /// As it was written: where it is a link, the link may be switched while we run.
    root: Arc<Path>,
    threads: Arc<Semaphore>,
    paged: Arc<Shelf<Names>>,
}

impl Directory {
    pub(crate) fn open(spec: &OriginSpec) -> Result<Self, ConfigError> {
        let root = root_of(spec)?;
        let unusable = |why: String| {
            let (name, path) = (spec.name().to_owned(), root.display().to_string());
            Err(ConfigError::Directory { name, path, why })
        };
        match fs::metadata(&root) {
            Ok(meta) if meta.is_dir() => {
                let (threads, paged) = (Arc::new(Semaphore::new(THREADS)), Arc::new(Shelf::new(NAMES)));
                Ok(Self { root: root.into(), threads, paged })
            }
            Ok(_) => unusable("it is not a directory".into()),
            Err(error) => unusable(error.to_string()),
        }
    }

    /// Runs `work` where waiting for the disk holds up nobody else.
    async fn block<T: Send + 'static>(&self, work: impl FnOnce(&Path) -> Result<T, Fault> + Send + 'static) -> Result<T, Fault> {
        let thread = self.threads.clone().acquire_owned().await.expect("nothing closes the semaphore");
        let root = self.root.clone();
        let done = tokio::task::spawn_blocking(move || {
            let _thread = thread;
            match work(&root) {
                // A directory that is gone has not been emptied.
                Err(Fault::NotFound) if !root.is_dir() => Err(Fault::Unavailable(format!("{} is gone", root.display()))),
                done => done,
            }
        });
        done.await.unwrap_or_else(|error| Err(Fault::Unavailable(error.to_string())))
    }
}

#[async_trait]
impl Backend for Directory {
    async fn head(&self, key: &str) -> Result<Found, Fault> {
        let key = key.to_owned();
        self.block(move |root| open_object(root, &key).map(|(_, meta)| found(&meta))).await
    }

    /// The version holds the size.
    async fn read(&self, key: &str, version: &str, _size: u64, range: ByteRange) -> Result<Body, Fault> {
        let (directory, key, version) = (self.clone(), key.to_owned(), version.to_owned());
        let open = move |root: &Path| {
            let (file, meta) = open_object(root, &key)?;
            expect_version(&meta, &version)?;
            Ok(Reading { directory, file, version, left: range })
        };
        Ok(stream::try_unfold(self.block(open).await?, Reading::next).boxed())
    }

    /// A token is the last name of the page before.
    async fn list(&self, prefix: &str, token: Option<&str>) -> Result<Page, Fault> {
        let (paged, prefix, token) = (Arc::clone(&self.paged), prefix.to_owned(), token.map(str::to_owned));
        self.block(move |root| list_page(root, &prefix, token.as_deref(), &paged)).await
    }

    async fn is_directory(&self, key: &str) -> Result<bool, Fault> {
        let key = key.to_owned();
        let is_directory = self.block(move |root| Ok(open_below(root, &key)?.metadata()?.is_dir())).await;
        if matches!(is_directory, Err(Fault::NotFound)) { Ok(false) } else { is_directory }
    }
}

fn root_of(spec: &OriginSpec) -> Result<PathBuf, ConfigError> {
    let name = spec.name().to_owned();
    if let Some((option, _)) = spec.options().next() {
        return Err(ConfigError::Option { name, option: option.into_owned(), known: "ttl=SECONDS".to_owned() });
    }
    let why = "a directory is written with its whole path, file:///path".to_owned();
    spec.url().to_file_path().map_err(|()| ConfigError::Url { name, why })
}

/// Opens what is at `path` below the root, unless a link led out of it.
///
/// Where it led is asked of the open file and not of the path, so that nobody can swap a link in between.
fn open_below(root: &Path, path: &str) -> Result<File, Fault> {
    // Without NONBLOCK a pipe would hold the thread until somebody wrote to it.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(root.join(path))?;
    if fs::read_link(path_of(&file))?.starts_with(root.canonicalize()?) {
        return Ok(file);
    }
    Err(Fault::Denied("a symbolic link leads out of the directory".to_owned()))
}

/// A path to exactly this open file or directory, whatever is renamed meanwhile.
fn path_of(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

fn open_object(root: &Path, key: &str) -> Result<(File, Metadata), Fault> {
    let file = open_below(root, key)?;
    let meta = file.metadata()?;
    if meta.is_file() { Ok((file, meta)) } else { Err(Fault::NotFound) }
}

/// An open file, and what of it is still to be read.
struct Reading {
    directory: Directory,
    file: File,
    version: String,
    left: ByteRange,
}

impl Reading {
    async fn next(self) -> Result<Option<(Bytes, Self)>, Fault> {
        if self.left.is_empty() {
            return Ok(None);
        }
        let directory = self.directory.clone();
        directory.block(|_| self.read_part().map(Some)).await
    }

    /// The version is compared again after each part and before it is given on: the file may have been written to meanwhile. The kernel
    /// sets the times before the bytes.
    fn read_part(mut self) -> Result<(Bytes, Self), Fault> {
        let part = ByteRange::at(self.left.start, PART).intersect(self.left);
        let len = usize::try_from(part.len()).map_err(|error| Fault::Unavailable(error.to_string()))?;
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, part.start).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => Fault::Changed,
            _ => error.into(),
        })?;
        expect_version(&self.file.metadata()?, &self.version)?;
        self.left.start = part.end;
        Ok((bytes.into(), self))
    }
}

fn expect_version(meta: &Metadata, version: &str) -> Result<(), Fault> {
    if version_of(meta) == version { Ok(()) } else { Err(Fault::Changed) }
}

fn found(meta: &Metadata) -> Found {
    Found { version: version_of(meta), size: meta.len(), modified: modified(meta) }
}

/// Inode, modification and change time to the nanosecond, and size: the same on all nodes that mount the same file system. The
/// change time notices a file that was written in place and given its old modification time again.
fn version_of(meta: &Metadata) -> String {
    let (modified, changed) = ((meta.mtime(), meta.mtime_nsec()), (meta.ctime(), meta.ctime_nsec()));
    format!("{:x}-{:x}.{:x}-{:x}.{:x}-{:x}", meta.ino(), modified.0, modified.1, changed.0, changed.1, meta.len())
}

fn modified(meta: &Metadata) -> SystemTime {
    meta.modified().expect("Linux keeps a modification time for every file")
}

/// The directory is read for the first page, and again for a later one only where its names are not on the shelf any more.
fn list_page(root: &Path, prefix: &str, token: Option<&str>, paged: &Shelf<Names>) -> Result<Page, Fault> {
    let directory = open_below(root, prefix)?;
    let path = PathBuf::from(path_of(&directory));
    let names = match token.and_then(|_| paged.get(prefix)) {
        Some(names) => names,
        None => read_names(&path, prefix, paged)?,
    };
    let from = token.map_or(0, |last| names.behind(last));
    let links = Links::new(root, prefix)?;
    let entries = names.from(from).take(PAGE).filter_map(|name| list_entry(&links, &path, name)).collect();
    let next = (names.len() > from + PAGE).then(|| names.get(from + PAGE - 1).to_owned());
    Ok(Page { entries, next })
}

fn read_names(path: &Path, prefix: &str, paged: &Shelf<Names>) -> Result<Arc<Names>, Fault> {
    let names = Names::read(path, NAMES)?;
    let names = Arc::new(names);
    if names.len() > PAGE {
        paged.put(prefix, names.bytes(), Arc::clone(&names));
    }
    Ok(names)
}

/// Where the links in a directory may lead.
struct Links<'a> {
    root: &'a Path,
    real_root: PathBuf,
    prefix: &'a str,
    /// See `above`.
    above: OnceCell<Vec<PathBuf>>,
}

impl<'a> Links<'a> {
    fn new(root: &'a Path, prefix: &'a str) -> Result<Self, Fault> {
        Ok(Self { root, real_root: root.canonicalize()?, prefix, above: OnceCell::new() })
    }

    /// The directories from the listed one up to the root, where they really are: looked up for the first link to a directory.
    fn above(&self) -> &[PathBuf] {
        self.above.get_or_init(|| {
            let prefixes = Path::new(self.prefix).ancestors();
            prefixes.filter_map(|prefix| self.root.join(prefix).canonicalize().ok()).collect()
        })
    }

    /// What the link leads to. `None` where that is out of the root, nowhere, or back to where one came through, also by another link: who
    /// walks down the listed directories would never come to an end.
    fn follow(&self, link: &Path) -> Option<Metadata> {
        let real = link.canonicalize().ok().filter(|real| real.starts_with(&self.real_root))?;
        let meta = fs::metadata(&real).ok()?;
        let leads_back = meta.is_dir() && self.above().iter().any(|above| above.starts_with(&real));
        (!leads_back).then_some(meta)
    }
}

/// `None` for what cannot be asked for: it is neither file nor directory, it just went away, or it is a link that is not followed.
fn list_entry(links: &Links<'_>, directory: &Path, name: &str) -> Option<Listed> {
    let (path, name) = (directory.join(name), name.to_owned());
    let mut meta = fs::symlink_metadata(&path).ok()?;
    if meta.is_symlink() {
        meta = links.follow(&path)?;
    }
    if meta.is_dir() {
        return Some(Listed::Directory { name });
    }
    let (size, modified, version) = (meta.len(), modified(&meta), Some(version_of(&meta)));
    meta.is_file().then_some(Listed::Object { name, size, modified, version })
}
