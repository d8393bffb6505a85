//! Reading again what nobody reads, so that rot is found while others still have what it spoilt.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use herring_store::{Entry, Scrubbed};
use tokio::time::sleep;

use crate::Swarm;

/// Within which each entry's files are looked for: 300 looks a second where there are a million.
const FILES: Duration = Duration::from_secs(3600);
const LONGEST_LOOK: Duration = Duration::from_secs(5);
/// Where some were gone: a thousand a second.
const AT_ONCE: Duration = Duration::from_millis(1);
/// Between two looks at a store with nothing in it.
const EMPTY: Duration = Duration::from_secs(60);
/// The longest pause between two chunks: a store with little in it is read more often than it must be.
const LONGEST: Duration = Duration::from_secs(600);

impl Swarm {
    /// All of the store, over and over, each time within the period that is configured.
    pub(super) async fn scrub_all(self) {
        let period = self.0.config.scrub_period;
        if period.is_zero() {
            return;
        }
        loop {
            let entries: Vec<Entry> = self.0.store.blobs().into_iter().chain(self.0.store.objects()).collect();
            let total: u64 = entries.iter().map(|entry| u64::from(entry.present_count())).sum();
            if total == 0 {
                sleep(EMPTY.min(period)).await;
            }
            // Twice in a period, since what comes after the beginning is read only the next time.
            let pause = (period / 2 / u32::try_from(total).unwrap_or(u32::MAX).max(1)).min(LONGEST);
            for entry in in_turn(&entries) {
                self.scrub(entry, pause).await;
            }
        }
    }

    /// Looks, over and over, whether all files are still there: within an hour, whatever nobody reads. Where one is gone, others may be: then all are looked for
    /// at once.
    pub(super) async fn look_for_all_files(self) {
        let (store, mut known) = (&self.0.store, 0);
        loop {
            let entries: Vec<Entry> = store.blobs().into_iter().chain(store.objects()).collect();
            let pause = (FILES / u32::try_from(entries.len()).unwrap_or(u32::MAX).max(1)).min(LONGEST_LOOK);
            let before = store.lost_entries();
            for entry in in_turn(&entries) {
                sleep(if store.lost_entries() > known { AT_ONCE } else { pause }).await;
                if !entry.look_for_files().await {
                    self.0.custody.kick();
                }
            }
            // What went since this round began, behind where it was, the next one finds.
            known = before;
            if entries.is_empty() {
                sleep(EMPTY).await;
            }
        }
    }

    async fn scrub(&self, entry: &Entry, pause: Duration) {
        for chunk in (0..entry.geometry().chunk_count()).filter(|chunk| entry.has(*chunk)) {
            sleep(pause).await;
            match entry.scrub(chunk).await {
                // Others have it, and offer it when they see that it is missing here.
                Ok(Scrubbed::Rotten) => self.0.custody.kick(),
                Ok(Scrubbed::Right) => _ = self.0.custody.scrubbed.fetch_add(entry.geometry().chunk_range(chunk).len(), Relaxed),
                Ok(Scrubbed::Absent) => {}
                Err(error) => tracing::warn!(id = %entry.id(), chunk, %error, "a chunk could not be scrubbed"),
            }
        }
    }
}

/// From anywhere on, so that a node that restarts often does not always read the same ones.
fn in_turn(entries: &[Entry]) -> impl Iterator<Item = &Entry> {
    let start = usize::try_from(uuid::Uuid::new_v4().as_u64_pair().1 >> 32).unwrap_or(0) % entries.len().max(1);
    entries[start..].iter().chain(&entries[..start])
}
