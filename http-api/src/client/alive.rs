use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

/// What one connection has brought, and how many requests wait for it to bring more.
#[derive(Debug, Default)]
pub(super) struct Alive {
    received: AtomicU64,
    under_way: AtomicUsize,
    asked: Notify,
}

/// A request that is under way, until it is dropped.
pub(super) struct UnderWay(Arc<Alive>);

impl Alive {
    pub(super) fn count(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    pub(super) fn begin(self: &Arc<Self>) -> UnderWay {
        self.under_way.fetch_add(1, Relaxed);
        self.asked.notify_one();
        UnderWay(Arc::clone(self))
    }

    /// Returns once requests were under way and not a single byte came for `limit`. The answer to a ping alone would not tell a peer that is
    /// gone from one whose link is full: it comes behind a frame of 1 MiB, which takes seconds where seven peers share 25 Mbit/s.
    pub(super) async fn until_silent(&self, limit: Duration) {
        let (mut received, mut since) = (self.received(), Instant::now());
        while since.elapsed() < limit {
            if self.under_way.load(Relaxed) == 0 {
                self.asked.notified().await;
                since = Instant::now();
            }
            sleep(limit / 4).await;
            let now = self.received();
            if std::mem::replace(&mut received, now) != now {
                since = Instant::now();
            }
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
    use tokio::time::timeout;

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
