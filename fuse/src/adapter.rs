//! The kernel's requests, translated. Nothing is decided here.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use ::metrics::Counter;
use bytes::Bytes;
use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, InitFlags, IoctlFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite,
    ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use tokio::sync::Semaphore;

use crate::error::FsError;
use crate::fs::{Entry, HerringFs};
use crate::layout::NAME_MAX;
use crate::listing::Part;
use crate::waiting::Waiting;
use crate::{buffer, errno, metrics};

/// The kernel's read-ahead requests at one time; its default of 16 starves a second stream.
const MAX_BACKGROUND: u16 = 256;
/// Also what sets the largest read: 256 pages, the kernel's limit.
const MAX_WRITE: u32 = 1 << 20;
/// `df` counts in these.
const FRAGMENT: u32 = 4096;
#[expect(clippy::cast_possible_truncation, reason = "it is 255")]
const LONGEST_NAME: u32 = NAME_MAX as u32;
const GENERATION: Generation = Generation(0);

/// Threads that take the kernel's requests, each over a descriptor of its own. Sixteen readers of 4 KiB that miss the page cache get 0.63 of what
/// the backing file gives with 32 threads, 0.55 with 12 and 0.49 with 4 or 6; one that is idle costs nothing.
pub(crate) const THREADS: usize = 32;
/// Those that stay free for requests that need no disk.
const FREE_THREADS: usize = 4;

pub(crate) struct Adapter {
    fs: Arc<HerringFs>,
    waiting: Waiting,
    /// The session's threads that may wait for the disk.
    disk: Semaphore,
    /// The mount is being taken away by this process.
    ending: Arc<AtomicBool>,
    /// Made once: to look a counter up takes longer than to count.
    reads: Counter,
    read_bytes: Counter,
    /// The kernel can open files without asking: p99 of an open falls from 7.3 ms to 5 us at 256 readers.
    silent_open: bool,
}

impl Adapter {
    pub fn new(fs: Arc<HerringFs>, waiting: Waiting, ending: Arc<AtomicBool>) -> Self {
        let reads = ::metrics::counter!(metrics::REQUESTS, "op" => "read");
        let read_bytes = ::metrics::counter!(metrics::READ_BYTES);
        Self { fs, waiting, disk: Semaphore::new(THREADS - FREE_THREADS), ending, reads, read_bytes, silent_open: false }
    }

    /// Answers from a task, so that this thread can take the kernel's next request.
    fn answer<T: Send + 'static, R: Refuse>(
        &self,
        (op, ino, request): (&'static str, INodeNo, &Request),
        reply: R,
        work: impl Future<Output = Result<T, FsError>> + Send + 'static,
        send: impl FnOnce(R, T) + Send + 'static,
    ) {
        self.waiting.spawn(request.pid(), work, move |result| settle((op, ino), reply, result, send));
    }

    /// Answers on this thread what is on this node's disk, waiting for that where enough other threads do not. `Err` gives back the reply, and whether
    /// only the page cache was looked into.
    fn read_here(&self, ino: u64, offset: u64, size: u32, reply: ReplyData) -> Result<(), (ReplyData, bool)> {
        buffer::lend(size, |buffer| {
            let turn = self.disk.try_acquire();
            // Who may wait need not ask the page cache first: that is a call more for every read that misses it.
            let bytes = match &turn {
                Ok(_) => self.fs.read_local(ino, offset, buffer),
                Err(_) => self.fs.read_now(ino, offset, buffer),
            };
            let Some(bytes) = bytes else { return Err((reply, turn.is_err())) };
            send_data(reply, bytes, &self.read_bytes);
            Ok(())
        })
    }
}

fn settle<T, R: Refuse>((op, ino): (&'static str, INodeNo), reply: R, result: Result<T, FsError>, send: impl FnOnce(R, T)) {
    match result {
        Ok(value) => send(reply, value),
        Err(error) => reply.refuse(errno::report(op, ino.0, &error)),
    }
}

fn count(op: &'static str) {
    ::metrics::counter!(metrics::REQUESTS, "op" => op).increment(1);
}

fn send_data(reply: ReplyData, bytes: &[u8], counter: &Counter) {
    counter.increment(bytes.len() as u64);
    reply.data(bytes);
}

fn send_entry(reply: ReplyEntry, entry: Entry) {
    reply.entry_with_ttls(&entry.attr_ttl, &entry.name_ttl, &entry.attr, GENERATION);
}

fn send_names(mut reply: ReplyDirectory, part: &Part) {
    for (next, name, found) in part.items() {
        if reply.add(INodeNo(found.ino()), next, found.kind(), name) {
            break;
        }
    }
    reply.ok();
}

fn send_entries(mut reply: ReplyDirectoryPlus, fs: &HerringFs, ino: INodeNo, part: &Part) {
    fs.enter_all(ino.0, part, |next, name, entry| {
        reply.add(entry.attr.ino, next, name, &entry.name_ttl, &entry.attr, GENERATION)
    });
    reply.ok();
}

/// fuser's replies all have `error`, but no trait says so.
trait Refuse: Send + 'static {
    fn refuse(self, errno: Errno);
}

