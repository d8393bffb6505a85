use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use herring_blob::BlobId;

use crate::error::FsError;
use crate::node::{Node, Place};

/// The nodes that the kernel knows, by inode number, each with how often the kernel was told of it.
///
/// Bounded by the kernel's own inode cache: what it drops, it forgets here. The lock is held for single operations of
/// the map only.
pub(crate) struct Inodes {
    known: Mutex<HashMap<u64, Known>>,
}

struct Known {
    node: Arc<Node>,
    lookups: u64,
}

impl Inodes {
    /// With the three directories that are always there.
    pub fn new(modified: SystemTime) -> Self {
        let fixed = [Place::Root, Place::Blobs, Place::Origins].map(|place| {
            let node = Arc::new(Node::new(place, 0, modified));
            (node.ino, Known { node, lookups: 1 })
        });
        Self { known: Mutex::new(HashMap::from(fixed)) }
    }

    pub fn get(&self, ino: u64) -> Result<Arc<Node>, FsError> {
        self.lock().get(&ino).map(|known| Arc::clone(&known.node)).ok_or(FsError::Forgotten(ino))
    }

    /// Counts one more lookup of what `node` is. Where the kernel knows it already, it stays the node that it was.
    ///
    /// Two places whose ids begin with the same 64 bits are told apart by taking the next free number.
    pub fn adopt(&self, mut node: Node) -> Arc<Node> {
        let mut map = self.lock();
        while let Some(known) = map.get_mut(&node.ino) {
            if known.node.place == node.place {
                known.lookups += 1;
                if let Some(content) = node.content.take() {
                    let _ = known.node.content.set(content);
                }
                return Arc::clone(&known.node);
            }
            node.ino = node.ino.wrapping_add(1);
        }
        let node = Arc::new(node);
        map.insert(node.ino, Known { node: Arc::clone(&node), lookups: 1 });
        node
    }

    /// The kernel takes back `lookups` of what it was told.
    pub fn forget(&self, ino: u64, lookups: u64) {
        let mut map = self.lock();
        let Some(known) = map.get_mut(&ino) else { return };
        known.lookups = known.lookups.saturating_sub(lookups);
        if known.lookups == 0 {
            map.remove(&ino);
        }
    }

    pub fn blobs(&self) -> Vec<BlobId> {
        let blob = |known: &Known| match known.node.place {
            Place::Blob(id) => Some(id),
            _ => None,
        };
        self.lock().values().filter_map(blob).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Known>> {
        // No operation leaves the map half done, so one that panicked did no harm.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inodes() -> Inodes {
        Inodes::new(SystemTime::UNIX_EPOCH)
    }

    fn blob(first: u8, last: u8) -> Node {
        let mut id = [first; 32];
        id[31] = last;
        Node::new(Place::Blob(BlobId::from_bytes(id)), 1, SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn a_node_lives_until_every_lookup_is_forgotten() {
        let inodes = inodes();
        let ino = inodes.adopt(blob(7, 7)).ino;
        assert_eq!(inodes.adopt(blob(7, 7)).ino, ino);
        inodes.forget(ino, 1);
        assert!(inodes.get(ino).is_ok());
        inodes.forget(ino, 1);
        assert!(matches!(inodes.get(ino), Err(FsError::Forgotten(_))));
    }

    #[test]
    fn ids_that_begin_alike_are_two_inodes() {
        let inodes = inodes();
        let (one, other) = (inodes.adopt(blob(7, 1)), inodes.adopt(blob(7, 2)));
        assert_ne!(one.ino, other.ino);
        assert_eq!(inodes.get(one.ino).unwrap().place, one.place);
        assert_eq!(inodes.get(other.ino).unwrap().place, other.place);
        assert_eq!(inodes.adopt(blob(7, 2)).ino, other.ino);
        assert_eq!(inodes.blobs().len(), 2);
    }

    #[test]
    fn forgetting_too_much_or_the_unknown_is_harmless() {
        let inodes = inodes();
        let ino = inodes.adopt(blob(9, 9)).ino;
        inodes.forget(ino, u64::MAX);
        inodes.forget(ino, 1);
        inodes.forget(12345, 1);
        assert!(inodes.get(crate::node::ROOT).is_ok());
    }
}
