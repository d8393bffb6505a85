//! The trees of which the kernel knows something.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use herring_blob::BlobId;
use herring_swarm::{Content, OpenTree};
use tokio::sync::{Notify, OnceCell};

use crate::branch::Branch;
use crate::place::{FIRST_OF_TREES, Place, number};

/// Entries of all trees that the kernel knows something of, some 500 MB. With more, it is made to forget those of which nobody used the name for longest.
const MOST: u64 = 4 << 20;
/// When the name of a tree was used last that was taken back.
const TAKEN_BACK: u64 = 0;

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

    /// What it takes, in entries. A blob takes about as much as one.
    fn weight(&self) -> u64 {
        self.len() + self.open.tree.blobs().len() as u64
    }

    /// The directory that its name is in, and what it is called there.
    fn place(&self) -> (u64, String) {
        let name = self.name.rsplit('/').next().unwrap_or_default();
        (Place::of_name(&self.name).ino(), name.to_owned())
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
    /// When its name was used last, by the trees' own clock.
    used: AtomicU64,
    /// See [`Self::directories`].
    directories: OnceLock<Box<[(usize, u32)]>>,
}

impl Planted {
    fn new(first: u64, root: Root) -> Self {
        let contents = root.open.tree.blobs().iter().map(|_| OnceCell::new()).collect();
        let (lookups, used) = (AtomicU64::new(1), AtomicU64::new(TAKEN_BACK));
        Self { first, root, contents, lookups, used, directories: OnceLock::new() }
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

    /// How many directories are directly in the one with index `at`.
    pub fn inside(&self, at: usize) -> u32 {
        let directories = self.directories.get_or_init(|| self.directories());
        directories.binary_search_by_key(&at, |(at, _)| *at).map_or(0, |found| directories[found].1)
    }

    /// All directories by index, each with how many are directly in it. Counted once, in one pass: to count the children of one whenever the kernel asks takes
    /// 0.2 s where there are 100,000, and it asks for a root ten times a second.
    fn directories(&self) -> Box<[(usize, u32)]> {
        let tree = &self.root.open.tree;
        // Those that lead to the last one, each as its place in `all` and where it ends.
        let (mut all, mut open) = (Vec::<(usize, u32)>::new(), Vec::<(usize, usize)>::new());
        for (at, _) in tree.entries().iter().enumerate().filter(|(_, entry)| entry.is_directory()) {
            while open.pop_if(|(_, end)| *end <= at).is_some() {}
            if let Some((parent, _)) = open.last() {
                all[*parent].1 += 1;
            }
            open.push((all.len(), tree.below(at).end));
            all.push((at, 0));
        }
        all.into()
    }

    fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

/// By their first inode numbers.
pub(crate) struct Trees {
    planted: RwLock<BTreeMap<u64, Arc<Planted>>>,
    /// Entries that there may be before names are taken back.
    most: u64,
    /// Counts the uses of names.
    clock: AtomicU64,
    /// There are more.
    crowded: Notify,
}

impl Default for Trees {
    fn default() -> Self {
        Self::new(MOST)
    }
}

impl Trees {
    fn new(most: u64) -> Self {
        Self { planted: RwLock::default(), most, clock: AtomicU64::new(TAKEN_BACK + 1), crowded: Notify::new() }
    }

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
                let other = Arc::clone(other);
                self.touch(&planted, &other);
                return Branch::new(other, 0);
            }
            first = other.end();
        }
        let tree = Arc::new(Planted::new(first, root.clone()));
        planted.insert(first, Arc::clone(&tree));
        self.touch(&planted, &tree);
        Branch::new(tree, 0)
    }

    /// The name of `tree` is being used.
    fn touch(&self, planted: &BTreeMap<u64, Arc<Planted>>, tree: &Planted) {
        let before = tree.used.swap(self.clock.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        if before == TAKEN_BACK && planted.values().map(|tree| tree.root.weight()).sum::<u64>() > self.most {
            self.crowded.notify_one();
        }
    }

    /// The names to take back, as directory and name, once there are too many entries: the kernel forgets then what is below them, but what is open.
    pub async fn crowded(&self) -> Vec<(u64, String)> {
        self.crowded.notified().await;
        self.oldest()
    }

    /// The last one that was used stays, whatever its size; none is given twice unless it was used again.
    fn oldest(&self) -> Vec<(u64, String)> {
        let planted = self.read();
        let mut named: Vec<_> = planted.values().filter(|tree| tree.used() != TAKEN_BACK).collect();
        named.sort_unstable_by_key(|tree| tree.used());
        let mut left: u64 = named.iter().map(|tree| tree.root.weight()).sum();
        named.pop();
        let too_many = named.into_iter().take_while(|tree| {
            let is_crowded = left > self.most;
            left -= tree.root.weight();
            is_crowded
        });
        let take_back = |tree: &Arc<Planted>| {
            tree.used.store(TAKEN_BACK, Ordering::Relaxed);
            tree.root.place()
        };
        too_many.map(take_back).collect()
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
