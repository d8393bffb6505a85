use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use super::{Prefix, Resource};

/// SHA-256 of a token: all that a node keeps of it. No slower hash is wanted: 32 random bytes cannot be guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// In the same time wherever they differ. By words: 2 ns, where byte by byte takes 50.
    pub fn is(&self, other: &Self) -> bool {
        let pairs = self.0.as_chunks::<8>().0.iter().zip(other.0.as_chunks::<8>().0);
        let differing = pairs.fold(0, |bits, (one, two)| bits | (u64::from_le_bytes(*one) ^ u64::from_le_bytes(*two)));
        differing.ct_eq(&0).into()
    }
}

/// How much may be done; each holds those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    Read,
    Write,
    Admin,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no scope: it is read, write or admin")]
pub struct ScopeError(String);

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        match text {
            "read" => Ok(Self::Read),
            "write" => Ok(Self::Write),
            "admin" => Ok(Self::Admin),
            _ => Err(ScopeError(text.to_owned())),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        })
    }
}

/// What the bearer of a token may do, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    name: String,
    digest: Digest,
    scope: Scope,
    only: Vec<Prefix>,
    expires: Option<SystemTime>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    #[error("{0:?} is no name for a token: it has 1 to 64 letters, digits, '.', '_' and '-', and is not \"anyone\"")]
    Name(String),
    #[error("an admin's token cannot be limited by prefixes: what admins do belongs to none. Take read or write, or no prefix")]
    Admin,
}

impl Grant {
    /// `only`: nothing but what these cover; empty: everything. `expires`: from then on it is refused.
    pub fn new(
        name: &str,
        digest: Digest,
        scope: Scope,
        only: Vec<Prefix>,
        expires: Option<SystemTime>,
    ) -> Result<Self, GrantError> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        // In an audit it is who showed no token.
        if name == "anyone" || !(1..=64).contains(&name.len()) || !name.bytes().all(fits) {
            return Err(GrantError::Name(name.to_owned()));
        }
        if scope == Scope::Admin && !only.is_empty() {
            return Err(GrantError::Admin);
        }
        Ok(Self { name: name.to_owned(), digest, scope, only, expires })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn digest(&self) -> Digest {
        self.digest
    }

    pub fn scope(&self) -> Scope {
        self.scope
    }

    pub fn only(&self) -> &[Prefix] {
        &self.only
    }

    pub fn expires(&self) -> Option<SystemTime> {
        self.expires
    }

    pub fn has_expired(&self, now: SystemTime) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// Whether it may touch this, as far as its prefixes go.
    pub fn covers(&self, resource: &Resource) -> bool {
        self.only.is_empty() || self.only.iter().any(|prefix| prefix.covers(resource))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_told_from_all_that_differ_in_a_bit() {
        let one = Digest::of("herring");
        assert!(one.is(&Digest::of("herring")));
        for bit in 0..256 {
            let mut other = one;
            other.0[bit / 8] ^= 1 << (bit % 8);
            assert!(!one.is(&other), "bit {bit}");
        }
    }

    #[test]
    fn scopes_hold_those_before_them() {
        let all = [Scope::Read, Scope::Write, Scope::Admin];
        assert!(all.is_sorted());
        assert!(all.iter().all(|scope| scope.to_string().parse() == Ok(*scope)));
        assert!("root".parse::<Scope>().unwrap_err().to_string().contains("read, write or admin"));
    }

    #[test]
    fn a_name_can_stand_in_a_log_and_an_admin_is_not_limited() {
        let new = |name: &str, scope, only| Grant::new(name, Digest::of("t"), scope, only, None);
        assert!(new("ci.team-a_1", Scope::Read, vec![]).is_ok());
        for wrong in ["", "anyone", "a b", "a\n", "ä", &"x".repeat(65)] {
            assert!(matches!(new(wrong, Scope::Read, vec![]), Err(GrantError::Name(_))), "{wrong:?}");
        }
        assert_eq!(new("a", Scope::Admin, vec!["names/".parse().unwrap()]), Err(GrantError::Admin));
    }
}
