//! Real mounts, read by other programs. Without /dev/fuse they are skipped, unless `HERRING_REQUIRE` names `fuse`.

mod calls;
mod killed;
mod mounted;
mod named;
mod native;
mod plant;
mod rig;
mod silent;

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::process::{Command, Stdio};
use std::thread;

use herring_blob::BlobId;
use herring_fuse::{Mount, MountConfig, MountError, Unmounted};
use mounted::{Holder, Mounted, mounts, output, start, wait_until};
use rig::{CAPACITY, CHUNK, ORIGIN, REFUSING, next, pattern};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;

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
    assert!(stat.is_file() && stat.permissions().mode() & 0o7777 == 0o444 && stat.nlink() == 1 && stat.blksize() == 4096);
    let (_, large) = mounted.put(&pattern((1 << 20) - 1, 18));
    assert_eq!(fs::metadata(large).unwrap().blksize(), 1 << 20);
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
    for missing in [&absent, &mounted.at.join("names/none"), &mounted.at.join("origins/none"), &path.with_file_name("x")] {
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
        assert_eq!(fs::read_to_string(knob).unwrap().trim(), "4096");
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
    let config = MountConfig { at: mounted.at.clone(), allow_other: false, native_reads: false };
    let twice = Mount::start(config, mounted.rig.swarm.clone(), mounted.runtime.handle().clone());
    assert!(matches!(twice, Err(MountError::Occupied { fstype, .. }) if fstype == "fuse.herring"));
    // A child that another test starts meanwhile holds what was open here until it runs its own program.
    assert_ne!(mounted.unmount(), Unmounted::Before);
    assert_eq!(fs::metadata(&path).unwrap_err().kind(), ErrorKind::NotFound);
    mounted.mount = start(&mounted.at, false, &mounted.rig, &mounted.runtime);
    assert_eq!(fs::read(&path).unwrap(), b"herring");
}

#[test]
fn a_mount_that_took_the_place_of_ours_is_left_alone() {
    let Some(mut mounted) = Mounted::new() else { return };
    if rustix::mount::unmount(&mounted.at, UnmountFlags::DETACH).is_err() {
        return eprintln!("skipped: only root may unmount behind our back");
    }
    let second = start(&mounted.at, false, &mounted.rig, &mounted.runtime).unwrap();
    assert_eq!(mounted.unmount(), Unmounted::Before);
    assert_eq!(mounts(&mounted.at).len(), 1);
    assert_eq!(second.unmount().unwrap(), Unmounted::Cleanly);
}

#[test]
fn a_dead_mount_still_reads_and_is_cleared() {
    let Some(mut mounted) = Mounted::new() else { return };
    assert_eq!(mounted.unmount(), Unmounted::Cleanly);
    let bytes = pattern(100_000, 10);
    let (mut holder, path) = Holder::start(&mounted.at, false);
    let of_origin = mounted.at.join("origins").join(ORIGIN).join("f");
    assert!(fs::read(&path).unwrap() == bytes && fs::read(&of_origin).unwrap() == pattern(100_000, 11));
    holder.kill();
    // Neither an open nor a read of cached pages asks the daemon, so its death is not even noticed.
    assert!(fs::read(&path).unwrap() == bytes && fs::read(&of_origin).unwrap() == pattern(100_000, 11));
    assert_eq!(fs::read_dir(mounted.at.join("blobs")).unwrap_err().raw_os_error(), Some(Errno::NOTCONN.raw_os_error()));
    mounted.mount = start(&mounted.at, false, &mounted.rig, &mounted.runtime);
    assert_eq!(mounts(&mounted.at).len(), 1);
    assert_eq!(fs::read_dir(mounted.at.join("blobs")).unwrap().count(), 0);
}

#[test]
fn a_reader_who_waits_when_the_daemon_dies_gets_an_error() {
    let Some(mut mounted) = Mounted::new() else { return };
    assert_eq!(mounted.unmount(), Unmounted::Cleanly);
    let (mut holder, _) = Holder::start(&mounted.at, false);
    let waits = mounted.at.join("origins").join(REFUSING).join(silent::FILE);
    // Else it would wait to open it.
    fs::metadata(&waits).unwrap();
    let mut reader = Command::new("cat").arg(&waits).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let waiting = |pid| fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| status.contains("State:\tD"));
    wait_until("a read", || waiting(reader.id()));
    assert_eq!(reader.try_wait().unwrap(), None);
    holder.kill();
    assert_eq!(reader.wait().unwrap().code(), Some(1));
    mounted.mount = start(&mounted.at, false, &mounted.rig, &mounted.runtime);
    assert_eq!(fs::read_dir(mounted.at.join("blobs")).unwrap().count(), 0);
}

#[test]
fn a_thousand_files_are_open_and_read_at_once() {
    let Some(mounted) = Mounted::new() else { return };
    for n in 0..1000 {
        mounted.rig.write(&format!("many/{n}"), &pattern(n + 1, 12));
    }
    let script = "import concurrent.futures as c, os, resource, sys\n\
                  resource.setrlimit(resource.RLIMIT_NOFILE, (2000, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))\n\
                  files = [os.open(f'{sys.argv[1]}/{n}', os.O_RDONLY) for n in range(1000)]\n\
                  with c.ThreadPoolExecutor(64) as pool:\n\
                  \x20   parts = list(pool.map(lambda f: os.pread(f, 1 << 20, 0), files))\n\
                  sys.stdout.buffer.write(b''.join(parts))";
    let read = output(Command::new("python3").args(["-c", script]).arg(mounted.at.join("origins").join(ORIGIN).join("many")));
    assert!(read == (0..1000).flat_map(|n| pattern(n + 1, 12)).collect::<Vec<_>>());
}

#[test]
fn a_file_is_read_through_a_full_store() {
    let Some(mounted) = Mounted::with(8 * u64::from(CHUNK), rig::NOBODY.into()) else { return };
    let bytes = pattern(64 * CHUNK as usize + 1, 13);
    mounted.rig.write("f", &bytes);
    let path = mounted.at.join("origins").join(ORIGIN).join("f");
    assert!(fs::read(&path).unwrap() == bytes);
    rustix::fs::fadvise(File::open(&path).unwrap(), 0, None, rustix::fs::Advice::DontNeed).unwrap();
    assert!(fs::read(&path).unwrap() == bytes);
}
