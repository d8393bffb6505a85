//! What leases keep and is not all here is brought again: after a restart, when those who have it are back, after rot, when there is room.

use herring_blob::BlobId;
use herring_http_api::types::Prefetch;
use herring_store::Entry;
use tokio::time::Instant;

use super::lease::Lease;
use crate::Swarm;
use crate::jobs::now_ms;

/// Jobs for leases at a time: half of those that work at a time, so that what somebody asks for now goes on beside them. The others wait for a
/// later sweep; those that waited longest come first.
const AT_ONCE: usize = 8;

impl Swarm {
    pub(super) async fn bring_pins(&self) {
        let _turn = self.0.pins.turn.lock().await;
        for id in self.due_pins(Instant::now()) {
            self.bring_pin(id).await;
        }
    }

    /// Called in the turn, where no job brings this already. One that cannot begin now does at a later sweep.
    pub(super) async fn bring_pin(&self, id: BlobId) {
        if let Err(error) = self.prefetch(Prefetch { blobs: vec![id], ..Prefetch::default() }).await {
            tracing::warn!(%id, %error, "what is pinned is not brought now; it is tried again");
        }
    }

    /// Those whose time has come, no blob twice; they count as tried.
    fn due_pins(&self, now: Instant) -> Vec<BlobId> {
        let (mut under_way, now_ms) = (self.0.jobs.bringing(), now_ms());
        let (mut running, mut due) = (0, Vec::new());
        let mut pins = self.0.pins.write();
        for lease in pins.values_mut().filter(|lease| lease.pin.lasts(now_ms) && !self.0.fates.is_deleted(&lease.pin.id)) {
            let id = lease.pin.id;
            if self.is_all_here(lease) {
                lease.again = Default::default();
            } else if under_way.contains(&id) {
                running += 1;
            } else if lease.again.is_due(now) {
                under_way.insert(id);
                due.push(lease);
            }
        }
        due.sort_unstable_by_key(|lease| lease.again.at);
        due.truncate(AT_ONCE.saturating_sub(running));
        let tried = |lease: &mut Lease| {
            lease.again.tried(now);
            lease.pin.id
        };
        due.into_iter().map(tried).collect()
    }

    pub(super) fn is_all_here(&self, lease: &Lease) -> bool {
        lease.blobs.keys().all(|id| self.0.store.get(&(*id).into()).as_ref().is_some_and(Entry::is_complete))
    }
}
