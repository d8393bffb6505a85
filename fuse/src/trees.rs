//! The trees of which the kernel knows something.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use herring_blob::BlobId;
use herring_swarm::{Content, OpenTree};
use tokio::sync::OnceCell;

use crate::branch::Branch;
use crate::place::{FIRST_OF_TREES, number};

/// A tree under its name.
#[derive(Debug, Clone)]
pub(crate) struct Root {
    pub name: String,
    pub open: Arc<OpenTree>,
}

impl Root {
    /// The inode number of the tree's root directory unless the numbers from there on are taken.
    ///
    /// The name is in it, since the kernel will not have one directory in two places.
    pub fn ino(&self) -> u64 {
        let digest = BlobId::of(format!("{}\n{}", self.open.id, self.name).as_bytes());
        // A quarter of all numbers is left behind the highest, so no tree reaches the end.
        FIRST_OF_TREES | (number(digest.as_bytes()) >> 2)
    }

    fn len(&self) -> u64 {
        self.open.tree.entries().len() as u64
    }
}

/// A tree as the kernel knows it: its entries' inode numbers are the first one plus their indices, so that they cost no memory.
#[derive(Debug)]
pub(crate) struct Planted {
    pub first: u64,
    pub root: Root,
    /// The contents of its blobs, once something of them was read.
    pub contents: Box<[OnceCell<Content>]>,
    /// How often the kernel was told of its entries, all together.
    lookups: AtomicU64,
}

impl Planted {
    fn new(first: u64, root: Root) -> Self {
        let contents = root.open.tree.blobs().iter().map(|_| OnceCell::new()).collect();
        Self { first, root, contents, lookups: AtomicU64::new(1) }
    }

    fn end(&self) -> u64 {
        self.first + self.root.len()
    }

    fn is(&self, root: &Root) -> bool {
        self.root.name == root.name && self.root.open.id == root.open.id
    }

    /// The kernel is told of one more entry. It has been told of another and holds that, so the tree stays.
    pub fn count(&self) {
        self.lookups.fetch_add(1, Ordering::Relaxed);
    }
}

/// By their first inode numbers.
#[derive(Default)]
pub(crate) struct Trees {
    planted: RwLock<BTreeMap<u64, Arc<Planted>>>,
}

impl Trees {
    /// The entry with this inode number. No lock is waited for unless a tree is being planted.
    pub fn get(&self, ino: u64) -> Option<Branch> {
        if ino < FIRST_OF_TREES {
            return None;
        }
        let planted = self.read();
        let (first, tree) = planted.range(..=ino).next_back()?;
        let at = usize::try_from(ino - first).ok().filter(|at| *at < tree.root.open.tree.entries().len())?;
        Some(Branch::new(Arc::clone(tree), at))
    }

    /// A tree that some name shows already, so that nobody need be asked for it.
    pub fn find(&self, id: BlobId) -> Option<Arc<OpenTree>> {
        let planted = self.read();
        planted.values().map(|tree| &tree.root.open).find(|open| open.id == id).cloned()
    }

    /// The root directory of a tree. Counts as one lookup.
    pub fn plant(&self, root: &Root) -> Branch {
        let mut planted = self.write();
        let mut first = root.ino();
        // Trees whose numbers overlap are told apart by taking the next free ones.
        while let Some((_, other)) = planted.range(..first + root.len()).next_back().filter(|(_, other)| other.end() > first) {
            if other.is(root) {
                other.count();
                return Branch::new(Arc::clone(other), 0);
            }
            first = other.end();
        }
        let tree = Arc::new(Planted::new(first, root.clone()));
        planted.insert(first, Arc::clone(&tree));
        Branch::new(tree, 0)
    }

    /// The kernel takes back `lookups` of what it was told. False where this is no entry of a tree.
    pub fn forget(&self, ino: u64, lookups: u64) -> bool {
        let Some(branch) = self.get(ino) else { return ino >= FIRST_OF_TREES };
        let tree = branch.tree();
        let less = |known: u64| Some(known.saturating_sub(lookups));
        // The closure always gives something.
        let before = tree.lookups.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).unwrap_or_default();
        if before <= lookups {
            let mut planted = self.write();
            // Somebody may have found it by its name in the meantime.
            if tree.lookups.load(Ordering::Relaxed) == 0 {
                planted.remove(&tree.first);
            }
        }
        true
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<u64, Arc<Planted>>> {
        // No operation leaves the map half done, so one that panicked did no harm.
        self.planted.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<u64, Arc<Planted>>> {
        self.planted.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
