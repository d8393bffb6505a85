use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::error::Fault;

/// The first pause where an origin does not say how long, and the longest that doubling leads to.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Longer than any hub's window for counting requests (300 s); an origin that asks for more is asked again after it.
const LONGEST_HOLD: Duration = Duration::from_secs(300);

/// Who waited together goes on over this much time at most, so that the origin is not met by all of them at once.
const SPREAD: Duration = Duration::from_secs(1);

/// Until when an origin wants to be left alone, because it said 429 or 503 to this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    until: Instant,
}

impl Hold {
    /// Zero when it is over.
    pub fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }
}

/// Keeps the questions to one origin back while it wants to be left alone. Those under way are not touched.
pub(crate) struct Throttle {
    state: Mutex<State>,
    /// What the origin itself said, for others to be told; not what others told.
    heard: watch::Sender<Hold>,
}

struct State {
    until: Instant,
    /// The last pause that we chose ourselves; zero while all goes well.
    pause: Duration,
}

impl Throttle {
    pub(crate) fn new() -> Self {
        let until = Instant::now();
        let state = Mutex::new(State { until, pause: Duration::ZERO });
        Self { state, heard: watch::Sender::new(Hold { until }) }
    }

    pub(crate) fn held(&self) -> watch::Receiver<Hold> {
        self.heard.subscribe()
    }

    pub(crate) fn is_held(&self) -> bool {
        self.state().until > Instant::now()
    }

    /// Returns when a question may go out. One that would have to wait for longer than until `end` does not wait at all.
    pub(crate) async fn wait(&self, end: Instant) -> Result<(), Fault> {
        loop {
            let until = self.state().until;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            if until >= end {
                return Err(Fault::Throttled(Some(left)));
            }
            sleep_until(until + (left / 4).min(SPREAD).mul_f64(fastrand::f64())).await;
        }
    }

    /// The origin said 429 or 503, and perhaps for how long. Many are told so at once: the pause doubles once for all of them.
    pub(crate) fn throttled(&self, retry_after: Option<Duration>) {
        let mut state = self.state();
        let now = Instant::now();
        let pause = match retry_after.filter(|after| !after.is_zero()) {
            Some(after) => after.min(LONGEST_HOLD),
            None if state.until > now => return,
            None => {
                state.pause = (state.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
                state.pause.mul_f64(0.75 + fastrand::f64() / 2.0)
            }
        };
        if now + pause > state.until {
            state.until = now + pause;
            self.heard.send_replace(Hold { until: state.until });
        }
    }

    /// Another node was told to leave the origin alone for so long.
    pub(crate) fn hold(&self, left: Duration) {
        let mut state = self.state();
        state.until = state.until.max(Instant::now() + left.min(LONGEST_HOLD));
    }

    pub(crate) fn succeeded(&self) {
        let mut state = self.state();
        state.pause = if state.pause > FIRST_PAUSE { state.pause / 2 } else { Duration::ZERO };
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    async fn waited(throttle: &Throttle) -> Duration {
        let began = Instant::now();
        throttle.wait(soon()).await.unwrap();
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_origin_says_is_kept_to_and_told() {
        let throttle = Throttle::new();
        let mut held = throttle.held();
        assert_eq!(waited(&throttle).await, Duration::ZERO);
        throttle.throttled(Some(Duration::from_secs(7)));
        held.changed().await.unwrap();
        assert_eq!(held.borrow_and_update().left(), Duration::from_secs(7));
        assert!((7.0..=8.1).contains(&waited(&throttle).await.as_secs_f64()));
        assert_eq!(held.borrow().left(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_double_once_for_all_who_are_told_and_shrink_again() {
        let throttle = Throttle::new();
        for expected in [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0] {
            (0..50).for_each(|_| throttle.throttled(None));
            let seconds = waited(&throttle).await.as_secs_f64();
            assert!((expected * 0.75..=expected * 1.25 + 1.0).contains(&seconds), "{seconds} for {expected}");
        }
        (0..8).for_each(|_| throttle.succeeded());
        throttle.throttled(None);
        assert!(waited(&throttle).await < Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_hold_of_others_holds_and_is_not_told_on() {
        let throttle = Throttle::new();
        let held = throttle.held();
        throttle.hold(Duration::from_secs(3));
        assert!(waited(&throttle).await >= Duration::from_secs(3));
        assert!(!held.has_changed().unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn who_could_only_wait_in_vain_does_not_wait() {
        let (throttle, began) = (Throttle::new(), Instant::now());
        throttle.throttled(Some(Duration::from_secs(100_000)));
        let refused = throttle.wait(soon()).await;
        assert!(matches!(refused, Err(Fault::Throttled(Some(left))) if left == LONGEST_HOLD), "{refused:?}");
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
