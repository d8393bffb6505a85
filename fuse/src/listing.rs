//! Directories that are being listed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::branch::Branch;
use crate::error::FsError;
use crate::found::Found;
use crate::layout::Segment;
use crate::node::Node;
use crate::place::Place;

mod paged;

pub(crate) use paged::{PageOf, Paged};

/// Entries of all directories that are being listed at one time and kept whole for it: about 250 bytes each, so 250 MB at worst.
pub(crate) const MAX_LISTED: u32 = 1 << 20;

/// One name in a directory, `.` and `..` included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    pub name: String,
    pub place: Place,
    pub size: u64,
    pub modified: SystemTime,
}

impl Item {
    pub fn directory(name: impl Into<String>, place: Place, modified: SystemTime) -> Self {
        Self { name: name.into(), place, size: 0, modified }
    }

    fn node(&self) -> Node {
        Node::new(self.place.clone(), self.size, self.modified)
    }
}

/// `.` and `..` are told to the kernel, but it does not count them as lookups.
pub(crate) fn is_dot(name: &str) -> bool {
    name == "." || name == ".."
}

/// How a directory is listed.
#[derive(Clone)]
pub(crate) enum Listing {
    /// As it was when its listing began, so that a reader who comes back for more misses nothing and sees nothing twice.
    Whole(Arc<Whole<Item>>),
    /// The same, but what names point at is looked for as far as somebody reads.
    Names(Arc<Whole<Segment>>),
    /// Page by page, as the origin has it.
    Paged(Arc<Paged>),
}

/// All of a directory.
pub(crate) struct Whole<T> {
    pub items: Vec<T>,
    /// How often names had been taken back before it was made.
    pub since: u64,
    _room: OwnedSemaphorePermit,
}

/// As much of a directory as there is at hand, from the offset on that its reader asked for.
pub(crate) enum Part {
    Whole(Arc<Whole<Item>>, u64),
    Names(Vec<(u64, String, Found)>, u64),
    Page(PageOf),
    Branch(Branch, u64),
}

impl Part {
    /// How often names had been taken back before it was made. Trees' entries have theirs for ever.
    pub fn since(&self) -> Option<u64> {
        match self {
            Self::Whole(whole, _) => Some(whole.since),
            Self::Names(_, since) => Some(*since),
            Self::Page(page) => Some(page.since),
            Self::Branch(..) => None,
        }
    }

    /// Each with the offset of what follows it.
    pub fn items(&self) -> Box<dyn Iterator<Item = (u64, &str, Found)> + '_> {
        match self {
            Self::Whole(whole, offset) => Box::new(whole.from(*offset).map(of_item)),
            Self::Names(items, _) => Box::new(items.iter().map(|(next, name, found)| (*next, name.as_str(), found.clone()))),
            Self::Page(page) => Box::new(page.items()),
            Self::Branch(branch, offset) => Box::new(branch.list(*offset)),
        }
    }
}

fn of_item((next, item): (u64, &Item)) -> (u64, &str, Found) {
    (next, &item.name, Found::Node(item.node()))
}

impl<T> Whole<T> {
    /// The items from `offset` on, each with the offset of what follows it.
    pub fn from(&self, offset: u64) -> impl Iterator<Item = (u64, &T)> {
        let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
        (1..).zip(&self.items).skip(skipped)
    }
}

/// The listings of the directories that are open, by handle. A handle costs nothing before it is read.
pub(crate) struct Listings {
    open: Mutex<HashMap<u64, Listing>>,
    next: AtomicU64,
    room: Arc<Semaphore>,
}

impl Listings {
    pub fn new() -> Self {
        Self { open: Mutex::default(), next: AtomicU64::new(1), room: Arc::new(Semaphore::new(MAX_LISTED as usize)) }
    }

    pub fn handle(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    pub fn get(&self, handle: u64) -> Option<Listing> {
        self.lock().get(&handle).cloned()
    }

    pub fn put(&self, handle: u64, listing: Listing) {
        self.lock().insert(handle, listing);
    }

    /// All of a directory, if there is room for it.
    pub fn whole<T>(&self, items: Vec<T>, since: u64) -> Result<Arc<Whole<T>>, FsError> {
        let wanted = u32::try_from(items.len()).map_err(|_| FsError::ListingsFull)?;
        let room = Arc::clone(&self.room).try_acquire_many_owned(wanted).map_err(|_| FsError::ListingsFull)?;
        Ok(Arc::new(Whole { items, since, _room: room }))
    }

    pub fn close(&self, handle: u64) {
        self.lock().remove(&handle);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Listing>> {
        // No operation leaves the map half done, so one that panicked did no harm.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(count: usize) -> Vec<Item> {
        (0..count).map(|n| Item::directory(n.to_string(), Place::Root, SystemTime::UNIX_EPOCH)).collect()
    }

    #[test]
    fn a_listing_goes_on_where_it_stopped() {
        let whole = Listings::new().whole(items(5), 0).unwrap();
        let (next, _) = whole.from(0).nth(1).unwrap();
        let rest: Vec<_> = whole.from(next).map(|(_, item)| item.name.as_str()).collect();
        assert_eq!(rest, ["2", "3", "4"]);
        assert_eq!(whole.from(5).count(), 0);
        assert_eq!(whole.from(u64::MAX).count(), 0);
    }

    #[test]
    fn entries_are_bounded_and_given_back() {
        let listings = Listings::new();
        let handle = listings.handle();
        listings.put(handle, Listing::Whole(listings.whole(items(MAX_LISTED as usize), 0).unwrap()));
        assert!(matches!(listings.whole(items(1), 0), Err(FsError::ListingsFull)));
        listings.close(handle);
        assert!(listings.get(handle).is_none());
        assert!(listings.whole(items(1), 0).is_ok());
    }
}
