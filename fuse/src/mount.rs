use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use fuser::{BackgroundSession, Config, MountOption, Session, SessionACL};
use herring_swarm::Swarm;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::adapter::{Adapter, THREADS};
use crate::fs::HerringFs;
use crate::mountpoint::{self, detach, mount_id};
use crate::native::Bind;
use crate::readers::Readers;
use crate::recall::Recall;
use crate::waiting::Waiting;
use crate::{freshness, pages};

/// How long an unmount waits for the session to end before it lets it be.
const UNMOUNT_DEADLINE: Duration = Duration::from_secs(5);
const DEVICE: &str = "/dev/fuse";

/// Where and for whom to mount.
#[derive(Debug, Clone)]
pub struct MountConfig {
    /// Made if it is missing.
    pub at: PathBuf,
    /// Whether other users may read it too. Who is not root needs `user_allow_other` in `/etc/fuse.conf` for that.
    pub allow_other: bool,
    /// Whether blobs that are whole on this node's disk are links to the store's files: native page cache and `mmap`, but `lstat` shows a link.
    /// Needs `CAP_SYS_ADMIN`, and is not for others: they may not read the store.
    pub native_reads: bool,
}

/// Why nothing was mounted.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    #[error(
        "this machine has no {DEVICE}: load the kernel's fuse module, or give the container that device, or run without a mount"
    )]
    NoDevice,
    #[error(
        "{at} cannot be mounted by this user ({detail}): run as root (in a container with SYS_ADMIN), or install fusermount3; \
         and who is not root needs user_allow_other in /etc/fuse.conf to share a mount"
    )]
    NotPermitted { at: PathBuf, detail: String },
    #[error("{at} has a {fstype} mounted on it already: unmount that, or mount elsewhere")]
    Occupied { at: PathBuf, fstype: String },
    #[error("{at} cannot be mounted on: {source}; name a directory that is there or can be made")]
    Directory { at: PathBuf, source: io::Error },
    #[error("{at} has the mount of a crashed process on it, which cannot be removed: {source}; try: umount -l {at}")]
    Stale { at: PathBuf, source: io::Error },
    #[error("{at} cannot be mounted: {source}")]
    Failed { at: PathBuf, source: io::Error },
}

/// How a mount ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmounted {
    /// Nothing is left of it.
    Cleanly,
    /// It is out of the tree, but files in it are open: they can be read until they are closed or this process ends.
    Detached,
    /// Somebody else had unmounted it; what is there now is not ours.
    Before,
}

/// The mount is still there.
#[derive(Debug, thiserror::Error)]
#[error("{at} cannot be unmounted: {source}; try: umount -l {at}")]
pub struct UnmountError {
    pub at: PathBuf,
    pub source: io::Error,
}

/// A mounted swarm. Unmounts when it is dropped.
#[derive(Debug)]
pub struct Mount {
    at: PathBuf,
    /// Tells our mount from another one at the same path.
    id: Option<u64>,
    /// `None` once it is unmounted.
    session: Option<BackgroundSession>,
    bind: Option<Bind>,
    /// What is done in the background for it.
    tasks: JoinSet<()>,
    /// Tells the session that its end is wanted.
    ending: Arc<AtomicBool>,
}

impl Mount {
    /// Mounts the swarm; what has to wait for it waits on `runtime`.
    ///
    /// Blocks for some milliseconds. The runtime must outlive the mount, or readers get EIO.
    pub fn start(config: MountConfig, swarm: Swarm, runtime: Handle) -> Result<Self, MountError> {
        check_device(&config.at)?;
        let at = mountpoint::prepare(&config.at, config.allow_other)?;
        let (fs, changes) = HerringFs::new(swarm.clone());
        let (fs, readers) = (Arc::new(fs), Arc::new(Readers::default()));
        let deletions = swarm.deletions();
        let ending = Arc::new(AtomicBool::new(false));
        let adapter = Adapter::new(Arc::clone(&fs), Waiting::new(runtime.clone(), Arc::clone(&readers)), Arc::clone(&ending));
        let session = Session::new(adapter, &at, &options(config.allow_other)).and_then(Session::spawn);
        let session = session.map_err(|error| mount_error(&at, error))?;
        let id = mount_id(&at);
        mountpoint::raise_read_ahead(&at);
        let mut tasks = JoinSet::new();
        let recall = Recall::new(Arc::clone(&fs), session.notifier());
        for origin in swarm.origin_names() {
            tasks.spawn_on(freshness::follow(recall.clone(), origin), &runtime);
        }
        tasks.spawn_on(recall.clone().follow_deletions(deletions), &runtime);
        tasks.spawn_on(recall.clone().follow_changes(changes), &runtime);
        tasks.spawn_on(recall.clone().follow_trees(), &runtime);
        tasks.spawn_on(pages::sweep(Arc::clone(&fs)), &runtime);
        tasks.spawn_on(async move { readers.watch().await }, &runtime);
        let bind = config.native_reads.then(|| bind(&config, &at, &swarm)).flatten();
        if bind.is_some() {
            fs.set_native();
            tasks.spawn_on(recall.take_back_blobs(), &runtime);
        }
        tracing::info!(at = %at.display(), native_reads = bind.is_some(), "mounted");
        Ok(Self { at, id, session: Some(session), bind, tasks, ending })
    }

