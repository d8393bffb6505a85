//! How fast replicas are pulled: by a rate in bytes, and a few at first.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until};

/// For how long what was pulled counts for the rate that is shown.
const LATELY: Duration = Duration::from_secs(5);
/// What may be spent at once after a pause.
const BURST: Duration = Duration::from_millis(200);

/// The pace of one node's pulls.
pub(crate) struct Pace {
    /// Bytes a second.
    rate: u64,
    state: Mutex<State>,
}

struct State {
    /// When what was begun until now is paid for.
    paid: Instant,
    /// What was pulled, and when.
    pulled: VecDeque<(Instant, u64)>,
    total: u64,
}

impl Pace {
    pub fn new(rate: u64) -> Self {
        let state = State { paid: Instant::now(), pulled: VecDeque::new(), total: 0 };
        Self { rate: rate.max(1), state: Mutex::new(state) }
    }

    /// Waits until so many bytes more may be pulled; `share` of the rate is for them.
    pub async fn spend(&self, bytes: u64, share: u32) {
        let cost =
            Duration::from_nanos(u64::try_from(u128::from(bytes) * 1_000_000_000 / u128::from(self.rate)).unwrap_or(u64::MAX));
        let due = {
            let mut state = self.state();
            let due = state.paid.max(Instant::now() - BURST);
            state.paid = due + cost * share;
            due
        };
        sleep_until(due).await;
    }

    pub fn pulled(&self, bytes: u64) {
        let now = Instant::now();
        let mut state = self.state();
        state.total += bytes;
        state.pulled.push_back((now, bytes));
        while state.pulled.front().is_some_and(|(at, _)| now - *at > LATELY) {
            state.pulled.pop_front();
        }
    }

    /// Bytes since the start, and a second lately.
    pub fn figures(&self) -> (u64, u64) {
        let (now, state) = (Instant::now(), self.state());
        let lately: u64 = state.pulled.iter().filter(|(at, _)| now - *at <= LATELY).map(|(_, bytes)| bytes).sum();
        (state.total, lately / LATELY.as_secs())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Chunks that are pulled at the same time at most.
const MOST_TURNS: usize = 8;

/// How many chunks are pulled at the same time: one at first, and one more with each that came.
pub(crate) struct Turns {
    free: Semaphore,
    /// Those that there are.
    all: Mutex<usize>,
}

impl Default for Turns {
    fn default() -> Self {
        Self { free: Semaphore::new(1), all: Mutex::new(1) }
    }
}

impl Turns {
    pub async fn take(&self) -> SemaphorePermit<'_> {
        self.free.acquire().await.expect("the semaphore is never closed")
    }

    pub fn came(&self) {
        let mut all = self.all();
        if *all < MOST_TURNS {
            *all += 1;
            self.free.add_permits(1);
        }
    }

    /// There is nothing to pull any more, or it does not come: slowly again. Those that are taken now are given up at the next time.
    pub fn pause(&self) {
        let mut all = self.all();
        *all -= self.free.forget_permits(*all - 1);
    }

    fn all(&self) -> MutexGuard<'_, usize> {
        // A number is whole.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn bytes_come_at_the_rate_and_at_a_share_of_it() {
        let pace = Pace::new(1000);
        tokio::time::sleep(Duration::from_secs(9)).await;
        for (share, seconds) in [(1, 10), (4, 40)] {
            let begun = Instant::now();
            for _ in 0..100 {
                pace.spend(100, share).await;
            }
            let took = begun.elapsed().as_secs_f64();
            assert!((f64::from(seconds) - took).abs() < 1.0, "{took} s for {seconds}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_pulled_lately_is_a_rate() {
        let pace = Pace::new(1);
        for _ in 0..20 {
            pace.pulled(100);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(pace.figures(), (2000, 100));
        tokio::time::sleep(Duration::from_secs(9)).await;
        assert_eq!(pace.figures(), (2000, 0));
    }

    #[tokio::test]
    async fn there_is_one_more_turn_with_each_that_came() {
        let turns = Turns::default();
        let taken = turns.take().await;
        assert!(turns.free.try_acquire().is_err());
        (0..20).for_each(|_| turns.came());
        assert_eq!(turns.free.available_permits(), MOST_TURNS - 1);
        turns.pause();
        assert_eq!((turns.free.available_permits(), *turns.all()), (0, 1), "the one that is taken stays");
        drop(taken);
        assert_eq!(turns.free.available_permits(), 1);
        turns.pause();
        assert_eq!(turns.free.available_permits(), 1);
    }
}
