//! What the kernel has mounted where, and taking a mount away by its path.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, StatxFlags};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use crate::mount::MountError;

/// How our mounts show in `/proc/mounts`.
const FSTYPE: &str = "fuse.herring";
/// A daemon that has not answered `statfs` by then is hung, not dead: its mount is left alone.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);
/// Dead mounts on top of each other that are cleared: one for each crash without a clean start between.
const MAX_STALE: usize = 16;
/// Which rustix does not name yet.
const STATX_MNT_ID_UNIQUE: u32 = 0x4000;
/// Four requests of 1 MiB under way keep a disk busy: a cold stream then reads 1.3 times what the backing file itself gives, against 0.75 to
/// 0.95 times with one. With 8 MiB it is no faster. Where the backing file is in the page cache, 1 MiB would be better (2.5–3 GB/s
/// against 2.0–2.2), but what was read through the mount is not left there.
const READ_AHEAD_KIB: &str = "4096";

/// A line of `/proc/self/mountinfo`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mounted {
    at: PathBuf,
    /// `major:minor`
    device: String,
    fstype: String,
}

/// A directory to mount on: made if it is missing, and free of what crashed there.
///
/// `for_others`: what is made on the way is open to them as well, whatever this process keeps to itself otherwise.
pub(crate) fn prepare(at: &Path, for_others: bool) -> Result<PathBuf, MountError> {
    let failed = |source| MountError::Directory { at: at.to_owned(), source };
    if let Ok(real) = resolve(at) {
        clear_stale(&real)?;
    }
    make(at, for_others).map_err(failed)?;
    let real = resolve(at).map_err(failed)?;
    if !fs::metadata(&real).map_err(failed)?.is_dir() {
        return Err(failed(io::ErrorKind::NotADirectory.into()));
    }
    if fs::read_dir(&real).is_ok_and(|mut entries| entries.next().is_some()) {
        tracing::warn!(at = %real.display(), "this directory is not empty: what is in it is hidden while the mount is there");
    }
    Ok(real)
}

fn make(at: &Path, for_others: bool) -> io::Result<()> {
    let missing: Vec<&Path> = at.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists()).collect();
    fs::create_dir_all(at)?;
    let mut opened = missing.into_iter().filter(|_| for_others);
    opened.try_for_each(|path| fs::set_permissions(path, Permissions::from_mode(0o755)))
}

/// What is mounted exactly here; of several on top of each other, the one that is seen.
fn mounted_at(at: &Path) -> Option<Mounted> {
    let info = fs::read_to_string("/proc/self/mountinfo").ok()?;
    info.lines().filter_map(parse).rfind(|mounted| mounted.at == at)
}

/// Tells apart mounts that follow each other at one path. Never asks the daemon.
///
/// The plain id that kernels before 6.8 give, like the device number, may come again once a mount is gone.
pub(crate) fn mount_id(at: &Path) -> Option<u64> {
    let unique = StatxFlags::from_bits_retain(STATX_MNT_ID_UNIQUE);
    let flags = AtFlags::STATX_DONT_SYNC | AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    Some(rustix::fs::statx(CWD, at, flags, unique | StatxFlags::MNT_ID).ok()?.stx_mnt_id)
}

/// Takes the mount away from the tree; what is open in it stays open.
pub(crate) fn detach(at: &Path) -> io::Result<()> {
    match rustix::mount::unmount(at, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Err(Errno::PERM) => detach_by_helper(at),
        done => Ok(done?),
    }
}

/// Best effort: without it, cold streams are slower.
pub(crate) fn raise_read_ahead(at: &Path) {
    let Some(Mounted { device, .. }) = mounted_at(at) else { return };
    let knob = format!("/sys/class/bdi/{device}/read_ahead_kb");
    if let Err(error) = fs::write(&knob, READ_AHEAD_KIB) {
        tracing::info!(knob, %error, "the kernel's read-ahead stays small: cold reads of large files are slower");
    }
}

/// The path as the kernel names it, also where the last part is a dead mount.
fn resolve(at: &Path) -> io::Result<PathBuf> {
    fs::canonicalize(at).or_else(|error| {
        let at = std::path::absolute(at)?;
        match (at.parent(), at.file_name()) {
            (Some(parent), Some(name)) => Ok(fs::canonicalize(parent)?.join(name)),
            _ => Err(error),
        }
    })
}

fn clear_stale(at: &Path) -> Result<(), MountError> {
    for _ in 0..MAX_STALE {
        let Some(mounted) = mounted_at(at) else { return Ok(()) };
        if mounted.fstype != FSTYPE || !is_dead(at) {
            break;
        }
        detach(at).map_err(|source| MountError::Stale { at: at.to_owned(), source })?;
        tracing::info!(at = %at.display(), "cleared a mount that a crash left behind");
    }
    match mounted_at(at) {
        Some(mounted) => Err(MountError::Occupied { at: at.to_owned(), fstype: mounted.fstype }),
        None => Ok(()),
    }
}

/// Asks with `statfs`, which always goes to the daemon: other calls are answered from the kernel's caches long after its death.
fn is_dead(at: &Path) -> bool {
    let (answer, answered) = mpsc::sync_channel(1);
    let asked = at.to_owned();
    thread::spawn(move || answer.send(rustix::fs::statfs(&asked).err()));
    answered.recv_timeout(ANSWER_DEADLINE) == Ok(Some(Errno::NOTCONN))
}

/// Only root may unmount; others have the setuid helper that mounted for them.
fn detach_by_helper(at: &Path) -> io::Result<()> {
    let status = Command::new("fusermount3").args(["-u", "-q", "-z", "--"]).arg(at).stdin(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("fusermount3 -u ended with {status}"))) }
}

/// `36 35 98:0 /root /mount/point options… - fstype source options`
fn parse(line: &str) -> Option<Mounted> {
    let (place, kind) = line.split_once(" - ")?;
    let mut place = place.split(' ').skip(2);
    let (device, at) = (place.next()?.to_owned(), unescape(place.nth(1)?));
    Some(Mounted { at, device, fstype: kind.split(' ').next()?.to_owned() })
}

/// The kernel writes space, tab, newline and backslash as three octal digits.
fn unescape(path: &str) -> PathBuf {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    escapes.iter().fold(path.to_owned(), |path, (escape, plain)| path.replace(escape, plain)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_is_read() {
        let line = r"97 28 0:53 / /srv/a\040b ro,nosuid,nodev,noatime shared:5 master:1 - fuse.herring herring ro,user_id=0";
        let mounted = Mounted { at: "/srv/a b".into(), device: "0:53".into(), fstype: "fuse.herring".into() };
        assert_eq!(parse(line), Some(mounted));
        assert_eq!(parse("garbage"), None);
    }

    #[test]
    fn what_is_mounted_is_found() {
        assert_eq!(mounted_at(Path::new("/proc")).map(|mounted| mounted.fstype).as_deref(), Some("proc"));
        assert_eq!(mounted_at(Path::new("/proc/self")), None);
    }

    #[test]
    fn others_come_through_what_is_made_for_them() {
        let room = tempfile::tempdir().unwrap();
        prepare(&room.path().join("a/b"), true).unwrap();
        let mode = |path: &str| fs::metadata(room.path().join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("a"), mode("a/b")), (0o755, 0o755));
    }

    #[test]
    fn a_live_mount_is_refused() {
        assert!(matches!(prepare(Path::new("/proc"), false), Err(MountError::Occupied { fstype, .. }) if fstype == "proc"));
    }

    #[test]
    fn a_file_is_no_mount_point() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(matches!(prepare(file.path(), false), Err(MountError::Directory { .. })));
    }
}
