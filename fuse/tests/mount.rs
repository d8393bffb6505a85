//! Real mounts, read by other programs. Without /dev/fuse they are skipped, unless `HERRING_REQUIRE` names `fuse`.

mod rig;

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use herring_blob::BlobId;
use herring_fuse::{Mount, MountConfig, MountError, Unmounted};
use rig::{CAPACITY, CHUNK, ORIGIN, Rig, next, pattern};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// For what has to happen soon but not at once. Long, since it only ends a failing test.
const PATIENCE: Duration = Duration::from_secs(30);

/// A mounted swarm. Fields are dropped in this order: the mount before what answers it.
struct Mounted {
    mount: Option<Mount>,
    rig: Rig,
    runtime: Runtime,
    at: PathBuf,
    _dir: TempDir,
}

impl Mounted {
    fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().canonicalize().unwrap().join("missing/mnt");
        let (runtime, rig) = swarm();
        let mount = Some(start(&at, &rig, &runtime)?);
        Some(Self { mount, rig, runtime, at, _dir: dir })
    }

    fn put(&self, bytes: &[u8]) -> (BlobId, PathBuf) {
        let id = self.runtime.block_on(self.rig.put(bytes));
        (id, self.at.join("blobs").join(id.to_string()))
    }

    fn unmount(&mut self) -> Unmounted {
        self.mount.take().unwrap().unmount().unwrap()
    }
}

fn swarm() -> (Runtime, Rig) {
    let runtime = Runtime::new().unwrap();
    let rig = runtime.block_on(async { Rig::new() });
    (runtime, rig)
}