    /// The directory, without symbolic links.
    pub fn at(&self) -> &Path {
        &self.at
    }

    /// Takes the mount away. Blocks for at most about 5 s; where files are open in it, it is detached.
    pub fn unmount(mut self) -> Result<Unmounted, UnmountError> {
        self.end()
    }

    fn end(&mut self) -> Result<Unmounted, UnmountError> {
        let Some(session) = self.session.take() else { return Ok(Unmounted::Before) };
        self.ending.store(true, Ordering::Release);
        self.tasks.abort_all();
        if session.guard.is_finished() || !self.is_there() {
            // Dropping the session would unmount whatever is at the path now.
            std::mem::forget(session);
            return Ok(Unmounted::Before);
        }
        if let Some(bind) = self.bind.take() {
            bind.detach();
        }
        if end_session(session) {
            return Ok(Unmounted::Cleanly);
        }
        if self.is_there() {
            detach(&self.at).map_err(|source| UnmountError { at: self.at.clone(), source })?;
        }
        Ok(Unmounted::Detached)
    }

    fn is_there(&self) -> bool {
        mount_id(&self.at) == self.id
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::error!(%error, "a mount was left behind");
        }
    }
}

/// Without it, files are read through this process as usual.
fn bind(config: &MountConfig, at: &Path, swarm: &Swarm) -> Option<Bind> {
    if config.allow_other {
        tracing::warn!("native reads are off: other users, who may read this mount, may not read the store's files");
        return None;
    }
    let without = |error| tracing::warn!(%error, "native reads are off: the store cannot be bound into the mount, which takes CAP_SYS_ADMIN");
    Bind::new(at, &swarm.native_dir()).map_err(without).ok()
}

/// Whether the session ended. It cannot as long as a file is open in it or it is mounted elsewhere too, so it is joined
/// by a thread that may be left behind.
fn end_session(session: BackgroundSession) -> bool {
    let (ended, end) = mpsc::sync_channel(1);
    let join = move || {
        // Nobody listens any more after the deadline.
        let _ = ended.send(session.umount_and_join());
    };
    match thread::Builder::new().name("herring-unmount".into()).spawn(join) {
        Ok(_) => matches!(end.recv_timeout(UNMOUNT_DEADLINE), Ok(Ok(()))),
        Err(_) => false,
    }
}

fn check_device(at: &Path) -> Result<(), MountError> {
    match OpenOptions::new().read(true).write(true).open(DEVICE) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(MountError::NotPermitted { at: at.to_owned(), detail: format!("{DEVICE}: {error}") })
        }
        Err(_) => Err(MountError::NoDevice),
    }
}

fn options(allow_other: bool) -> Config {
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::FSName("herring".into()),
        // Not `Subtype`, which fuser tells only to fusermount3.
        MountOption::CUSTOM("subtype=herring".into()),
        MountOption::RO,
        MountOption::NoSuid,
        MountOption::NoDev,
        MountOption::NoAtime,
    ];
    config.acl = if allow_other { SessionACL::All } else { SessionACL::Owner };
    config.n_threads = Some(THREADS);
    config.clone_fd = true;
    config
}

/// The device and the directory were there a moment ago, so what is not found is fusermount3.
fn mount_error(at: &Path, source: io::Error) -> MountError {
    let at = at.to_owned();
    match source.kind() {
        io::ErrorKind::PermissionDenied => MountError::NotPermitted { at, detail: source.to_string() },
        io::ErrorKind::NotFound => {
            MountError::NotPermitted { at, detail: "not allowed to mount, and there is no fusermount3".into() }
        }
        _ => MountError::Failed { at, source },
    }
}
