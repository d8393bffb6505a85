use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use crate::buffers::Buffers;
use crate::files::Files;
use crate::layout::Layout;
use crate::space::Space;
use crate::{OpenError, StoreConfig};

/// What entries and uploads share. Lives until the last of them is gone, and the lock with it: nobody else opens the
/// directory while anything here may still write to it.
pub(crate) struct Disk {
    pub layout: Layout,
    pub space: Space,
    pub files: Files,
    pub buffers: Arc<Buffers>,
    /// Uploads that are open.
    pub uploads: AtomicUsize,
    _lock: File,
}

impl Disk {
    pub fn open(config: StoreConfig) -> Result<Self, OpenError> {
        let layout = Layout::new(config.dir);
        let lock = layout.prepare()?;
        let space = Space::new(config.capacity);
        let (files, buffers) = (Files::new(), Arc::default());
        Ok(Self { layout, space, files, buffers, uploads: AtomicUsize::new(0), _lock: lock })
    }

    /// Something durable came or went.
    pub fn durable_changed(&self) {}
}
