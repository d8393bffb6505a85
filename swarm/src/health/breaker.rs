use std::time::{Duration, Instant};

/// Keeps a peer from being asked that failed or is far slower than the others: one reader pays for finding out, not all. When the time is over,
/// one question at a time tries it, until it answers well.
#[derive(Debug, Default)]
pub(super) struct Breaker(Option<Tripped>);

#[derive(Debug)]
struct Tripped {
    why: Why,
    /// When that happened last.
    since: Instant,
    until: Instant,
    /// How often in a row, beyond the first time.
    again: u32,
    /// The question that tries it is under way.
    probing: bool,
}

/// What it was tripped by. A failure is the graver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Why {
    Slow,
    Failed,
}

/// For how long a peer is passed by the first time.
pub(super) const SHUNNED: Duration = Duration::from_secs(3);
/// Twice as long each further time, up to this.
pub(super) const LONGEST: Duration = Duration::from_secs(30);

impl Why {
    pub fn name(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Failed => "failed",
        }
    }
}

impl Breaker {
    pub fn is_tripped(&self) -> bool {
        self.0.is_some()
    }

    pub fn is_open(&self, now: Instant) -> bool {
        self.0.as_ref().is_some_and(|tripped| tripped.is_open(now))
    }

    pub fn has_failed(&self, now: Instant) -> bool {
        self.0.as_ref().is_some_and(|tripped| tripped.why == Why::Failed && tripped.is_open(now))
    }

    pub fn why(&self) -> Option<Why> {
        self.0.as_ref().map(|tripped| tripped.why)
    }

    /// Whether an answer to what was asked then shows that the peer is well: what was under way when it was tripped shows nothing.
    pub fn believes(&self, asked: Instant) -> bool {
        self.0.as_ref().is_some_and(|tripped| asked >= tripped.since)
    }

    /// Passes the peer by from now on. Whether that is one more time: several questions that were under way and fail together are one.
    pub fn trip(&mut self, why: Why, now: Instant) -> bool {
        let Some(tripped) = &mut self.0 else {
            self.0 = Some(Tripped { why, since: now, until: now + SHUNNED, again: 0, probing: false });
            return true;
        };
        let once_more = now >= tripped.until;
        tripped.again += u32::from(once_more);
        let time = SHUNNED.saturating_mul(1 << tripped.again.min(8)).min(LONGEST);
        (tripped.since, tripped.until) = (now, tripped.until.max(now + time));
        tripped.why = tripped.why.max(why);
        once_more
    }

    /// A question begins. Whether it is the one that tries the peer.
    pub fn begin(&mut self, now: Instant) -> bool {
        let due = self.0.as_mut().filter(|tripped| !tripped.is_open(now));
        due.map(|tripped| tripped.probing = true).is_some()
    }

    /// The question that tried the peer is over, whatever came of it.
    pub fn end_probe(&mut self) {
        if let Some(tripped) = &mut self.0 {
            tripped.probing = false;
        }
    }

    pub fn close(&mut self) {
        self.0 = None;
    }

    /// As if it had been tripped so much earlier.
    #[cfg(test)]
    pub fn pass(&mut self, time: Duration) {
        if let Some(tripped) = &mut self.0 {
            tripped.since -= time;
            tripped.until -= time;
        }
    }
}

impl Tripped {
    fn is_open(&self, now: Instant) -> bool {
        now < self.until || self.probing
    }
}
