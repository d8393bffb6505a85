use std::sync::Arc;
use std::time::SystemTime;

use super::{Digest, Grant};

/// The tokens that a node knows, by their digests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tokens(Vec<Arc<Grant>>);

/// Why a token that was shown opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stranger {
    Unknown,
    Expired,
}

impl Tokens {
    pub fn new(grants: impl IntoIterator<Item = Grant>) -> Self {
        Self(grants.into_iter().map(Arc::new).collect())
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whose token this is. Every digest is compared, and each in constant time: how long it takes tells nothing of what is near.
    pub fn find(&self, shown: &str, now: SystemTime) -> Result<&Arc<Grant>, Stranger> {
        let shown = Digest::of(shown);
        let mut found = None;
        for grant in &self.0 {
            if grant.digest().is(&shown) {
                found = Some(grant);
            }
        }
        let grant = found.ok_or(Stranger::Unknown)?;
        if grant.has_expired(now) { Err(Stranger::Expired) } else { Ok(grant) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::access::Scope;

    fn grant(name: &str, token: &str, expires: Option<SystemTime>) -> Grant {
        Grant::new(name, Digest::of(token), Scope::Read, Vec::new(), expires).unwrap()
    }

    #[test]
    fn a_token_is_known_by_its_digest_until_it_expires() {
        let now = SystemTime::now();
        let tokens = Tokens::new([grant("a", "herring_a", None), grant("b", "herring_b", Some(now))]);
        let name = |token: &str, at| tokens.find(token, at).map(|grant| grant.name().to_owned());
        assert_eq!(name("herring_a", now), Ok("a".into()));
        assert_eq!(name("herring_b", now - Duration::from_secs(1)), Ok("b".into()));
        assert_eq!(name("herring_b", now), Err(Stranger::Expired));
        for wrong in ["", "herring_", "herring_a ", "herring_A", "a"] {
            assert_eq!(name(wrong, now), Err(Stranger::Unknown), "{wrong}");
        }
    }
}
