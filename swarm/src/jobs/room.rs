use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use herring_blob::{BlobId, ContentId};
use herring_store::Store;
use tokio::task::consume_budget;

use super::bring::Fault;
use crate::{Content, Swarm};

/// What a job found, and whether all of it can stay on this node's disk at the same time.
pub(super) struct Ledger {
    /// Each once, with its bytes: names, trees and directories have contents in common. As many as the store has entries for, or gets.
    contents: Mutex<HashMap<ContentId, u64>>,
    /// Bytes on the disk of those that nothing keeps there yet.
    needed: AtomicU64,
    /// Bytes that there are for them, as the job began: what becomes durable meanwhile leaves less, and needs less.
    most: u64,
    /// Has its room already.
    leased: HashSet<BlobId>,
}

impl Ledger {
    pub fn of(swarm: &Swarm) -> Self {
        let (leased, store) = (swarm.leased(), &swarm.0.store);
        let taken = leased.iter().fold(0u64, |sum, (id, size)| sum.saturating_add(store.pin_weight(&(*id).into(), *size)));
        let most = store.could_cache().saturating_sub(taken);
        Self { contents: Mutex::default(), needed: AtomicU64::new(0), most, leased: leased.into_keys().collect() }
    }

    pub fn is_new(&self, id: ContentId) -> bool {
        self.contents().insert(id, 0).is_none()
    }

    /// Fails where it could not stay beside the others.
    pub fn enter(&self, store: &Store, content: &Content) -> Result<(), Fault> {
        let (id, size) = (content.id(), content.size());
        self.contents().insert(id, size);
        let has_room = matches!(id, ContentId::Blob(id) if self.leased.contains(&id));
        let weight = if has_room { 0 } else { store.pin_weight(&id, size) };
        let (needed, most) = (self.needed.fetch_add(weight, Relaxed).saturating_add(weight), self.most);
        let full = || {
            format!(
                "no room: what was found so far needs {needed} bytes of this node's disk, and {most} are there beside what is durable or \
                pinned; ask for less, raise the node's capacity, or delete or unpin something"
            )
        };
        if weight == 0 || needed <= most { Ok(()) } else { Err(Fault::lasting(full())) }
    }

    /// There is another version in its place.
    pub fn strike(&self, old: ContentId) {
        self.contents().remove(&old);
    }

    /// The bytes of it that are on the disk now, and a content of which some are not.
    pub async fn look(self, store: &Store) -> (u64, Option<ContentId>) {
        let contents = self.contents.into_inner().unwrap_or_else(PoisonError::into_inner);
        let (mut all_here, mut gone) = (0, None);
        for (id, size) in contents {
            let here = store.get(&id).map_or(0, |entry| entry.bytes_here());
            all_here += here;
            gone = gone.or((here < size).then_some(id));
            consume_budget().await;
        }
        (all_here, gone)
    }

    fn contents(&self) -> MutexGuard<'_, HashMap<ContentId, u64>> {
        // Entries come and go whole.
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
