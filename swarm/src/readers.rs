use std::time::Duration;

use tokio::select;
use tokio::sync::{Mutex, MutexGuard, watch};
use tokio::time::sleep;

/// How long what nobody waits for stands back at most: a prefetch that goes on by a chunk a second, 4 MiB/s, is over some day, and takes
/// little from those who read. On a link that takes longer for a chunk it is one at a time: at 10 Mbit/s one a second would be all of it.
const STANDS_BACK: Duration = Duration::from_secs(1);

/// The readers of this node that wait for bytes from elsewhere, and those who let them go first.
pub(crate) struct Readers {
    waiting: watch::Sender<usize>,
    /// Of those who stand back, one goes on at a time.
    turn: Mutex<()>,
}

/// One of those who wait, until it is dropped.
pub(crate) struct Waiting<'a>(&'a Readers);

impl Default for Readers {
    fn default() -> Self {
        Self { waiting: watch::Sender::new(0), turn: Mutex::default() }
    }
}

impl Readers {
    pub fn wait(&self) -> Waiting<'_> {
        self.change(|waiting| waiting + 1);
        Waiting(self)
    }

    pub fn are_waiting(&self) -> bool {
        *self.waiting.borrow() > 0
    }

    /// Waits until no reader does. Where readers wait on and on, one goes on at a time: the next a while after what this returns was dropped.
    pub async fn go_first(&self) -> Option<MutexGuard<'_, ()>> {
        let slowly = async {
            let turn = self.turn.lock().await;
            sleep(STANDS_BACK).await;
            turn
        };
        let mut waiting = self.waiting.subscribe();
        select! {
            biased;
            // The sender is in `self`.
            _ = waiting.wait_for(|waiting| *waiting == 0) => None,
            turn = slowly => Some(turn),
        }
    }

    /// Wakes who stands back only once nobody waits any more.
    fn change(&self, change: impl FnOnce(usize) -> usize) {
        self.waiting.send_if_modified(|waiting| {
            *waiting = change(*waiting);
            *waiting == 0
        });
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.change(|waiting| waiting - 1);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use futures_util::future::{join, join_all};
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nobody_stands_back_for_nobody() {
        let readers = Readers::default();
        drop(readers.wait());
        assert!((0..10).all(|_| readers.go_first().now_or_never().is_some()));
    }

    #[tokio::test(start_paused = true)]
    async fn readers_go_first_and_the_others_once_the_last_of_them_has_gone() {
        let (readers, begun) = (Readers::default(), Instant::now());
        let [one, other] = [readers.wait(), readers.wait()];
        let leave = async {
            sleep(Duration::from_millis(200)).await;
            drop(one);
            sleep(Duration::from_millis(200)).await;
            drop(other);
        };
        join(leave, join_all((0..16).map(|_| readers.go_first()))).await;
        assert_eq!(begun.elapsed(), Duration::from_millis(400));
    }

    #[tokio::test(start_paused = true)]
    async fn behind_readers_that_never_go_one_goes_on_each_second() {
        let (readers, begun) = (Readers::default(), Instant::now());
        let _reader = readers.wait();
        let went = join_all((0..5).map(|_| async {
            drop(readers.go_first().await);
            begun.elapsed()
        }));
        assert_eq!(went.await, [1, 2, 3, 4, 5].map(Duration::from_secs));
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_goes_on_once_what_the_one_before_brings_has_come_or_no_reader_waits() {
        let (readers, begun) = (Readers::default(), Instant::now());
        let reader = readers.wait();
        let went = join_all((0..3).map(|_| async {
            let turn = readers.go_first().await;
            let went = begun.elapsed().as_secs();
            sleep(Duration::from_secs(3)).await;
            drop(turn);
            went
        }));
        let leave = async {
            sleep(Duration::from_secs(6)).await;
            drop(reader);
        };
        assert_eq!(join(went, leave).await.0, [1, 5, 6]);
    }
}
