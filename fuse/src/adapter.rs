//! The kernel's requests, translated. Nothing is decided here.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    IoctlFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request,
    TimeOrNow, WriteFlags,
};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::FsError;
use crate::fs::{Entry, HerringFs};
use crate::tree::NAME_MAX;
use crate::{errno, metrics};

/// How long the kernel waits for any answer. fuser does not pass on that a reader was killed, so it also bounds how long
/// a killed reader stays.
const DEADLINE: Duration = Duration::from_secs(60);
/// Requests that wait for the swarm at one time, each with at most 1 MiB of answer. With all of them taken, requests stay
/// in the kernel's queue.
const MAX_IN_FLIGHT: usize = 512;
/// The kernel's read-ahead requests at one time; its default of 16 starves a second stream.
const MAX_BACKGROUND: u16 = 256;
/// Also what sets the largest read: 256 pages, the kernel's limit.
const MAX_WRITE: u32 = 1 << 20;
/// `df` counts in these.
const FRAGMENT: u32 = 4096;
#[expect(clippy::cast_possible_truncation, reason = "it is 255")]
const LONGEST_NAME: u32 = NAME_MAX as u32;
const GENERATION: Generation = Generation(0);

pub(crate) struct Adapter {
    fs: Arc<HerringFs>,
    runtime: Handle,
    slots: Arc<Semaphore>,
    /// The kernel can open files without asking: p99 of an open falls from 7.3 ms to 5 µs at 256 readers.
    silent_open: bool,
}

/// A request's place among those in flight.
struct Slot(#[expect(dead_code, reason = "held, not read")] Option<OwnedSemaphorePermit>);

impl Adapter {
    pub fn new(fs: Arc<HerringFs>, runtime: Handle) -> Self {
        Self { fs, runtime, slots: Arc::new(Semaphore::new(MAX_IN_FLIGHT)), silent_open: false }
    }

    /// Answers from a task, so that this thread can take the kernel's next request.
    fn answer<T: Send + 'static, R: Refuse>(
        &self,
        (op, ino): (&'static str, INodeNo),
        reply: R,
        work: impl Future<Output = Result<T, FsError>> + Send + 'static,
        send: impl FnOnce(R, T) + Send + 'static,
    ) {
        let slot = self.slot();
        self.runtime.spawn(async move {
            let late = Err(FsError::TimedOut { seconds: DEADLINE.as_secs() });
            let result = tokio::time::timeout(DEADLINE, work).await.unwrap_or(late);
            settle((op, ino), reply, result, send);
            drop(slot);
        });
    }

    /// Waits for those in flight where there are too many: each of them ends within its deadline.
    fn slot(&self) -> Slot {
        let permit = match Arc::clone(&self.slots).try_acquire_owned() {
            Ok(permit) => Some(permit),
            Err(_) => self.runtime.block_on(Arc::clone(&self.slots).acquire_owned()).ok(),
        };
        ::metrics::gauge!(metrics::IN_FLIGHT).increment(1.0);
        Slot(permit)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        ::metrics::gauge!(metrics::IN_FLIGHT).decrement(1.0);
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

fn send_data(reply: ReplyData, bytes: &[u8]) {
    ::metrics::counter!(metrics::READ_BYTES).increment(bytes.len() as u64);
    reply.data(bytes);
}

fn send_entry(reply: ReplyEntry, entry: Entry) {
    reply.entry_with_ttls(&entry.attr_ttl, &entry.name_ttl, &entry.attr, GENERATION);
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
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let wanted = [
            // Sixteen cold lookups in one directory take as long as one, not as sixteen.
            InitFlags::FUSE_PARALLEL_DIROPS,
            // A file's bytes never change, so nothing but we may drop its pages.
            InitFlags::FUSE_EXPLICIT_INVAL_DATA,
            // `ls -l` of an origin costs one listing, not one question per key.
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
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

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        count("lookup");
        let (fs, name) = (Arc::clone(&self.fs), name.to_owned());
        self.answer(("lookup", parent), reply, async move { fs.lookup(parent.0, &name).await }, send_entry);
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
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        count("read");
        if let Some(bytes) = self.fs.read_now(ino.0, offset, size) {
            return send_data(reply, &bytes);
        }
        let fs = Arc::clone(&self.fs);
        let work = async move { fs.read(ino.0, offset, size).await };
        self.answer(("read", ino), reply, work, |reply, bytes| send_data(reply, &bytes));
    }

    /// Not silent as files are: the kernel would keep what it listed, and not see new blobs.
    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        count("opendir");
        reply.opened(FileHandle(self.fs.open_directory()), FopenFlags::empty());
    }

    fn readdir(&self, _: &Request, ino: INodeNo, handle: FileHandle, offset: u64, reply: ReplyDirectory) {
        count("readdir");
        let fs = Arc::clone(&self.fs);
        let work = async move { fs.listing(ino.0, handle.0, offset).await };
        self.answer(("readdir", ino), reply, work, move |mut reply, listing| {
            for (next, item) in listing.from(offset) {
                let kind = if item.place.is_directory() { fuser::FileType::Directory } else { fuser::FileType::RegularFile };
                if reply.add(INodeNo(item.place.ino()), next, kind, &item.name) {
                    break;
                }
            }
            reply.ok();
        });
    }

    fn readdirplus(&self, _: &Request, ino: INodeNo, handle: FileHandle, offset: u64, reply: ReplyDirectoryPlus) {
        count("readdirplus");
        let (fs, entering) = (Arc::clone(&self.fs), Arc::clone(&self.fs));
        let work = async move { fs.listing(ino.0, handle.0, offset).await };
        self.answer(("readdirplus", ino), reply, work, move |mut reply, listing| {
            entering.enter_all(&listing, offset, |next, name, entry| {
                reply.add(entry.attr.ino, next, name, &entry.name_ttl, &entry.attr, GENERATION)
            });
            reply.ok();
        });
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.fs.close_directory(handle.0);
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        count("statfs");
        let usage = self.fs.usage();
        let fragments = |bytes: u64| bytes / u64::from(FRAGMENT);
        let free = fragments(usage.capacity.saturating_sub(usage.bytes));
        reply.statfs(fragments(usage.capacity), free, free, 0, 0, FRAGMENT, LONGEST_NAME, FRAGMENT);
    }

    always! {
        ENOSYS: flush(INodeNo, FileHandle, LockOwner) -> ReplyEmpty;
        ENOSYS: fsync(INodeNo, FileHandle, bool) -> ReplyEmpty;
        ENOSYS: fsyncdir(INodeNo, FileHandle, bool) -> ReplyEmpty;
        ENOSYS: access(INodeNo, AccessFlags) -> ReplyEmpty;
        ENOSYS: lseek(INodeNo, FileHandle, i64, i32) -> ReplyLseek;
        ENOSYS: getxattr(INodeNo, &OsStr, u32) -> ReplyXattr;
        ENOSYS: listxattr(INodeNo, u32) -> ReplyXattr;
        ENOTTY: ioctl(INodeNo, FileHandle, IoctlFlags, u32, &[u8], u32) -> ReplyIoctl;
        EINVAL: readlink(INodeNo) -> ReplyData;

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
