use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use herring_blob::BlobId;
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, kill_process};

use crate::error::FuseError;

/// Of a log, how many lines are shown when its node failed.
const LOG_LINES: usize = 8;
/// A node that is asked to stop waits for open files a bounded time; after this it is killed.
const STOP_DEADLINE: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(20);
/// Of `/proc/PID/stat`, where user and system time are, counted from behind the name.
const CPU_FIELDS: Range<usize> = 11..13;
const CHILDREN_FIELDS: Range<usize> = 13..15;

/// For nodes of our own.
const PORTS: Range<u16> = 20_000..32_000;

/// Where a node's API and gossip are.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    pub http: SocketAddr,
    pub gossip: SocketAddr,
}

impl Ports {
    /// Ports that are free now, below those that the kernel hands out by itself: one of them would soon be somebody's.
    pub fn free() -> io::Result<Self> {
        // Load tests that run side by side begin elsewhere.
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let begin = std::process::id() % 300 * 40;
        let tries = std::iter::repeat_with(|| begin + u32::from(NEXT.fetch_add(1, Ordering::Relaxed))).take(PORTS.len());
        let ports = tries.filter_map(|next| PORTS.clone().nth(next as usize % PORTS.len()));
        let mut free = ports.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port))).filter(is_free);
        let none = || io::Error::new(io::ErrorKind::AddrInUse, format!("no port of {PORTS:?} is free"));
        let mut next = || free.next().ok_or_else(none);
        Ok(Self { http: next()?, gossip: next()? })
    }
}

fn is_free(address: &SocketAddr) -> bool {
    TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok()
}

/// How a node of our own is started.
pub struct Launch<'a> {
    pub program: &'a Path,
    pub id: &'a str,
    /// Of all nodes' data.
    pub home: &'a Path,
    pub ports: Ports,
    /// The network namespace that it is in, if not ours.
    pub host: Option<&'a str>,
    pub mounted: bool,
    /// More flags.
    pub settings: &'a [String],
}

/// A node that is measured: our own child, or one that runs already.
#[derive(Debug)]
pub struct Node {
    pub id: String,
    pub url: String,
    /// Where its API answers, if it is ours.
    pub http: Option<SocketAddr>,
    /// Its data directory.
    pub dir: PathBuf,
    pub mount: PathBuf,
    /// Whether it was told to mount there.
    mounted: bool,
    /// Holds the other end of its stdin too: it stops when that ends, even where we are killed.
    process: Option<Child>,
}

impl Node {
    pub fn running(url: &str, dir: &Path, mount: &Path) -> Self {
        Self {
            id: "the node".into(),
            url: url.into(),
            http: None,
            dir: dir.into(),
            mount: mount.into(),
            mounted: true,
            process: None,
        }
    }

    pub fn spawn(launch: &Launch<'_>) -> Result<Self, FuseError> {
        let dir = launch.home.join(launch.id);
        let mount = dir.join("mnt");
        std::fs::create_dir_all(&dir).map_err(FuseError::at(&dir))?;
        let log = File::create(dir.join("log")).map_err(FuseError::at(&dir))?;
        let (http, gossip) = (launch.ports.http.to_string(), launch.ports.gossip.to_string());
        let mut command = inside(launch.host, launch.program);
        command.args(["node", "--die-with-parent", "--id", launch.id, "--listen", &http, "--gossip", &gossip]);
        command.arg("--data-dir").arg(&dir).args(launch.settings);
        if launch.mounted {
            command.arg("--mount").arg(&mount);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log).process_group(0);
        let process = command.spawn().map_err(FuseError::at(launch.program))?;
        let mounted = launch.mounted;
        Ok(Self {
            id: launch.id.into(),
            url: format!("http://{http}"),
            http: Some(launch.ports.http),
            dir,
            mount,
            mounted,
            process: Some(process),
        })
    }

    pub fn is_ours(&self) -> bool {
        self.process.is_some()
    }

    /// Where its store keeps a blob.
    pub fn backing(&self, id: BlobId) -> PathBuf {
        let name = id.to_string();
        self.dir.join("blobs").join(&name[..2]).join(name)
    }

