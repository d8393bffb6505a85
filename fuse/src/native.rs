//! The store's own files inside the mount, for who wants the native page cache: see ADR 11.

use std::io;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount_bind, mount_remount, unmount};

use crate::place::LOCAL_NAME;

/// A read-only view of the store's blobs, mounted in the mount.
#[derive(Debug)]
pub(crate) struct Bind {
    at: PathBuf,
}

impl Bind {
    /// Needs `CAP_SYS_ADMIN`. The mount must be served already, since the kernel looks for the directory in it.
    pub fn new(mount: &Path, blobs: &Path) -> io::Result<Self> {
        let bind = Self { at: mount.join(LOCAL_NAME) };
        mount_bind(blobs, &bind.at)?;
        let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
        mount_remount(&bind.at, flags, c"").inspect_err(|_| bind.detach())?;
        Ok(bind)
    }

    /// Files that are open through it stay open. Where it is gone already, so much the better.
    pub fn detach(&self) {
        let _ = unmount(&self.at, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
    }
}
