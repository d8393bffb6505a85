//! How many profiles there can be: a scan makes none, and each goes after a while.

use std::collections::VecDeque;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;

use super::{NAMES, Traces};
use crate::jobs::now_ms;
use crate::{Condition, NameError, NameInfo, Swarm};

/// Scopes without a profile that a node begins to read within [`LATELY`], at most: more are a scan, of which nothing is kept. A `grep -r` begins 13 a second;
/// who takes all that this allows, day and night, has made 70,000 when the first of them go.
const MANY: usize = 16;
const LATELY: Duration = Duration::from_secs(600);
/// How long a profile is followed. Then the next who opens its scope makes it anew: what is read changes, and trees and directories go without a word.
const KEPT_MS: u64 = 30 * 24 * 3_600_000;

/// When the last scopes without a profile were begun, one more than [`MANY`].
pub(super) type Begun = VecDeque<Instant>;

impl Traces {
    /// A scope without a profile is begun.
    pub fn begin(&self) -> Instant {
        let (mut begun, now) = (self.begun.lock().unwrap_or_else(PoisonError::into_inner), Instant::now());
        begun.push_back(now);
        if begun.len() > MANY + 1 {
            begun.pop_front();
        }
        now
    }

    /// Whether what was begun then is one of too many.
    pub fn is_scan(&self, then: Instant) -> bool {
        let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.len() > MANY && begun.front().is_some_and(|first| *first + LATELY > then)
    }
}

impl Swarm {
    /// Lets go of profiles that are old enough; those that this node is the first to own, some at each sweep.
    pub(crate) async fn sweep_profiles(&self) {
        let looked_at = || self.0.traces.looked_at.lock().unwrap_or_else(PoisonError::into_inner);
        let after = looked_at().clone();
        let (profiles, next) = match self.names_led_here(NAMES, after.as_deref()) {
            Ok(found) => found,
            Err(error) => return tracing::debug!(%error, "profiles were not looked at"),
        };
        *looked_at() = next;
        let now = now_ms();
        for info in profiles.iter().filter(|info| now.saturating_sub(info.modified_ms) > KEPT_MS) {
            // Where one cannot be let go now, the others can neither.
            if let Err(error) = self.drop_profile(info).await {
                return tracing::debug!(info.name, error, "an old profile was not let go");
            }
        }
    }

    /// Its blob first: a name whose blob is gone is let go by who meets it next, a blob without its name is met by nobody.
    pub(super) async fn drop_profile(&self, info: &NameInfo) -> Result<(), String> {
        // What is none is somebody's, who gave the name when that was allowed.
        if self.read_profile(info.target).await?.is_some() {
            self.remove(info.target).await.map_err(|error| error.to_string())?;
        }
        match self.delete_name(&info.name, Condition::Version(info.version)).await {
            // Another was faster.
            Err(NameError::Condition { .. }) => Ok(()),
            done => done.map_err(|error| error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_scan_is_told_from_starts() {
        let traces = Traces::default();
        let starts: Vec<_> = (0..MANY).map(|_| traces.begin()).collect();
        assert!(starts.iter().all(|start| !traces.is_scan(*start)));
        tokio::time::advance(LATELY / 2).await;
        let one_more = traces.begin();
        assert!(traces.is_scan(one_more) && starts.iter().all(|start| traces.is_scan(*start)), "those before are of it");
        tokio::time::advance(LATELY).await;
        let later = traces.begin();
        assert!(traces.is_scan(one_more) && !traces.is_scan(later));
    }
}
