use tokio::time::Instant;

/// Whether this node knows who else there is. One value, since one that belongs to nobody has nobody to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Company {
    /// Nobody to look for, and nobody came.
    Alone,
    /// There may be others, not met so far; after this moment nobody counts on them.
    Awaited { until: Instant },
    /// Somebody was met since the start, or nobody for so long that there is nobody.
    Known,
}

impl Company {
    /// What this has become by `now`. Whom one met once, one met, gone again or not.
    pub fn at(self, now: Instant, met: bool) -> Self {
        match self {
            _ if met => Self::Known,
            Self::Awaited { until } if until <= now => Self::Known,
            _ => self,
        }
    }

    /// When the waiting is over.
    pub fn due(self) -> Option<Instant> {
        if let Self::Awaited { until } = self { Some(until) } else { None }
    }
}
