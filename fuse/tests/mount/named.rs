//! Names, and the directories that they point at.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use tempfile::TempDir;

use crate::mounted::{Mounted, output, wait_until};
use crate::rig::{ORIGIN, pattern};

/// Prints for every path what it is, its mode, its size, its time and where it leads to; of a directory its number of links too.
const PRINT: [&str; 4] = ["-printf", "%P %y %m %T@ %l", "(", "-type"];

/// What `find` says of everything below a directory, sorted.
fn told(directory: &Path) -> Vec<String> {
    let [print, common, open, kind] = PRINT;
    let mut find = Command::new("find");
    find.arg(directory).args([print, common, open, kind, "d", print, " %n\\n", "-o", print, " %s\\n", ")"]);
    let mut lines: Vec<_> = String::from_utf8(output(&mut find)).unwrap().lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

fn set_time(path: &Path, seconds: i64, nanos: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos };
    utimensat(CWD, path, &Timestamps { last_access: time, last_modification: time }, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn is_same(mounted: &Path, source: &Path) {
    let diff = Command::new("diff").args(["-r", "--no-dereference"]).args([source, mounted]).output().unwrap();
    assert!(diff.status.success(), "{}", String::from_utf8_lossy(&diff.stdout));
    assert_eq!(told(mounted), told(source));
}

/// Executable bits, links, dangling ones, nothing at all, sizes from 0 to 3 MiB, times and names of all kinds.
fn source(small_files: usize) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &str| dir.path().join(path);
    let write = |path: &str, bytes: &[u8], mode: u32| {
        fs::create_dir_all(at(path).parent().unwrap()).unwrap();
        fs::write(at(path), bytes).unwrap();
        fs::set_permissions(at(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    write("bin/tool", b"#!/bin/sh\necho ran\n", 0o755);
    write("bin/suid", b"x", 0o4711);
    write("secret", b"y", 0o400);
    write("empty", b"", 0o644);
    write("weights", &pattern((3 << 20) + 17, 31), 0o644);
    write("zwölf/Boxkämpfer/鯡 🐟 'quoted\" $x", b"unicode", 0o644);
    write(&"n".repeat(255), b"long", 0o644);
    write("a/x", b"1", 0o644);
    write("a-/x", b"2", 0o644);
    write("a.x", b"3", 0o644);
    write(".hidden/.x", b"4", 0o644);
    for n in 0..small_files {
        write(&format!("many/{:02}/file-{n}", n % 50), &pattern(n % 3000, n as u64), 0o644);
    }
    fs::create_dir_all(at("nothing/in/here")).unwrap();
    for (target, link) in
        [("bin/tool", "link"), ("../a", "bin/up"), ("/nowhere/at all", "dangling"), ("many", "to-many"), ("loop", "loop")]
    {
        symlink(target, at(link)).unwrap();
    }
    set_time(&at("empty"), 1_234_567_890, 123_456_789);
    set_time(&at("secret"), -3, 999_999_999);
    set_time(&at("dangling"), 1, 1);
    set_time(&at("nothing"), 4_000_000_000, 1);
    dir
}

#[test]
fn a_directory_is_the_same_through_its_name() {
    let Some(mounted) = Mounted::new() else { return };
    let source = source(5000);
    mounted.plant(source.path(), "models/tiny");
    let at = mounted.at.join("names/models/tiny");
    is_same(&at, source.path());
    is_same(&at, source.path());
    let sizes =
        String::from_utf8(output(Command::new("find").arg(source.path()).args(["!", "-type", "d", "-printf", "%s\n"]))).unwrap();
    let size: u64 = sizes.lines().map(|size| size.parse::<u64>().unwrap()).sum();
    let told = output(Command::new("du").args(["--apparent-size", "-s", "-B1"]).arg(&at));
    assert!(String::from_utf8(told).unwrap().starts_with(&format!("{size}\t")), "directories take nothing");
    assert_eq!(fs::metadata(at.join("secret")).unwrap().modified().unwrap(), UNIX_EPOCH - Duration::new(2, 1));
    let copy = tempfile::tempdir().unwrap();
    output(Command::new("cp").arg("-a").arg(&at).arg(copy.path().join("copy")));
    is_same(&copy.path().join("copy"), source.path());
}

#[test]
fn programs_run_from_a_name() {
    let Some(mounted) = Mounted::new() else { return };
    let source = source(0);
    fs::copy("/bin/ls", source.path().join("bin/program")).unwrap();
    mounted.plant(source.path(), "tools");
    let at = mounted.at.join("names/tools");
    assert_eq!(output(&mut Command::new(at.join("bin/tool"))), b"ran\n");
    assert_eq!(output(&mut Command::new(at.join("link"))), b"ran\n");
    let listed = output(Command::new(at.join("bin/program")).arg(at.join("bin")));
    assert_eq!(String::from_utf8(listed).unwrap().lines().collect::<Vec<_>>(), ["program", "suid", "tool", "up"]);
    let refused = Command::new(at.join("a/x")).output().unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied);
    assert!(rustix::fs::access(at.join("bin/tool"), rustix::fs::Access::EXEC_OK).is_ok());
    assert!(rustix::fs::access(at.join("a/x"), rustix::fs::Access::EXEC_OK).is_err());
}

#[test]
fn a_name_that_moves_shows_the_new_version_and_open_files_keep_the_old() {
    let Some(mounted) = Mounted::new() else { return };
    let source = tempfile::tempdir().unwrap();
    let (old, new) = (pattern(300_000, 32), pattern(200_000, 33));
    fs::write(source.path().join("f"), &old).unwrap();
    fs::write(source.path().join("big"), pattern(2 << 20, 34)).unwrap();
    mounted.plant(source.path(), "m");
    let at = mounted.at.join("names/m");
    let (open, big) = (File::open(at.join("f")).unwrap(), fs::metadata(at.join("big")).unwrap().ino());
    assert!(fs::read(at.join("f")).unwrap() == old);
    fs::write(source.path().join("f"), &new).unwrap();
    fs::write(source.path().join("added"), b"x").unwrap();
    mounted.plant(source.path(), "m");
    wait_until("the new version", || {
        let bytes = fs::read(at.join("f")).unwrap();
        assert!(bytes == old || bytes == new, "a mixture");
        bytes == new
    });
    is_same(&at, source.path());
    assert_eq!(fs::metadata(at.join("big")).unwrap().ino(), big, "its pages are kept");
    let mut buffer = vec![0; old.len()];
    open.read_exact_at(&mut buffer, 0).unwrap();
    assert!(buffer == old);
    mounted.runtime.block_on(mounted.rig.swarm.delete_name("m", herring_swarm::Condition::Always)).unwrap();
    wait_until("the deletion", || fs::metadata(&at).is_err());
    assert_eq!(fs::read_dir(mounted.at.join("names")).unwrap().count(), 0);
    open.read_exact_at(&mut buffer, 0).unwrap();
    assert!(buffer == old);
}

#[test]
fn a_name_that_cannot_be_looked_into_is_not_copied_as_nothing() {
    let Some(mounted) = Mounted::new() else { return };
    let source = source(0);
    mounted.plant(source.path(), "good");
    mounted.runtime.block_on(mounted.rig.name("gone", herring_blob::BlobId::of(b"of which no node has anything")));
    let names = mounted.at.join("names");
    assert_eq!(output(Command::new("ls").arg(&names)), b"gone\ngood\n");
    let copy = tempfile::tempdir().unwrap();
    let copied = Command::new("cp").arg("-a").arg(&names).arg(copy.path().join("copy")).output().unwrap();
    assert!(!copied.status.success());
    assert!(String::from_utf8_lossy(&copied.stderr).contains("names/gone'"), "{copied:?}");
    is_same(&copy.path().join("copy/good"), source.path());
}

#[test]
fn a_file_of_a_pack_can_be_mapped_and_read_anywhere() {
    let Some(mounted) = Mounted::new() else { return };
    let source = tempfile::tempdir().unwrap();
    for n in 0..20 {
        fs::write(source.path().join(format!("{n:02}")), pattern(100_003 + n, 40 + n as u64)).unwrap();
    }
    mounted.plant(source.path(), "m");
    let script = "import mmap, os, sys\n\
                  for name in sorted(os.listdir(sys.argv[1]), reverse=True):\n\
                  \x20   with open(f'{sys.argv[1]}/{name}', 'rb') as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as m:\n\
                  \x20       sys.stdout.buffer.write(m[70000:])\n\
                  \x20       sys.stdout.buffer.write(os.pread(f.fileno(), 5000, 99999))";
    let read = output(Command::new("python3").args(["-c", script]).arg(mounted.at.join("names/m")));
    let wanted = (0..20).rev().flat_map(|n| {
        let bytes = pattern(100_003 + n, 40 + n as u64);
        [&bytes[70_000..], &bytes[99_999..]].concat()
    });
    assert!(read == wanted.collect::<Vec<_>>());
}

#[test]
fn a_directory_of_an_origin_with_50000_files_is_listed_whole() {
    let Some(mounted) = Mounted::new() else { return };
    let many = mounted.rig.origin.join("many");
    fs::create_dir(&many).unwrap();
    for n in 0..50_000 {
        File::create(many.join(format!("file-{n:05}"))).unwrap();
    }
    let at = mounted.at.join("origins").join(ORIGIN).join("many");
    let listed = String::from_utf8(output(Command::new("ls").arg("-U").arg(&at))).unwrap();
    let mut names: Vec<_> = listed.lines().collect();
    names.sort_unstable();
    assert!(names.iter().copied().eq((0..50_000).map(|n| format!("file-{n:05}"))));
    assert_eq!(fs::metadata(at.join("file-49999")).unwrap().len(), 0);
}
