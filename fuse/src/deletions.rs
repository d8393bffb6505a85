use std::ffi::OsStr;
use std::sync::Arc;

use fuser::{INodeNo, Notifier};
use herring_blob::BlobId;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::fs::HerringFs;
use crate::node::BLOBS;

/// Takes the names of deleted blobs back from the kernel, which would believe them for a year. Ends with the swarm.
pub(crate) async fn follow(fs: Arc<HerringFs>, notifier: Notifier, mut deletions: Receiver<BlobId>) {
    loop {
        let gone = match deletions.recv().await {
            Ok(id) => vec![id],
            // Which ones were missed is not known, so all names are asked for again.
            Err(RecvError::Lagged(_)) => fs.known_blobs(),
            Err(RecvError::Closed) => return,
        };
        fs.deleting();
        let notifier = notifier.clone();
        // The kernel waits here for the lookups under way in the directory, which wait for the swarm: not on the runtime's threads.
        if tokio::task::spawn_blocking(move || take_back(&notifier, &gone)).await.is_err() {
            return;
        }
    }
}

fn take_back(notifier: &Notifier, gone: &[BlobId]) {
    for id in gone {
        if let Err(error) = notifier.inval_entry(INodeNo(BLOBS), OsStr::new(&id.to_string())) {
            tracing::warn!(%id, %error, "the kernel was not told that a blob is deleted: the mount may show it until it is unmounted");
        }
    }
}
