use std::time::Duration;

use tokio::time::Instant;

/// Whether this node knows who else there is. One value, since one that belongs to nobody has nobody to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Company {
    /// Nobody to look for, and nobody came.
    Alone,
    /// There are others that it has not met, or not all. After `until` it counts on no more, and before that when nobody new came
    /// for a while.
    Awaited { until: Instant, met: usize, quiet: Option<Instant> },
    /// Whoever there is was met, or nobody for so long that there is nobody.
    Known,
}

/// Once the first member is met, all of 30 are within 0.4 s, two rounds of gossip; so long nobody new may come.
const QUIET: Duration = Duration::from_millis(400);

impl Company {
    /// Others may be there, and are waited for until then.
    pub fn awaited(until: Instant) -> Self {
        Self::Awaited { until, met: 0, quiet: None }
    }

    /// What this has become by `now`, with so many others in sight.
    pub fn at(self, now: Instant, others: usize) -> Self {
        match self {
            Self::Alone if others > 0 => Self::Known,
            Self::Awaited { until, met, .. } if others > met => {
                Self::Awaited { until, met: others, quiet: Some(now + QUIET) }.when_due(now)
            }
            _ => self.when_due(now),
        }
    }

    fn when_due(self, now: Instant) -> Self {
        if self.due().is_some_and(|due| due <= now) { Self::Known } else { self }
    }

    /// When the waiting is over.
    pub fn due(self) -> Option<Instant> {
        match self {
            Self::Awaited { until, quiet, .. } => Some(quiet.map_or(until, |quiet| quiet.min(until))),
            Self::Alone | Self::Known => None,
        }
    }
}
