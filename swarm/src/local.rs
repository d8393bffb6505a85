//! What a mount asks of this node's disk itself.

use std::path::PathBuf;

use herring_blob::{BlobId, ByteRange};
use herring_store::{Description, Entry};

use crate::{Content, Swarm};

impl Swarm {
    /// Bytes that this node's store can still take: under its cap, and on its disk.
    pub fn free(&self) -> u64 {
        self.0.store.free()
    }

    /// Where the files of blobs are that may be read without this program.
    pub fn native_dir(&self) -> PathBuf {
        self.0.store.native_dir()
    }

    /// The file of a blob below [`native_dir`](Self::native_dir), if all of it is here and was verified by this process. BLOCKS, shortly.
    pub fn native_path(&self, id: BlobId) -> Option<PathBuf> {
        self.open_blob_now(id).filter(|content| self.is_shown(content))?;
        self.0.store.get(&id.into())?.native_path()
    }

    /// Verifies a blob in the background, if all of it is here, so that it has a [`native_path`](Self::native_path) soon.
    pub fn verify_soon(&self, id: BlobId) {
        let Some(entry) = self.0.store.get(&id.into()).filter(Entry::is_complete) else { return };
        if let Description::Blob(manifest) = entry.description() {
            self.prove_soon(manifest);
        }
        self.0.verifications.launch(id, |listed| {
            let swarm = self.clone();
            let verify = async move {
                // One after the other: each reads the disk as fast as it can.
                let _turn = swarm.0.verifying.lock().await;
                if let Err(error) = entry.verify_all().await {
                    tracing::warn!(%id, %error, "a blob on this node's disk cannot be verified");
                }
                drop(listed);
            };
            ((), verify)
        });
    }

    /// Lets the page cache forget these bytes of the store's file, which a mount has in a cache of its own. Blocks, but not for long.
    pub fn release_pages(&self, content: &Content, range: ByteRange) {
        if let Some(entry) = self.0.store.get(&content.id()) {
            entry.release_pages(range);
        }
    }
}
