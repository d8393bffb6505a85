use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Origins that failed to answer, until they answer again.
#[derive(Debug, Default)]
pub(crate) struct Outages(Mutex<HashMap<String, Outage>>);

#[derive(Debug)]
struct Outage {
    began: Instant,
    last: Instant,
}

impl Outages {
    pub fn failed(&self, origin: &str) {
        let now = Instant::now();
        self.all().entry(origin.to_owned()).or_insert(Outage { began: now, last: now }).last = now;
    }

    /// It answered so long ago, which shows that it is well if it did not fail since.
    pub fn answered(&self, origin: &str, ago: Duration) {
        let mut all = self.all();
        if all.get(origin).is_some_and(|outage| ago < outage.last.elapsed()) {
            all.remove(origin);
        }
    }

    /// Whether it failed within this time, and did not answer since.
    pub fn failed_within(&self, origin: &str, time: Duration) -> bool {
        self.all().get(origin).is_some_and(|outage| outage.last.elapsed() < time)
    }

    /// Whether it fails, and for no longer than this: then it may be back soon. Not for who asks since longer: that one key cannot be had
    /// of an origin that is well otherwise is no outage.
    pub fn may_be_over_soon(&self, origin: &str, asking_since: Instant, time: Duration) -> bool {
        asking_since.elapsed() < time && self.all().get(origin).is_some_and(|outage| outage.began.elapsed() < time)
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Outage>> {
        // No operation leaves the map half done, so one that panicked did no harm.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn only_an_answer_given_since_shows_that_an_origin_is_well_again() {
        let outages = Outages::default();
        outages.failed("o");
        advance(SECOND).await;
        outages.answered("o", 60 * SECOND);
        assert!(outages.failed_within("o", 2 * SECOND) && !outages.failed_within("other", 2 * SECOND));
        outages.answered("o", Duration::ZERO);
        assert!(!outages.failed_within("o", 2 * SECOND) && !outages.may_be_over_soon("o", Instant::now(), 2 * SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_begins_once_however_often_an_origin_fails() {
        let outages = Outages::default();
        for _ in 0..10 {
            outages.failed("o");
            advance(SECOND).await;
        }
        assert!(outages.failed_within("o", 2 * SECOND) && !outages.failed_within("o", SECOND));
        let now = Instant::now();
        assert!(outages.may_be_over_soon("o", now, 11 * SECOND) && !outages.may_be_over_soon("o", now, 10 * SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever_for_one_key_of_an_origin_that_is_well() {
        let (outages, since) = (Outages::default(), Instant::now());
        let mut asked = 0;
        while asked == 0 || outages.may_be_over_soon("o", since, 5 * SECOND) {
            outages.failed("o");
            advance(SECOND).await;
            outages.answered("o", Duration::ZERO);
            outages.failed("o");
            asked += 1;
        }
        assert_eq!(asked, 5);
    }
}
