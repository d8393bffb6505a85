use std::time::{Duration, Instant};

use herring_http_api::peer::NameState;
use quick_cache::sync::Cache;

/// For how long what a node heard of a name will do for its mount.
const FRESH: Duration = Duration::from_millis(900);
/// Names that are remembered: some 3 MB.
const REMEMBERED: usize = 10_000;

/// What this node heard of names lately, absent ones too.
pub(super) struct Heard(Cache<String, (Instant, Option<NameState>)>);

impl Default for Heard {
    fn default() -> Self {
        Self(Cache::new(REMEMBERED))
    }
}

impl Heard {
    /// An answer that was under way while something later was heard counts for nothing.
    pub fn note(&self, name: &str, state: Option<&NameState>) {
        let version = |state: Option<&NameState>| state.map_or(0, |state| state.version);
        let later = self.0.get(name).is_some_and(|(_, known)| version(known.as_ref()) > version(state));
        if !later {
            self.0.insert(name.to_owned(), (Instant::now(), state.cloned()));
        }
    }

    pub fn fresh(&self, name: &str) -> Option<Option<NameState>> {
        self.0.get(name).filter(|(at, _)| at.elapsed() < FRESH).map(|(_, state)| state)
    }

    pub fn last(&self, name: &str) -> Option<Option<NameState>> {
        self.0.get(name).map(|(_, state)| state)
    }
}