/// `None`, and a word about it, where this machine cannot mount.
fn start(at: &Path, rig: &Rig, runtime: &Runtime) -> Option<Mount> {
    let config = MountConfig { at: at.to_owned(), allow_other: false };
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
fn mounts(at: &Path) -> Vec<String> {
    let text = fs::read_to_string("/proc/self/mounts").unwrap();
    text.lines().filter(|line| line.split(' ').nth(1) == at.to_str()).map(str::to_owned).collect()
}

fn output(command: &mut Command) -> Vec<u8> {
    let output = command.stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", output.status);
    output.stdout
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn programs_read_blobs_of_all_sizes() {
    let Some(mounted) = Mounted::new() else { return };
    let copy = tempfile::tempdir().unwrap();
    for size in [0, 1, CHUNK as usize - 1, CHUNK as usize, CHUNK as usize + 1, (3 << 20) + 7] {
        let bytes = pattern(size, 1);
        let (id, path) = mounted.put(&bytes);
        let stat = fs::metadata(&path).unwrap();
        assert_eq!((stat.size(), stat.blocks()), (size as u64, (size as u64).div_ceil(512)));
        assert!(output(Command::new("cat").arg(&path)) == bytes, "cat, {size} bytes");
        output(Command::new("cp").arg(&path).arg(copy.path()));
        assert!(fs::read(copy.path().join(id.to_string())).unwrap() == bytes, "cp, {size} bytes");
        let input = format!("if={}", path.display());
        assert!(output(Command::new("dd").args([&input, "bs=1000", "status=none"])) == bytes, "dd, {size} bytes");
        let listed = output(Command::new("ls").arg(mounted.at.join("blobs")));
        assert!(String::from_utf8(listed).unwrap().lines().any(|line| line == id.to_string()));
    }
}

#[test]
fn files_look_like_files() {
    let Some(mounted) = Mounted::new() else { return };
    let (_, path) = mounted.put(b"herring");
    let stat = fs::metadata(&path).unwrap();
    assert!(stat.is_file() && stat.permissions().mode() & 0o7777 == 0o444 && stat.nlink() == 1 && stat.blksize() == 1 << 20);
    assert_eq!((stat.uid(), stat.gid()), (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw()));
    let directory = fs::metadata(mounted.at.join("blobs")).unwrap();
    assert!(directory.is_dir() && directory.permissions().mode() & 0o7777 == 0o555);
    assert_eq!(rustix::fs::access(&path, rustix::fs::Access::EXEC_OK), Err(Errno::ACCESS));
    assert_eq!(rustix::fs::access(&path, rustix::fs::Access::READ_OK), Ok(()));
}

#[test]
fn a_file_can_be_mapped() {
    let Some(mounted) = Mounted::new() else { return };
    let script = "import hashlib, mmap, sys\n\
                  with open(sys.argv[1], 'rb') as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as m:\n\
                  \x20   parts = [m[at:at + 4096] for at in range(len(m) // 4096 * 4096, -1, -4096)]\n\
                  \x20   print(hashlib.sha256(b''.join(reversed(parts))).hexdigest())";
    let (id, path) = mounted.put(&pattern((2 << 20) + 5, 2));
    let printed = output(Command::new("python3").args(["-c", script]).arg(&path));
    assert_eq!(String::from_utf8(printed).unwrap().trim(), id.to_string());
}

#[test]
fn random_reads_of_many_threads_are_right() {
    let Some(mounted) = Mounted::new() else { return };
    let bytes = pattern((4 << 20) + 123, 3);
    let (_, path) = mounted.put(&bytes);
    thread::scope(|scope| {
        for seed in 0..8 {
            let (bytes, path) = (&bytes, &path);
            scope.spawn(move || {
                let file = File::open(path).unwrap();
                let mut state = seed;
                for _ in 0..100 {
                    state = next(state);
                    let offset = usize::try_from(state >> 16).unwrap() % bytes.len();
                    let mut buffer = vec![0; usize::try_from(state & 0xffff).unwrap().min(bytes.len() - offset)];
                    file.read_exact_at(&mut buffer, offset as u64).unwrap();
                    assert!(buffer == bytes[offset..offset + buffer.len()], "at {offset}");
                }
            });
        }
    });
}

#[test]
fn what_is_not_there_is_enoent_and_nothing_can_be_written() {
    let Some(mounted) = Mounted::new() else { return };
    let (_, path) = mounted.put(b"herring");
    let absent = mounted.at.join("blobs").join(BlobId::of(b"absent").to_string());
    for missing in [&absent, &mounted.at.join("names"), &mounted.at.join("origins/none"), &path.with_file_name("x")] {
        assert_eq!(fs::metadata(missing).unwrap_err().kind(), ErrorKind::NotFound, "{missing:?}");
    }
    let long = mounted.at.join("blobs").join("n".repeat(256));
    assert_eq!(fs::metadata(long).unwrap_err().kind(), ErrorKind::InvalidFilename);
    let attempts = [
        File::create(&absent).err(),
        OpenOptions::new().write(true).open(&path).err(),
        fs::remove_file(&path).err(),
        fs::rename(&path, &absent).err(),
        fs::create_dir(mounted.at.join("new")).err(),
        fs::remove_dir(mounted.at.join("origins")).err(),
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).err(),
        std::os::unix::fs::symlink("x", mounted.at.join("link")).err(),
    ];
    for (n, attempt) in attempts.into_iter().enumerate() {
        assert_eq!(attempt.unwrap().kind(), ErrorKind::ReadOnlyFilesystem, "attempt {n}");
    }
}

#[test]
fn the_mount_shows_what_it_is() {
    let Some(mounted) = Mounted::new() else { return };
    mounted.put(&pattern(100_000, 4));
    let [line] = &mounts(&mounted.at)[..] else { panic!("not mounted once") };
    assert!(line.starts_with("herring ") && line.contains(" fuse.herring ro,nosuid,nodev"), "{line}");
    let space = rustix::fs::statvfs(&mounted.at).unwrap();
    assert_eq!((space.f_blocks * space.f_frsize, space.f_namemax), (CAPACITY, 255));
    assert!(space.f_bfree < space.f_blocks && space.f_bavail == space.f_bfree);
    let device = fs::metadata(&mounted.at).unwrap().dev();
    let knob = format!("/sys/class/bdi/{}:{}/read_ahead_kb", rustix::fs::major(device), rustix::fs::minor(device));
    if rustix::process::getuid().is_root() {
        assert_eq!(fs::read_to_string(knob).unwrap().trim(), "1024");
    }
}

#[test]
fn an_origin_of_many_files_is_listed_whole() {
    let Some(mounted) = Mounted::new() else { return };
    for n in 0..3000 {
        mounted.rig.write(&format!("many/file-{n:04}"), &pattern(n, 5));
    }
    let root = mounted.at.join("origins").join(ORIGIN);
    let found = String::from_utf8(output(Command::new("find").arg(&root).args(["-type", "f", "-printf", "%f %s\n"]))).unwrap();
    let mut found: Vec<&str> = found.lines().collect();
    found.sort_unstable();
    assert!(found.iter().copied().eq((0..3000).map(|n| format!("file-{n:04} {n}"))));
    assert!(fs::read(root.join("many/file-2999")).unwrap() == pattern(2999, 5));
}

#[test]
fn a_changed_object_is_seen_and_never_mixed() {
    let Some(mounted) = Mounted::new() else { return };
    let (old, new) = (pattern(3 * CHUNK as usize, 6), pattern(2 * CHUNK as usize + 1, 7));
    mounted.rig.write("f", &old);
    let path = mounted.at.join("origins").join(ORIGIN).join("f");
    assert!(fs::read(&path).unwrap() == old);
    mounted.rig.write("f", &new);
    wait_until("the new version", || match fs::read(&path) {
        Ok(bytes) => {
            assert!(bytes == old || bytes == new, "a mixture of {} bytes", bytes.len());
            bytes == new
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::StaleNetworkFileHandle);
            false
        }
    });
}

