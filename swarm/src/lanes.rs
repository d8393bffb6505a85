//! How many chunks are sent for at once before anybody waits for them.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};

/// Chunks of 4 MiB that take longer than this share a link that is full: more at once would only make each of them slower, and those who get it from
/// here wait longer for its first bytes. At 1 Gbit/s it is 6 of them.
const LONG: Duration = Duration::from_millis(200);
/// So many always: while one is asked for another comes.
const FEWEST: usize = 2;

/// Whatever brings chunks takes a lane for each.
pub(crate) struct Lanes {
    free: Semaphore,
    most: usize,
    now: AtomicUsize,
}

pub(crate) struct Lane<'a> {
    lanes: &'a Lanes,
    permit: SemaphorePermit<'a>,
    since: Instant,
}

/// How many lanes there are to be after a chunk took so long.
pub(crate) fn after(lanes: usize, took: Duration, most: usize) -> usize {
    if took < LONG { (lanes + 1).min(most) } else { lanes.saturating_sub(1).max(FEWEST.min(lanes)) }
}

impl Lanes {
    pub fn new(most: usize) -> Self {
        let now = FEWEST.min(most);
        Self { free: Semaphore::new(now), most, now: AtomicUsize::new(now) }
    }

    pub async fn take(&self) -> Lane<'_> {
        let permit = self.free.acquire().await.expect("the semaphore is never closed");
        Lane { lanes: self, permit, since: Instant::now() }
    }

    /// Those that are taken.
    pub fn taken(&self) -> usize {
        self.now.load(Relaxed).saturating_sub(self.free.available_permits())
    }
}

impl Lane<'_> {
    /// The chunk is here.
    pub fn landed(self) {
        let Self { lanes, permit, since } = self;
        let now = lanes.now.load(Relaxed);
        let then = after(now, since.elapsed(), lanes.most);
        // Who changes it at the same time is right as well.
        if then == now || lanes.now.compare_exchange(now, then, Relaxed, Relaxed).is_err() {
            return;
        }
        if then > now { lanes.free.add_permits(1) } else { permit.forget() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn quick_chunks_open_lanes_and_slow_ones_close_them() {
        let lanes = Lanes::new(6);
        for expected in [3, 4, 5, 6, 6] {
            lanes.take().await.landed();
            assert_eq!(lanes.free.available_permits(), expected);
        }
        for expected in [5, 4, 3, 2, 2] {
            let lane = lanes.take().await;
            assert_eq!(lanes.taken(), 1);
            Lane { since: Instant::now().checked_sub(LONG).unwrap(), ..lane }.landed();
            assert_eq!((lanes.free.available_permits(), lanes.taken()), (expected, 0));
        }
        assert_eq!([after(1, LONG, 12), after(2, LONG, 12), after(12, Duration::ZERO, 12)], [1, 2, 12]);
    }
}
