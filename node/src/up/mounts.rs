use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::geteuid;

use crate::error::tell;

/// The bit of CAP_SYS_ADMIN in a capability set.
const SYS_ADMIN: u64 = 1 << 21;
/// A process that has not answered `statfs` by then is hung, not dead: its mount is left alone.
const ANSWER_DEADLINE: Duration = Duration::from_secs(1);

/// Why nothing can be mounted here, in one sentence; `None` where it can.
pub fn obstacle() -> Option<String> {
    if let Err(error) = fs::File::options().read(true).write(true).open("/dev/fuse") {
        return Some(format!("nothing is mounted, because /dev/fuse cannot be opened ({error})"));
    }
    if may_mount() || has_helper() {
        return None;
    }
    let hint = if geteuid().is_root() { "give the container CAP_SYS_ADMIN" } else { "install fuse3" };
    Some(format!("nothing is mounted, because that needs CAP_SYS_ADMIN or fusermount3: {hint}"))
}

/// Whether mounts work here; says on stderr why not.
pub fn usable() -> bool {
    let obstacle = obstacle();
    obstacle.iter().for_each(tell);
    obstacle.is_none()
}

fn may_mount() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).is_some_and(|set| set & SYS_ADMIN != 0)
}

fn has_helper() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join("fusermount3").is_file())
}

/// Removes what a killed node left mounted at `path`, if anything; a mount that is alive belongs to somebody. Blocks for
/// at most about 1 s.
pub fn clear_dead(path: &Path) {
    if !is_mounted(path) || !is_dead(path) {
        return;
    }
    if unmount(path, UnmountFlags::DETACH).is_err() {
        // Without privileges the helper does it. Its failure shows at the next mount.
        let _ = Command::new("fusermount3").arg("-uz").arg(path).status();
    }
}

/// Whether the process behind the mount is gone. `statfs` always goes there; other calls may be answered from caches.
fn is_dead(path: &Path) -> bool {
    let (answer, answered) = mpsc::sync_channel(1);
    let asked = path.to_owned();
    thread::spawn(move || answer.send(rustix::fs::statfs(&asked).err()));
    answered.recv_timeout(ANSWER_DEADLINE) == Ok(Some(Errno::NOTCONN))
}

fn is_mounted(path: &Path) -> bool {
    let mounts = fs::read("/proc/self/mounts").unwrap_or_default();
    let escaped = escape(path.as_os_str().as_bytes());
    mounts.split(|&byte| byte == b'\n').any(|line| line.split(|&byte| byte == b' ').nth(1) == Some(&escaped))
}

/// As the kernel writes paths in its table: blanks and backslashes in octal.
fn escape(path: &[u8]) -> Vec<u8> {
    path.iter()
        .flat_map(|&byte| if b" \t\n\\".contains(&byte) { format!("\\{byte:03o}").into_bytes() } else { vec![byte] })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_understood() {
        assert!(is_mounted(Path::new("/proc")));
        assert!(!is_mounted(Path::new("/proc/self")));
        assert!(!is_dead(Path::new("/proc")));
        assert!(!is_dead(Path::new("/no/such/mount")));
        assert_eq!(escape(b"/a b\\c"), b"/a\\040b\\134c");
    }
}
