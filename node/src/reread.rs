//! Files that are read again while the node runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

/// Between two looks at the file.
const EVERY: Duration = Duration::from_secs(5);

/// What is in a file, kept as it is there by [`follow`](Self::follow).
#[derive(Debug)]
pub struct Reread<T> {
    path: PathBuf,
    /// In the log: "the cluster's keys".
    what: &'static str,
    read: fn(&Path) -> Result<T, String>,
    now: watch::Sender<Arc<T>>,
}

impl<T: PartialEq + Send + Sync + 'static> Reread<T> {
    /// `read` says in a sentence why the file cannot be used.
    pub fn open(path: &Path, what: &'static str, read: fn(&Path) -> Result<T, String>) -> Result<Self, String> {
        let now = watch::Sender::new(Arc::new(read(path)?));
        Ok(Self { path: path.to_owned(), what, read, now })
    }

    pub fn subscribe(&self) -> watch::Receiver<Arc<T>> {
        self.now.subscribe()
    }

    /// What it held when it was looked at last.
    pub fn now(&self) -> Arc<T> {
        self.now.borrow().clone()
    }

    /// Until it is dropped. A file that cannot be used changes nothing.
    pub async fn follow(self) {
        let mut told = None;
        loop {
            sleep(EVERY).await;
            told = self.look(told).await;
        }
    }

    /// Why the file cannot be used, which is told once.
    pub async fn look(&self, told: Option<String>) -> Option<String> {
        let (path, read, what) = (self.path.clone(), self.read, self.what);
        // `None`: the runtime ends.
        match tokio::task::spawn_blocking(move || read(&path)).await.ok()? {
            Ok(now) if now != **self.now.borrow() => {
                tracing::info!(path = %self.path.display(), "{what} were replaced");
                self.now.send_replace(Arc::new(now));
                None
            }
            Ok(_) => None,
            Err(why) => {
                if told.as_ref() != Some(&why) {
                    tracing::warn!(path = %self.path.display(), why, "{what} stay as they were");
                }
                Some(why)
            }
        }
    }
}
