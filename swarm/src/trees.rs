//! Directories, opened.

use std::sync::Arc;

use herring_blob::{BlobId, Tree};

use crate::{OpenError, Swarm};

/// A directory with all that is below it, opened. Immutable.
#[derive(Debug)]
pub struct OpenTree {
    pub id: BlobId,
    pub tree: Tree,
}

impl Swarm {
    /// The tree that a blob is; `None` where it is an ordinary blob.
    pub async fn open_tree(&self, id: BlobId) -> Result<Option<Arc<OpenTree>>, OpenError> {
        self.open_blob(id).await.map(|_| None)
    }
}
