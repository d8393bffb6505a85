//! Names that the kernel believes for ever, taken back when they do not hold any more.

use std::ffi::OsStr;
use std::sync::Arc;

use fuser::{INodeNo, Notifier};
use herring_blob::BlobId;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};

use crate::fs::HerringFs;
use crate::metrics;
use crate::node::Node;
use crate::place::BLOBS;

/// Takes names back from the kernel. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Recall {
    pub fs: Arc<HerringFs>,
    notifier: Notifier,
}

impl Recall {
    pub fn new(fs: Arc<HerringFs>, notifier: Notifier) -> Self {
        Self { fs, notifier }
    }

    /// Those of deleted blobs. Ends with the swarm.
    pub async fn follow_deletions(self, mut deletions: broadcast::Receiver<BlobId>) {
        loop {
            let deleted = deletions.recv().await;
            self.fs.taking_back();
            let gone = match deleted {
                Ok(id) => vec![id],
                // Which ones were missed is not known, so all names are asked for again.
                Err(RecvError::Lagged(_)) => self.fs.known_blobs(),
                Err(RecvError::Closed) => return,
            };
            self.tell(gone.into_iter().map(|id| (BLOBS, id.to_string())).collect()).await;
        }
    }

    /// Those of all blobs, for they may be links from now on.
    pub async fn take_back_blobs(self) {
        self.fs.taking_back();
        self.tell(self.fs.known_blobs().into_iter().map(|id| (BLOBS, id.to_string())).collect()).await;
    }

    /// Those of files that turned out to be changed when they were read.
    pub async fn follow_changes(self, mut changes: mpsc::Receiver<u64>) {
        while let Some(ino) = changes.recv().await {
            self.take_back(self.fs.node(ino).into_iter().collect()).await;
        }
    }

    /// Those of trees that nobody used for longest, where the kernel knows too many.
    pub async fn follow_trees(self) {
        loop {
            let names = self.fs.crowded().await;
            self.tell(names).await;
        }
    }

    /// Who looks for these names from now on learns what they are now.
    pub async fn take_back(&self, nodes: Vec<Arc<Node>>) {
        let names: Vec<_> = nodes.iter().filter_map(|node| Some((self.fs.unname(node)?, node.place.name()))).collect();
        if names.is_empty() {
            return;
        }
        self.fs.taking_back();
        self.tell(names).await;
    }

    /// The kernel waits here for the lookups under way in the directory, which wait for the swarm: not on the runtime's threads.
    async fn tell(&self, names: Vec<(u64, String)>) {
        ::metrics::counter!(metrics::TAKEN_BACK).increment(names.len() as u64);
        let notifier = self.notifier.clone();
        let tell = move || names.iter().for_each(|(parent, name)| tell(&notifier, *parent, name));
        // Fails only where the runtime ends.
        let _ = tokio::task::spawn_blocking(tell).await;
    }
}

fn tell(notifier: &Notifier, parent: u64, name: &str) {
    if let Err(error) = notifier.inval_entry(INodeNo(parent), OsStr::new(name)) {
        tracing::warn!(name, %error, "the kernel was not told that a name does not hold any more: the mount may show it until it is unmounted");
    }
}