#[test]
fn a_deleted_blob_disappears() {
    let Some(mounted) = Mounted::new() else { return };
    let bytes = pattern(1000, 8);
    let (id, path) = mounted.put(&bytes);
    let open = File::open(&path).unwrap();
    assert!(fs::read(&path).unwrap() == bytes);
    mounted.runtime.block_on(mounted.rig.swarm.remove(id)).unwrap();
    wait_until("the deletion", || fs::metadata(&path).is_err_and(|error| error.kind() == ErrorKind::NotFound));
    assert_eq!(fs::read_dir(mounted.at.join("blobs")).unwrap().count(), 0);
    let mut buffer = vec![0; bytes.len()];
    open.read_exact_at(&mut buffer, 0).unwrap();
    assert!(buffer == bytes, "the kernel has the pages that an open file was read into");
}

#[test]
fn a_busy_mount_is_detached_and_goes_on() {
    let Some(mut mounted) = Mounted::new() else { return };
    let bytes = pattern(10 * CHUNK as usize, 9);
    let (_, path) = mounted.put(&bytes);
    let open = File::open(&path).unwrap();
    assert_eq!(mounted.unmount(), Unmounted::Detached);
    assert_eq!(mounts(&mounted.at), [""; 0]);
    let mut buffer = vec![0; bytes.len()];
    open.read_exact_at(&mut buffer, 0).unwrap();
    assert!(buffer == bytes);
}

#[test]
fn an_idle_mount_ends_cleanly_and_can_be_made_again() {
    let Some(mut mounted) = Mounted::new() else { return };
    let (_, path) = mounted.put(b"herring");
    assert_eq!(fs::read(&path).unwrap(), b"herring");
    let config = MountConfig { at: mounted.at.clone(), allow_other: false };
    let twice = Mount::start(config, mounted.rig.swarm.clone(), mounted.runtime.handle().clone());
    assert!(matches!(twice, Err(MountError::Occupied { fstype, .. }) if fstype == "fuse.herring"));
    assert_eq!(mounted.unmount(), Unmounted::Cleanly);
    assert_eq!(fs::metadata(&path).unwrap_err().kind(), ErrorKind::NotFound);
    mounted.mount = start(&mounted.at, &mounted.rig, &mounted.runtime);
    assert_eq!(fs::read(&path).unwrap(), b"herring");
}

#[test]
fn a_mount_that_took_the_place_of_ours_is_left_alone() {
    let Some(mut mounted) = Mounted::new() else { return };
    if rustix::mount::unmount(&mounted.at, UnmountFlags::DETACH).is_err() {
        return eprintln!("skipped: only root may unmount behind our back");
    }
    let second = start(&mounted.at, &mounted.rig, &mounted.runtime).unwrap();
    assert_eq!(mounted.unmount(), Unmounted::Before);
    assert_eq!(mounts(&mounted.at).len(), 1);
    assert_eq!(second.unmount().unwrap(), Unmounted::Cleanly);
}

const HOLD: &str = "HERRING_TEST_HOLD";

/// Not a test: the process that is killed in the next one.
#[test]
#[ignore = "run by a_dead_mount_still_reads_and_is_cleared"]
fn hold_a_mount() {
    let Some(at) = std::env::var_os(HOLD) else { return };
    let (runtime, rig) = swarm();
    let _mount = start(Path::new(&at), &rig, &runtime);
    println!("\nholding {}", runtime.block_on(rig.put(&pattern(100_000, 10))));
    loop {
        thread::park();
    }
}

/// The child is killed, and what it mounted is detached, whatever happens.
struct Holder {
    child: Child,
    at: PathBuf,
}

impl Holder {
    /// The holder, and the file that it holds.
    fn start(at: &Path) -> (Self, PathBuf) {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "hold_a_mount", "--ignored", "--nocapture"]).env(HOLD, at).stdout(Stdio::piped());
        let mut holder = Self { child: command.spawn().unwrap(), at: at.to_owned() };
        let lines = BufReader::new(holder.child.stdout.take().unwrap()).lines();
        let id = lines.map_while(Result::ok).find_map(|line| line.strip_prefix("holding ").map(str::to_owned));
        (holder, at.join("blobs").join(id.expect("the holder ended early")))
    }

    fn kill(&mut self) {
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

#[test]
fn a_dead_mount_still_reads_and_is_cleared() {
    let Some(mut mounted) = Mounted::new() else { return };
    assert_eq!(mounted.unmount(), Unmounted::Cleanly);
    let bytes = pattern(100_000, 10);
    let (mut holder, path) = Holder::start(&mounted.at);
    assert!(fs::read(&path).unwrap() == bytes);
    holder.kill();
    // Neither an open nor a read of cached pages asks the daemon, so its death is not even noticed.
    assert!(fs::read(&path).unwrap() == bytes);
    assert_eq!(fs::read_dir(mounted.at.join("blobs")).unwrap_err().raw_os_error(), Some(Errno::NOTCONN.raw_os_error()));
    mounted.mount = start(&mounted.at, &mounted.rig, &mounted.runtime);
    assert_eq!(mounts(&mounted.at).len(), 1);
    assert_eq!(fs::read_dir(mounted.at.join("blobs")).unwrap().count(), 0);
}
