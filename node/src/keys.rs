//! The cluster's keys, from a file that is read again while the node runs.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use herring_gossip::ClusterKeys;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::error::Failure;

/// Between two looks at the file.
const EVERY: Duration = Duration::from_secs(5);
/// Permissions with which others than the owner may read or change it.
const OTHERS: u32 = 0o077;

/// What is in the file now, to be kept as it is there by [`follow`].
pub fn load(path: &Path) -> Result<watch::Sender<Arc<ClusterKeys>>, Failure> {
    let keys = read(path).map_err(|why| Failure::usage(format_args!("--cluster-key {}: {why}", path.display())))?;
    Ok(watch::Sender::new(Arc::new(keys)))
}

/// Until it is dropped. A file that cannot be used changes nothing.
pub async fn follow(path: PathBuf, keys: watch::Sender<Arc<ClusterKeys>>) {
    let mut told = None;
    loop {
        sleep(EVERY).await;
        told = look(&path, &keys, told).await;
    }
}

/// Why the file cannot be used, which is told once.
async fn look(path: &Path, keys: &watch::Sender<Arc<ClusterKeys>>, told: Option<String>) -> Option<String> {
    let asked = path.to_owned();
    // `None`: the runtime ends.
    match tokio::task::spawn_blocking(move || read(&asked)).await.ok()? {
        Ok(now) if now != **keys.borrow() => {
            tracing::info!(path = %path.display(), keys = ?now, "the cluster's keys were replaced");
            keys.send_replace(Arc::new(now));
            None
        }
        Ok(_) => None,
        Err(why) => {
            if told.as_ref() != Some(&why) {
                tracing::warn!(path = %path.display(), why, "the cluster's keys stay as they were");
            }
            Some(why)
        }
    }
}

fn read(path: &Path) -> Result<ClusterKeys, String> {
    let (meta, text) = std::fs::metadata(path)
        .and_then(|meta| Ok((meta, std::fs::read_to_string(path)?)))
        .map_err(|error| format!("cannot be read: {error}"))?;
    if meta.mode() & OTHERS != 0 {
        return Err(format!("others may read it (mode {:03o}): chmod 600 it", meta.mode() & 0o777));
    }
    text.parse().map_err(|error| format!("{error}"))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn write(path: &Path, text: &str, mode: u32) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_key_is_nobody_elses() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("cluster.key");
        let why = |path: &Path| load(path).unwrap_err().to_string();
        assert!(why(&path).contains("cannot be read"));
        write(&path, &ClusterKeys::generate(), 0o640);
        assert!(why(&path).contains("mode 640"), "{}", why(&path));
        write(&path, "no key", 0o600);
        assert!(why(&path).contains("line 1 is no key") && !why(&path).contains("no key in"), "{}", why(&path));
        write(&path, &ClusterKeys::generate(), 0o600);
        load(&path).unwrap();
    }

    #[tokio::test]
    async fn a_file_that_is_replaced_is_read_again_and_a_wrong_one_changes_nothing() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("cluster.key");
        write(&path, &ClusterKeys::generate(), 0o600);
        let keys = load(&path).unwrap();
        let first = keys.borrow().clone();
        write(&path, "broken", 0o600);
        let told = look(&path, &keys, None).await;
        assert!(told.is_some() && *keys.borrow() == first);
        write(&path, &ClusterKeys::generate(), 0o600);
        assert_eq!(look(&path, &keys, told).await, None);
        assert_ne!(*keys.borrow(), first);
    }
}
