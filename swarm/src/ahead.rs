//! Fetching what a reader will want soon, while it still reads what it has.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use herring_blob::ByteRange;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::config::MEMORY_DEADLINE;
use crate::fetch::{Role, Want};
use crate::{Content, Swarm};

/// How far is sent for ahead, for each byte that was read in one run: after 32 MiB a full window.
const FACTOR: u64 = 8;
/// Up to how many chunks all of a content is sent for once somebody begins to read it, 16 MiB: an origin 100 ms away that gives 100 MB/s sends
/// 10 MiB in the time that one more round trip takes.
const SMALL: u32 = 4;
/// Who begins to read it: one that read a sixteenth of a chunk in one run, 256 KiB. The kernel asks for 16 KiB where the first 4 are read, and for 512
/// where 128 are.
const BEGUN: u32 = 16;
/// Chunks in flight ahead of one reader: within the 8–12 streams that fill a connection.
const IN_FLIGHT: usize = 12;
/// With how many that begins: with all of something small.
const AT_FIRST: usize = SMALL as usize;
/// A reader that has not moved for this long has stopped.
const IDLE: Duration = Duration::from_secs(5);

/// What fetches ahead of one reader: a task that ends when the reader has stopped.
#[derive(Debug, Default)]
pub(crate) struct Ahead(Option<watch::Sender<Aim>>);

/// The chunks to have soon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Aim {
    from: u32,
    until: u32,
}

impl Ahead {
    /// The reader is at the start of `ahead` and will want all of it. Does not wait.
    pub fn aim(&mut self, swarm: &Swarm, content: &Content, ahead: ByteRange) {
        let chunks = content.geometry().chunks_in(ahead);
        let aim = Aim { from: chunks.start, until: chunks.end };
        if chunks.is_empty() {
            return;
        }
        match &self.0 {
            Some(task) if !task.is_closed() => {
                task.send_if_modified(|now| std::mem::replace(now, aim) != aim);
            }
            _ => {
                let (task, aims) = watch::channel(aim);
                self.0 = Some(task);
                let (ahead, stop) = (swarm.clone().run_ahead(content.clone(), aims), swarm.0.stop.clone());
                swarm.0.tasks.spawn_on(
                    async move {
                        tokio::select! {
                            () = ahead => {}
                            () = stop.cancelled() => {}
                        }
                    },
                    &swarm.0.runtime,
                );
            }
        }
    }
}

impl Swarm {
    /// Notes that a reader reads `range`, and sends for more ahead of one that goes forward.
    pub(crate) fn note(&self, content: &Content, range: ByteRange) {
        let (after, window) = (self.0.config.read_ahead_after, self.0.config.read_ahead);
        if window == 0 {
            return;
        }
        let geometry = content.geometry();
        let is_small = (2..=SMALL).contains(&geometry.chunk_count());
        let after = if is_small { after.min(u64::from(geometry.chunk_size() / BEGUN)) } else { after };
        content.streams(|streams| {
            if let Some(forward) = streams.note(range, after) {
                let far = if is_small { content.size() } else { forward.run.saturating_mul(FACTOR) };
                forward.kept.aim(self, content, ByteRange::at(forward.next, far.min(window)));
            }
        });
    }

    /// Brings chunk after chunk of where the reader aims; ends where one cannot be had, since a reader that gets so far says so.
    async fn run_ahead(self, content: Content, mut aims: watch::Receiver<Aim>) {
        let (mut flying, mut next) = (FuturesUnordered::new(), 0);
        // Grows with every chunk, to twice as many each time round: on a slow link, what is sent for ahead would take the
        // bandwidth from what the reader waits for (at 100 Mbit/s the first MiB came after 0.6 s instead of 0.1 to 0.35).
        let mut width = AT_FIRST;
        let mut idle_from = Instant::now() + IDLE;
        while Instant::now() < idle_from {
            let aim = *aims.borrow_and_update();
            next = aim.from.max(next);
            if next < aim.until && flying.len() < width {
                if !self.is_here(&content, next) {
                    if !self.has_room(&content) {
                        return;
                    }
                    flying.push(self.fetch_ahead(&content, next, aim.until));
                }
                next += 1;
                continue;
            }
            tokio::select! {
                Some(landed) = flying.next() => match landed {
                    true => width = (width + 1).min(IN_FLIGHT),
                    false => return,
                },
                aimed = aims.changed() => match aimed {
                    Ok(()) => idle_from = Instant::now() + IDLE,
                    Err(_) => return,
                },
                () = sleep_until(idle_from) => return,
            }
            // Back to where the reader is, where that jumped.
            if aims.borrow().until < next.saturating_sub(1) {
                next = 0;
            }
        }
    }

    /// Whether the disk can keep what is fetched until the reader is there. What has no entry is kept nowhere: a blob that was removed.
    pub(crate) fn has_room(&self, content: &Content) -> bool {
        let gone = matches!(content.source(), crate::Source::Blob(_)) && self.0.store.get(&content.id()).is_none();
        let needed = u64::from(content.geometry().chunk_size()).saturating_mul(IN_FLIGHT as u64);
        !gone && self.0.store.free() >= needed
    }

    /// Whether the chunk landed on the disk. Of the readers' memory only half is for what nobody waits for yet.
    pub(crate) async fn fetch_ahead(&self, content: &Content, chunk: u32, until: u32) -> bool {
        let length = content.geometry().chunk_range(chunk).len();
        let Ok(_share) = self.0.ahead_memory.take(length, MEMORY_DEADLINE).await else { return false };
        let landed = self.launch(content, chunk, Want { first: 0, until }, Role::Reader).landed().await;
        landed && self.is_here(content, chunk)
    }
}