    /// Where its mount shows a blob.
    pub fn file(&self, id: BlobId) -> PathBuf {
        self.mount.join("blobs").join(id.to_string())
    }

    /// Whether its mount is there, where it is to have one.
    pub fn is_mounted(&self) -> bool {
        let device = |path: &Path| path.metadata().map(|meta| meta.dev()).ok();
        !self.mounted || device(&self.mount).is_some_and(|mounted| Some(mounted) != device(&self.dir))
    }

    /// Fails where the child has ended.
    pub fn check(&mut self) -> Result<(), FuseError> {
        let ended = self.process.as_mut().and_then(|process| process.try_wait().ok().flatten());
        ended.map_or(Ok(()), |status: ExitStatus| {
            Err(FuseError::Ended { id: self.id.clone(), status: status.to_string(), log: self.log() })
        })
    }

    /// The last lines of its log.
    pub fn log(&self) -> String {
        let text = std::fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    /// Seconds of all cores that it has used; of a node that is not ours, 0.
    pub fn cpu_seconds(&self) -> f64 {
        self.process.as_ref().map_or(0.0, |process| cpu_seconds(process.id()))
    }

    pub fn ask_to_stop(&self) {
        self.signal(Signal::INT);
        // One that is paused would not hear it.
        self.signal(Signal::CONT);
    }

    /// It may have ended already; its id is ours until we have waited for it.
    pub fn signal(&self, signal: Signal) {
        let _ = self.pid().map(|id| kill_process(id, signal));
    }

    pub fn pid(&self) -> Option<Pid> {
        self.process.as_ref().and_then(|process| Pid::from_raw(process.id().cast_signed()))
    }

    /// Waits for its end, which it was asked for, and makes an end of it after a while.
    pub fn wait(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let deadline = Instant::now() + STOP_DEADLINE;
        while Instant::now() < deadline {
            if !matches!(process.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(POLL);
        }
        eprintln!("loadtest: {} did not stop in time and is killed", self.id);
        let _ = process.kill();
        let _ = process.wait();
        // The dead mount would be in the way of removing the directory.
        let _ = unmount(&self.mount, UnmountFlags::DETACH);
    }
}

/// A program in a network namespace, or in ours. What is started is the program itself: a signal reaches it.
pub fn inside(host: Option<&str>, program: &Path) -> Command {
    let Some(host) = host else { return Command::new(program) };
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{host}")).arg(program);
    command
}

/// Seconds of all cores that a process has used; of one that is not there, 0.
pub fn cpu_seconds(process: u32) -> f64 {
    seconds_of(process, CPU_FIELDS)
}

/// The same of its children that have ended and that it waited for, and of theirs.
pub fn cpu_seconds_of_children(process: u32) -> f64 {
    seconds_of(process, CHILDREN_FIELDS)
}

fn seconds_of(process: u32, fields: Range<usize>) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok();
    stat.and_then(|stat| cpu_ticks(&stat, fields)).unwrap_or(0) as f64 / rustix::param::clock_ticks_per_second() as f64
}

/// User and system time from `/proc/PID/stat`.
fn cpu_ticks(stat: &str, wanted: Range<usize>) -> Option<u64> {
    // The name before the last parenthesis may hold spaces.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    fields.get(wanted)?.iter().map(|field| field.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_any_name() {
        let stat = "42 (a) b) c) S 1 42 42 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 9 0 1000 1 1 1";
        let of = |stat| cpu_ticks(stat, CPU_FIELDS);
        assert_eq!((of(stat), of("42"), of("1 (x) S 1"), cpu_ticks(stat, CHILDREN_FIELDS)), (Some(200), None, None, Some(0)));
    }

    #[test]
    fn a_blob_has_its_place_in_store_and_mount() {
        let node = Node::running("http://127.0.0.1:1", Path::new("/d"), Path::new("/m"));
        let id = BlobId::of(b"");
        assert_eq!(node.backing(id), PathBuf::from(format!("/d/blobs/e3/{id}")));
        assert_eq!(node.file(id), PathBuf::from(format!("/m/blobs/{id}")));
    }
}
