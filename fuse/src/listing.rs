use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::FsError;
use crate::node::Place;

/// Entries of all directories that are being listed at one time: about 250 bytes each, so 250 MB at worst.
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

    /// `.` and `..` are told to the kernel, but it does not count them as lookups.
    pub fn is_dot(&self) -> bool {
        self.name == "." || self.name == ".."
    }
}

/// A directory as it was when its listing began, so that a reader who comes back for more misses nothing and sees nothing twice.
pub(crate) struct Listing {
    items: Vec<Item>,
    since: u64,
    _room: OwnedSemaphorePermit,
}

impl Listing {
    /// How many deletions there were before it was made.
    pub fn since(&self) -> u64 {
        self.since
    }

    /// The items from `offset` on, each with the offset of what follows it.
    pub fn from(&self, offset: u64) -> impl Iterator<Item = (u64, &Item)> {
        let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
        (1..).zip(&self.items).skip(skipped)
    }
}

/// The listings of the directories that are open, by handle. A handle costs nothing before it is read.
pub(crate) struct Listings {
    open: Mutex<HashMap<u64, Arc<Listing>>>,
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

    pub fn get(&self, handle: u64) -> Option<Arc<Listing>> {
        self.lock().get(&handle).cloned()
    }

    pub fn put(&self, handle: u64, items: Vec<Item>, since: u64) -> Result<Arc<Listing>, FsError> {
        let wanted = u32::try_from(items.len()).map_err(|_| FsError::ListingsFull)?;
        let room = Arc::clone(&self.room).try_acquire_many_owned(wanted).map_err(|_| FsError::ListingsFull)?;
        let listing = Arc::new(Listing { items, since, _room: room });
        self.lock().insert(handle, Arc::clone(&listing));
        Ok(listing)
    }

    pub fn close(&self, handle: u64) {
        self.lock().remove(&handle);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Listing>>> {
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
        let listings = Listings::new();
        let listing = listings.put(listings.handle(), items(5), 0).unwrap();
        let (next, _) = listing.from(0).nth(1).unwrap();
        let rest: Vec<_> = listing.from(next).map(|(_, item)| item.name.as_str()).collect();
        assert_eq!(rest, ["2", "3", "4"]);
        assert_eq!(listing.from(5).count(), 0);
        assert_eq!(listing.from(u64::MAX).count(), 0);
    }

    #[test]
    fn entries_are_bounded_and_given_back() {
        let listings = Listings::new();
        let handle = listings.handle();
        drop(listings.put(handle, items(MAX_LISTED as usize), 0).unwrap());
        assert!(matches!(listings.put(listings.handle(), items(1), 0), Err(FsError::ListingsFull)));
        listings.close(handle);
        assert!(listings.get(handle).is_none());
        assert!(listings.put(listings.handle(), items(1), 0).is_ok());
    }
}
