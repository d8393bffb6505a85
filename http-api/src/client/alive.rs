use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

/// Looks within the limit. Looks are counted, and not time: after a pause of this process a peer that is well has had no word from it to answer.
const LOOKS: u32 = 4;

/// What one connection has brought and taken, and how many requests wait for it to bring more.
#[derive(Debug, Default)]
pub(super) struct Alive {
    received: AtomicU64,
    /// How often the peer acknowledged what was sent while the kernel took no more.
    acknowledged: AtomicU64,
    under_way: AtomicUsize,
    asked: Notify,
}

/// A request that is under way, until it is dropped.
pub(super) struct UnderWay(Arc<Alive>);

impl Alive {
    pub(super) fn count(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn count_acknowledged(&self) {
        self.acknowledged.fetch_add(1, Relaxed);
    }

    pub(super) fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    pub(super) fn begin(self: &Arc<Self>) -> UnderWay {
        self.under_way.fetch_add(1, Relaxed);
        self.asked.notify_one();
        UnderWay(Arc::clone(self))
    }

    /// Returns once requests were under way and for `limit` not a single byte came or was acknowledged. The answer to a ping alone would not tell a peer that is
    /// gone from one whose link is full: it comes behind a frame of 1 MiB, which takes seconds where seven peers share 25 Mbit/s, and goes out behind one.
    pub(super) async fn until_silent(&self, limit: Duration) {
        let moved = || (self.received(), self.acknowledged.load(Relaxed));
        let (mut before, mut quiet) = (moved(), 0);
        while quiet < LOOKS {
            if self.under_way.load(Relaxed) == 0 {
                self.asked.notified().await;
                quiet = 0;
            }
            sleep(limit / LOOKS).await;
            let now = moved();
            quiet = if std::mem::replace(&mut before, now) == now { quiet + 1 } else { 0 };
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, timeout};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(4);

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_brings_nothing_of_what_was_asked_is_silent() {
        let alive = Arc::new(Alive::default());
        assert!(timeout(LIMIT * 9, alive.until_silent(LIMIT)).await.is_err(), "nothing was asked");
        let _asked = alive.begin();
        let trickle = async {
            for _ in 0..9 {
                sleep(LIMIT / 2).await;
                alive.count(1);
                sleep(LIMIT / 2).await;
                alive.count_acknowledged();
            }
            Instant::now()
        };
        let silent = async {
            alive.until_silent(LIMIT).await;
            Instant::now()
        };
        let (last, silent) = tokio::join!(trickle, silent);
        assert!((LIMIT..LIMIT * 2).contains(&silent.duration_since(last)));
    }
}
