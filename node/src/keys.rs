//! The cluster's keys, from a file that is read again while the node runs.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use herring_gossip::ClusterKeys;

use crate::error::Failure;
use crate::reread::Reread;

/// Permissions with which others than the owner may read or change it.
const OTHERS: u32 = 0o077;

pub fn load(path: &Path) -> Result<Reread<ClusterKeys>, Failure> {
    let told = |why| Failure::usage(format_args!("--cluster-key {}: {why}", path.display()));
    Reread::open(path, "the cluster's keys", read).map_err(told)
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
        let first = keys.now();
        write(&path, "broken", 0o600);
        let told = keys.look(None).await;
        assert!(told.is_some() && keys.now() == first);
        write(&path, &ClusterKeys::generate(), 0o600);
        assert_eq!(keys.look(told).await, None);
        assert_ne!(keys.now(), first);
    }
}
