//! One lease: for how long, and what it keeps.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use herring_blob::{BlobId, Tree, TreeKind};
use serde::{Deserialize, Deserializer, Serialize};
use tokio::time::Instant;

/// Between one try to bring what is not here and the next: twice as long each time.
const FIRST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(16 * 60);

/// As it is written down, but for when it is brought again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Lease {
    pub pin: Term,
    /// All that it keeps, each with its bytes: the blob itself and, where that is a tree, what is in it.
    #[serde(deserialize_with = "sized")]
    pub blobs: HashMap<BlobId, u64>,
    #[serde(skip)]
    pub again: Again,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Term {
    /// A name, or an id.
    pub target: String,
    pub id: BlobId,
    /// Milliseconds since 1970.
    pub until_ms: u64,
}

impl Term {
    pub fn lasts(&self, now_ms: u64) -> bool {
        now_ms < self.until_ms
    }
}

/// A version before wrote no sizes: they are known again once the manifests are here.
fn sized<'de, D: Deserializer<'de>>(blobs: D) -> Result<HashMap<BlobId, u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Blobs {
        Sized(HashMap<BlobId, u64>),
        Bare(HashSet<BlobId>),
    }
    Ok(match Blobs::deserialize(blobs)? {
        Blobs::Sized(blobs) => blobs,
        Blobs::Bare(blobs) => blobs.into_iter().map(|id| (id, 0)).collect(),
    })
}

/// The bytes of a tree's blobs, as far as its files say: nobody is asked for a manifest.
pub(super) fn sizes(tree: &Tree) -> HashMap<BlobId, u64> {
    let mut sizes: HashMap<BlobId, u64> = tree.blobs().iter().map(|id| (*id, 0)).collect();
    for entry in tree.entries() {
        let TreeKind::File { blob, offset, size } = entry.kind else { continue };
        if let Some(known) = tree.blobs().get(blob as usize).and_then(|id| sizes.get_mut(id)) {
            *known = offset.saturating_add(size).max(*known);
        }
    }
    sizes
}

/// When what is not all here is brought again: at once, and then less and less often.
#[derive(Debug, Clone, Default)]
pub(super) struct Again {
    tries: u32,
    pub at: Option<Instant>,
}

impl Again {
    pub fn is_due(&self, now: Instant) -> bool {
        self.at.is_none_or(|at| at <= now)
    }

    pub fn tried(&mut self, now: Instant) {
        self.at = Some(now + FIRST.saturating_mul(1 << self.tries.min(16)).min(LONGEST));
        self.tries += 1;
    }
}

#[cfg(test)]
mod tests {
    use herring_blob::{Mark, TreeEntry};

    use super::*;

    #[test]
    fn what_a_version_before_wrote_is_read() {
        let id = BlobId::of(b"");
        let written = format!(r#"{{"pin":{{"target":"t","id":"{id}","until_ms":7}},"blobs":["{id}"]}}"#);
        let lease: Lease = serde_json::from_str(&written).unwrap();
        assert_eq!((lease.pin.until_ms, lease.blobs), (7, [(id, 0)].into()));
        let lease = Lease { blobs: [(id, 9)].into(), again: Again::default(), pin: lease.pin };
        let again: Lease = serde_json::from_slice(&serde_json::to_vec(&lease).unwrap()).unwrap();
        assert_eq!((again.pin, again.blobs), (lease.pin, lease.blobs));
    }

    #[test]
    fn a_tree_says_how_large_its_blobs_are() {
        let [one, two, none] = [b"1", b"2", b"3"].map(|bytes| BlobId::of(bytes));
        let entry = |path: &str, kind| TreeEntry { path: path.into(), mode: 0o644, modified_ns: 0, kind };
        let file = |path, blob, offset, size| entry(path, TreeKind::File { blob, offset, size });
        let root = entry("", TreeKind::Directory { directory: Mark });
        let files = vec![root, file("a", 0, 0, 10), file("b", 0, 10, 5), file("c", 1, 0, 7), file("d", 0, 2, 1)];
        let sizes = sizes(&Tree::new(vec![one, two, none], files).unwrap());
        assert_eq!(sizes, [(one, 15), (two, 7), (none, 0)].into());
    }

    #[test]
    fn what_does_not_come_is_asked_for_less_and_less_often() {
        let (mut again, now) = (Again::default(), Instant::now());
        assert!(again.is_due(now));
        for minutes in [1, 2, 4, 8, 16, 16] {
            again.tried(now);
            let end = now + Duration::from_secs(60 * minutes);
            assert!(!again.is_due(end - Duration::from_millis(1)) && again.is_due(end), "{minutes} min");
        }
    }
}