macro_rules! can_refuse {
    ($($reply:ty),*) => { $(impl Refuse for $reply {
        fn refuse(self, errno: Errno) {
            self.error(errno);
        }
    })* };
}

/// The same where all session threads that may wait for the disk do so.
async fn read_elsewhere(fs: &Arc<HerringFs>, ino: u64, offset: u64, size: u32) -> Option<Bytes> {
    let fs = Arc::clone(fs);
    let read = move || {
        let mut buffer = vec![0; size as usize];
        let len = fs.read_local(ino, offset, &mut buffer)?.len();
        buffer.truncate(len);
        Some(buffer.into())
    };
    // Fails only where the runtime ends.
    tokio::task::spawn_blocking(read).await.ok().flatten()
}

can_refuse!(ReplyAttr, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEntry);

/// Requests that get the same answer whatever they ask. ENOSYS makes the kernel stop asking.
macro_rules! always {
    ($($errno:ident: $op:ident($($argument:ty),*) -> $reply:ty;)*) => { $(
        fn $op(&self, _: &Request, $(_: $argument,)* reply: $reply) {
            reply.error(Errno::$errno);
        }
    )* };
}

impl Filesystem for Adapter {
    /// The end of the session, wanted or not.
    fn destroy(&mut self) {
        if !self.ending.load(Ordering::Acquire) {
            tracing::error!("the mount was taken away by somebody else: this node goes on without it; restart it to mount again");
        }
    }

    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let wanted = [
            // Sixteen cold lookups in one directory take as long as one, not as sixteen.
            InitFlags::FUSE_PARALLEL_DIROPS,
            // A file's bytes never change, so nothing but we may drop its pages.
            InitFlags::FUSE_EXPLICIT_INVAL_DATA,
            // `ls -l` of an origin costs one listing, not one question per key.
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
            // Where a native link leads to never changes either.
            InitFlags::FUSE_CACHE_SYMLINKS,
        ];
        for flag in wanted {
            // An old kernel works without.
            let _ = config.add_capabilities(flag);
        }
        self.silent_open = config.capabilities().contains(InitFlags::FUSE_NO_OPEN_SUPPORT);
        let refused = |nearest: u32| io::Error::other(format!("fuser wants {nearest} instead"));
        config.set_max_write(MAX_WRITE).map_err(refused)?;
        config.set_max_background(MAX_BACKGROUND).map_err(|nearest| refused(nearest.into()))?;
        Ok(())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        count("lookup");
        if let Some(found) = self.fs.lookup_now(parent.0, name) {
            return settle(("lookup", parent), reply, found, send_entry);
        }
        let (fs, name, reader) = (Arc::clone(&self.fs), name.to_owned(), request.pid());
        self.answer(("lookup", parent, request), reply, async move { fs.lookup(parent.0, &name, reader).await }, send_entry);
    }

    fn forget(&self, _: &Request, ino: INodeNo, lookups: u64) {
        self.fs.forget(ino.0, lookups);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        count("getattr");
        settle(("getattr", ino), reply, self.fs.getattr(ino.0), |reply, (attr, ttl)| reply.attr(&ttl, &attr));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        count("open");
        if self.silent_open {
            return reply.error(Errno::ENOSYS);
        }
        reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn read(
        &self,
        request: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.reads.increment(1);
        let Err((reply, crowded)) = self.read_here(ino.0, offset, size, reply) else { return };
        let fs = Arc::clone(&self.fs);
        let work = async move {
            if crowded && let Some(bytes) = read_elsewhere(&fs, ino.0, offset, size).await {
                return Ok(bytes);
            }
            fs.read(ino.0, offset, size).await
        };
        let counter = self.read_bytes.clone();
        self.answer(("read", ino, request), reply, work, move |reply, bytes| send_data(reply, &bytes, &counter));
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        count("readlink");
        settle(("readlink", ino), reply, self.fs.readlink(ino.0), |reply, target| reply.data(target.as_os_str().as_bytes()));
    }

    /// Not silent as files are: the kernel would keep what it listed, and not see new blobs. Of trees' directories it does: the second `find` over
    /// 1,600 of them takes 70 ms, and 250 if it has to ask for each (tmpfs: 20).
    fn opendir(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        count("opendir");
        match self.fs.listing_now(ino.0, 0) {
            Some(_) => reply.opened(FileHandle(0), FopenFlags::FOPEN_CACHE_DIR | FopenFlags::FOPEN_KEEP_CACHE),
            None => reply.opened(FileHandle(self.fs.open_directory()), FopenFlags::empty()),
        }
    }

    fn readdir(&self, request: &Request, ino: INodeNo, handle: FileHandle, offset: u64, reply: ReplyDirectory) {
        count("readdir");
        if let Some(part) = self.fs.listing_now(ino.0, offset) {
            return send_names(reply, &part);
        }
        let fs = Arc::clone(&self.fs);
        let work = async move { fs.listing(ino.0, handle.0, offset).await };
        self.answer(("readdir", ino, request), reply, work, |reply, part| send_names(reply, &part));
    }

    fn readdirplus(&self, request: &Request, ino: INodeNo, handle: FileHandle, offset: u64, reply: ReplyDirectoryPlus) {
        count("readdirplus");
        if let Some(part) = self.fs.listing_now(ino.0, offset) {
            return send_entries(reply, &self.fs, ino, &part);
        }
        let (fs, entering) = (Arc::clone(&self.fs), Arc::clone(&self.fs));
        let work = async move { fs.listing(ino.0, handle.0, offset).await };
        self.answer(("readdirplus", ino, request), reply, work, move |reply, part| send_entries(reply, &entering, ino, &part));
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.fs.close_directory(handle.0);
        reply.ok();
    }

    /// Comes for `access` and `chdir` only. The kernel is not told to check permissions itself, which would be a check more for every
    /// component of every path that is opened: everybody who may use the mount may read all of it, and execute what anybody may.
    fn access(&self, _: &Request, ino: INodeNo, mask: AccessFlags, reply: ReplyEmpty) {
        count("access");
        let is_no_program = |(attr, _): (FileAttr, _)| attr.kind == FileType::RegularFile && attr.perm & 0o111 == 0;
        match mask.contains(AccessFlags::X_OK) && self.fs.getattr(ino.0).is_ok_and(is_no_program) {
            true => reply.error(Errno::EACCES),
            false => reply.ok(),
        }
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        count("statfs");
        let (used, free) = self.fs.space();
        let fragments = |bytes: u64| bytes / u64::from(FRAGMENT);
        let (all, free) = (fragments(used.saturating_add(free)), fragments(free));
        reply.statfs(all, free, free, 0, 0, FRAGMENT, LONGEST_NAME, FRAGMENT);
    }

    always! {
        ENOSYS: flush(INodeNo, FileHandle, LockOwner) -> ReplyEmpty;
        ENOSYS: fsync(INodeNo, FileHandle, bool) -> ReplyEmpty;
        ENOSYS: fsyncdir(INodeNo, FileHandle, bool) -> ReplyEmpty;
        ENOSYS: lseek(INodeNo, FileHandle, i64, i32) -> ReplyLseek;
        ENOSYS: getxattr(INodeNo, &OsStr, u32) -> ReplyXattr;
        ENOSYS: listxattr(INodeNo, u32) -> ReplyXattr;
        ENOTTY: ioctl(INodeNo, FileHandle, IoctlFlags, u32, &[u8], u32) -> ReplyIoctl;

        // The mount is read-only, so these come only after somebody remounted it.
        EROFS: setattr(
            INodeNo, Option<u32>, Option<u32>, Option<u32>, Option<u64>, Option<TimeOrNow>, Option<TimeOrNow>, Option<SystemTime>,
            Option<FileHandle>, Option<SystemTime>, Option<SystemTime>, Option<SystemTime>, Option<BsdFileFlags>
        ) -> ReplyAttr;
        EROFS: mknod(INodeNo, &OsStr, u32, u32, u32) -> ReplyEntry;
        EROFS: mkdir(INodeNo, &OsStr, u32, u32) -> ReplyEntry;
        EROFS: unlink(INodeNo, &OsStr) -> ReplyEmpty;
        EROFS: rmdir(INodeNo, &OsStr) -> ReplyEmpty;
        EROFS: symlink(INodeNo, &OsStr, &Path) -> ReplyEntry;
        EROFS: rename(INodeNo, &OsStr, INodeNo, &OsStr, RenameFlags) -> ReplyEmpty;
        EROFS: link(INodeNo, INodeNo, &OsStr) -> ReplyEntry;
        EROFS: write(INodeNo, FileHandle, u64, &[u8], WriteFlags, OpenFlags, Option<LockOwner>) -> ReplyWrite;
        EROFS: setxattr(INodeNo, &OsStr, &[u8], i32, u32) -> ReplyEmpty;
        EROFS: removexattr(INodeNo, &OsStr) -> ReplyEmpty;
        EROFS: create(INodeNo, &OsStr, u32, u32, i32) -> ReplyCreate;
        EROFS: fallocate(INodeNo, FileHandle, u64, u64, i32) -> ReplyEmpty;
        EROFS: copy_file_range(INodeNo, FileHandle, u64, INodeNo, FileHandle, u64, u64, CopyFileRangeFlags) -> ReplyWrite;
    }
}
