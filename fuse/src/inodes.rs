use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::error::FsError;
use crate::node::Node;
use crate::place::{Place, ROOT, next_number};

/// The nodes that the kernel knows, by inode number, each with how often the kernel was told of it.
///
/// Bounded by the kernel's own inode cache: what it drops, it forgets here. The lock is held for single operations of
/// the maps only.
pub(crate) struct Inodes {
    known: Mutex<Maps>,
}

#[derive(Default)]
struct Maps {
    nodes: HashMap<u64, Known>,
    /// By directory, so that all names in one can be checked without looking at the others.
    children: HashMap<u64, HashSet<u64>>,
}

struct Known {
    node: Arc<Node>,
    parent: u64,
    lookups: u64,
    /// Whether the kernel believes the name. An inode outlives its name for as long as a file is open.
    named: bool,
}

impl Inodes {
    /// With the directories that are always there.
    pub fn new(modified: SystemTime) -> Self {
        let fixed = [Place::Root, Place::Blobs, Place::Origins, Place::Local, Place::Names { prefix: String::new() }];
        let fixed = fixed.map(|place| {
            let node = Arc::new(Node::new(place, 0, modified));
            (node.ino, Known { node, parent: ROOT, lookups: 1, named: false })
        });
        Self { known: Mutex::new(Maps { nodes: HashMap::from(fixed), children: HashMap::new() }) }
    }

    pub fn get(&self, ino: u64) -> Result<Arc<Node>, FsError> {
        self.lock().nodes.get(&ino).map(|known| Arc::clone(&known.node)).ok_or(FsError::Forgotten(ino))
    }

    /// Counts one more lookup of what `node` is, in the directory `parent`. Where the kernel knows it already, it stays the node that it was.
    ///
    /// Two places whose ids begin with the same 64 bits are told apart by taking the next free number.
    pub fn adopt(&self, parent: u64, mut node: Node) -> Arc<Node> {
        let mut maps = self.lock();
        while let Some(known) = maps.nodes.get_mut(&node.ino) {
            if known.node.place == node.place {
                known.lookups += 1;
                known.named = true;
                if let Some(content) = node.content.take() {
                    let _ = known.node.content.set(content);
                }
                return Arc::clone(&known.node);
            }
            node.ino = next_number(node.ino);
        }
        let node = Arc::new(node);
        maps.nodes.insert(node.ino, Known { node: Arc::clone(&node), parent, lookups: 1, named: true });
        maps.children.entry(parent).or_default().insert(node.ino);
        node
    }

    /// The kernel takes back `lookups` of what it was told.
    pub fn forget(&self, ino: u64, lookups: u64) {
        let mut maps = self.lock();
        let Some(known) = maps.nodes.get_mut(&ino) else { return };
        known.lookups = known.lookups.saturating_sub(lookups);
        if known.lookups > 0 {
            return;
        }
        let parent = known.parent;
        maps.nodes.remove(&ino);
        if let Some(children) = maps.children.get_mut(&parent) {
            children.remove(&ino);
            if children.is_empty() {
                maps.children.remove(&parent);
            }
        }
    }

    /// What the kernel knows by name in the directory `parent`.
    pub fn named(&self, parent: u64) -> Vec<Arc<Node>> {
        let maps = self.lock();
        let children = maps.children.get(&parent).into_iter().flatten();
        children.filter_map(|ino| maps.nodes.get(ino)).filter(|known| known.named).map(|known| Arc::clone(&known.node)).collect()
    }

    /// The directories in which the kernel knows something.
    pub fn parents(&self) -> Vec<Arc<Node>> {
        let maps = self.lock();
        maps.children.keys().filter_map(|ino| maps.nodes.get(ino)).map(|known| Arc::clone(&known.node)).collect()
    }

    /// The name of `ino` is being taken back. Gives the directory that it is in.
    pub fn unname(&self, ino: u64) -> Option<u64> {
        let mut maps = self.lock();
        let known = maps.nodes.get_mut(&ino)?;
        known.named = false;
        Some(known.parent)
    }

    fn lock(&self) -> MutexGuard<'_, Maps> {
        // A panic can only have left a number too many among the children, which is skipped.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use herring_blob::BlobId;

    use super::*;
    use crate::place::BLOBS;

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
        let ino = inodes.adopt(BLOBS, blob(7, 7)).ino;
        assert_eq!(inodes.adopt(BLOBS, blob(7, 7)).ino, ino);
        inodes.forget(ino, 1);
        assert!(inodes.get(ino).is_ok());
        inodes.forget(ino, 1);
        assert!(matches!(inodes.get(ino), Err(FsError::Forgotten(_))));
    }

    #[test]
    fn ids_that_begin_alike_are_two_inodes() {
        let inodes = inodes();
        let (one, other) = (inodes.adopt(BLOBS, blob(7, 1)), inodes.adopt(BLOBS, blob(7, 2)));
        assert_ne!(one.ino, other.ino);
        assert_eq!(inodes.get(one.ino).unwrap().place, one.place);
        assert_eq!(inodes.get(other.ino).unwrap().place, other.place);
        assert_eq!(inodes.adopt(BLOBS, blob(7, 2)).ino, other.ino);
        assert_eq!(inodes.named(BLOBS).len(), 2);
    }

    #[test]
    fn forgetting_too_much_or_the_unknown_is_harmless() {
        let inodes = inodes();
        let ino = inodes.adopt(BLOBS, blob(9, 9)).ino;
        inodes.forget(ino, u64::MAX);
        inodes.forget(ino, 1);
        inodes.forget(12345, 1);
        assert!(inodes.get(crate::place::ROOT).is_ok());
    }

    #[test]
    fn a_name_that_was_taken_back_is_known_no_more_until_it_is_told_again() {
        let inodes = inodes();
        let ino = inodes.adopt(BLOBS, blob(7, 7)).ino;
        assert_eq!(inodes.parents().iter().map(|node| node.ino).collect::<Vec<_>>(), [BLOBS]);
        assert_eq!(inodes.unname(ino), Some(BLOBS));
        assert_eq!(inodes.named(BLOBS).len(), 0);
        assert!(inodes.get(ino).is_ok(), "a file of it may be open");
        inodes.adopt(BLOBS, blob(7, 7));
        assert_eq!(inodes.named(BLOBS).len(), 1);
        inodes.forget(ino, 2);
        assert_eq!((inodes.named(BLOBS).len(), inodes.parents().len()), (0, 0));
    }
}
