//! The same bytes twice in the page cache, and only for a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use herring_blob::{ByteRange, ContentId};
use herring_swarm::{Content, Swarm};

use crate::fs::HerringFs;

/// How long the store's pages stay when the kernel has the mount's own. Long enough that peers which want the same fresh chunk get it from memory.
const SWEEP: Duration = Duration::from_secs(5);
/// How many sweeps release a chunk: what is dirty is only written out by the first, and dropped by the second.
const RELEASES: u8 = 2;
/// Chunks noted at one time, 16 GiB at 4 MiB each. What does not fit is left to the kernel's own judgement.
const MAX_NOTED: usize = 4096;

/// The chunks of which the page cache has the store's pages while it has, by our answer, the mount's too.
pub(crate) struct Pages {
    swarm: Swarm,
    noted: Mutex<HashMap<(ContentId, u32), Noted>>,
}

struct Noted {
    content: Content,
    /// Sweeps since.
    age: u8,
}

impl Pages {
    pub fn new(swarm: Swarm) -> Self {
        Self { swarm, noted: Mutex::default() }
    }

    /// `len` bytes of `content` from `offset` on were answered out of the page cache.
    pub fn note(&self, content: &Content, offset: u64, len: usize) {
        let mut noted = self.lock();
        for chunk in content.geometry().chunks_in(ByteRange::at(offset, len as u64)) {
            if noted.len() < MAX_NOTED || noted.contains_key(&(content.id(), chunk)) {
                noted.entry((content.id(), chunk)).or_insert_with(|| Noted { content: content.clone(), age: 0 });
            }
        }
    }

    /// What is to be released now: what was noted before the last sweep.
    fn ripe(&self) -> Vec<(Content, ByteRange)> {
        let mut ripe = Vec::new();
        self.lock().retain(|(_, chunk), noted| {
            if noted.age > 0 {
                ripe.push((noted.content.clone(), noted.content.geometry().chunk_range(*chunk)));
            }
            noted.age += 1;
            noted.age <= RELEASES
        });
        ripe
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(ContentId, u32), Noted>> {
        // No operation leaves the map half done, so one that panicked did no harm.
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Releases what is noted, from time to time, for as long as it is polled.
pub(crate) async fn sweep(fs: Arc<HerringFs>) {
    let mut tick = tokio::time::interval(SWEEP);
    loop {
        tick.tick().await;
        let ripe = fs.pages().ripe();
        if ripe.is_empty() {
            continue;
        }
        let swarm = fs.pages().swarm.clone();
        let release = move || ripe.iter().for_each(|(content, range)| swarm.release_pages(content, *range));
        if tokio::task::spawn_blocking(release).await.is_err() {
            return;
        }
    }
}
