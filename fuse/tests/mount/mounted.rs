//! Mounts, and what watches them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use herring_blob::BlobId;
use herring_fuse::{Mount, MountConfig, MountError, Unmounted};
use rustix::mount::UnmountFlags;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::rig::{CAPACITY, NOBODY, Rig, pattern};
use crate::silent::Silent;

/// For what has to happen soon but not at once. Long, since it only ends a failing test.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A mounted swarm. Fields are dropped in this order: the mount before what answers it.
pub struct Mounted {
    pub mount: Option<Mount>,
    pub rig: Rig,
    pub runtime: Runtime,
    pub at: PathBuf,
    _dir: TempDir,
}

impl Mounted {
    pub fn new() -> Option<Self> {
        Self::of(swarm(), false)
    }

    pub fn native() -> Option<Self> {
        Self::of(swarm(), true)
    }

    /// With a store of `capacity` bytes, and a server for the origin that does not answer.
    pub fn with(capacity: u64, server: SocketAddr) -> Option<Self> {
        let runtime = Runtime::new().unwrap();
        let rig = runtime.block_on(async { Rig::new(capacity, server, "") });
        Self::of((runtime, rig), false)
    }

    fn of((runtime, rig): (Runtime, Rig), native_reads: bool) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().canonicalize().unwrap().join("missing/mnt");
        let mount = Some(start(&at, native_reads, &rig, &runtime)?);
        Some(Self { mount, rig, runtime, at, _dir: dir })
    }

    pub fn put(&self, bytes: &[u8]) -> (BlobId, PathBuf) {
        let id = self.runtime.block_on(self.rig.put(bytes));
        (id, self.at.join("blobs").join(id.to_string()))
    }

    /// Puts a directory, and gives it a name.
    pub fn plant(&self, directory: &Path, name: &str) {
        self.runtime.block_on(self.rig.plant(directory, name));
    }

    pub fn unmount(&mut self) -> Unmounted {
        self.mount.take().unwrap().unmount().unwrap()
    }
}

pub fn swarm() -> (Runtime, Rig) {
    let runtime = Runtime::new().unwrap();
    let rig = runtime.block_on(async { Rig::new(CAPACITY, NOBODY.into(), "") });
    (runtime, rig)
}

/// `None`, and a word about it, where this machine cannot mount.
pub fn start(at: &Path, native_reads: bool, rig: &Rig, runtime: &Runtime) -> Option<Mount> {
    let config = MountConfig { at: at.to_owned(), allow_other: false, native_reads };
    match Mount::start(config, rig.swarm.clone(), runtime.handle().clone()) {
        Ok(mount) => Some(mount),
        Err(error @ (MountError::NoDevice | MountError::NotPermitted { .. })) => {
            assert!(!std::env::var("HERRING_REQUIRE").is_ok_and(|required| required.contains("fuse")), "{error}");
            eprintln!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// The lines of /proc/self/mounts about this directory.
pub fn mounts(at: &Path) -> Vec<String> {
    let text = fs::read_to_string("/proc/self/mounts").unwrap();
    text.lines().filter(|line| line.split(' ').nth(1) == at.to_str()).map(str::to_owned).collect()
}

pub fn output(command: &mut Command) -> Vec<u8> {
    let output = command.stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", output.status);
    output.stdout
}

pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

pub const HOLD: &str = "HERRING_TEST_HOLD";
/// Whether that mount has native reads.
pub const NATIVE: &str = "HERRING_TEST_NATIVE";

/// Not a test: the process that is killed in others.
#[test]
#[ignore = "run by those that need a process to kill"]
fn hold_a_mount() {
    let Some(at) = std::env::var_os(HOLD) else { return };
    let runtime = Runtime::new().unwrap();
    let silent = Silent::start();
    let rig = runtime.block_on(async { Rig::new(CAPACITY, silent.address(), "") });
    let _mount = start(Path::new(&at), std::env::var_os(NATIVE).is_some(), &rig, &runtime);
    rig.write("f", &pattern(100_000, 11));
    println!("\nholding {}", runtime.block_on(rig.put(&pattern(100_000, 10))));
    loop {
        thread::park();
    }
}

/// The child is killed, and what it mounted is detached, whatever happens.
pub struct Holder {
    pub child: Child,
    at: PathBuf,
}

impl Holder {
    /// The holder, and the file that it holds.
    pub fn start(at: &Path, native: bool) -> (Self, PathBuf) {
        let mut command = Command::new(std::env::current_exe().unwrap());
        if native {
            command.env(NATIVE, "");
        }
        command.args(["--exact", "mounted::hold_a_mount", "--ignored", "--nocapture"]).env(HOLD, at).stdout(Stdio::piped());
        let mut holder = Self { child: command.spawn().unwrap(), at: at.to_owned() };
        let lines = BufReader::new(holder.child.stdout.take().unwrap()).lines();
        let id = lines.map_while(Result::ok).find_map(|line| line.strip_prefix("holding ").map(str::to_owned));
        (holder, at.join("blobs").join(id.expect("the holder ended early")))
    }

    pub fn kill(&mut self) {
        // Child::kill is SIGKILL.
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for _ in mounts(&self.at) {
            let _ = rustix::mount::unmount(&self.at, UnmountFlags::DETACH);
        }
    }
}
