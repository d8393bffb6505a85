use std::fmt;

use herring_blob::{BlobId, ManifestError};
use herring_store::RecordError;

/// Who was asked in vain, and what each said: the part of an error that lets an operator act.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tried(pub Vec<Attempt>);

/// One question that did not help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// A node id, or an origin.
    pub whom: String,
    pub outcome: String,
}

impl Tried {
    pub fn of(whom: impl fmt::Display, outcome: impl fmt::Display) -> Self {
        let mut tried = Self::default();
        tried.note(whom, outcome);
        tried
    }

    pub fn note(&mut self, whom: impl fmt::Display, outcome: impl fmt::Display) {
        let (whom, outcome) = (whom.to_string(), outcome.to_string());
        // Some say themselves who they are.
        let outcome = outcome.strip_prefix(&format!("{whom} ")).unwrap_or(&outcome).to_owned();
        self.0.push(Attempt { whom, outcome });
    }
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nobody to ask");
        }
        for (at, attempt) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "; " };
            write!(f, "{comma}{} {}", attempt.whom, attempt.outcome)?;
        }
        Ok(())
    }
}

/// Why something cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error("{what} is not here; asked: {tried}")]
    NotFound { what: String, tried: Tried },
    #[error("no origin is named {origin:?} here; there is: {known}")]
    NoOrigin { origin: String, known: String },
    #[error("{detail}")]
    InvalidKey { detail: String },
    #[error("{detail}")]
    Denied { detail: String },
    /// The origin has no listing that a program could read; its keys can be asked for one by one.
    #[error("{detail}")]
    Unlisted { detail: String },
    #[error("{what} cannot be found while some that may have it do not answer: {tried}")]
    Unavailable { what: String, tried: Tried },
}

/// Why bytes cannot be read. Cheap to clone: every reader that waits for one chunk gets it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error("chunk {chunk} of {what} could not be had; asked: {tried}")]
    Unavailable { what: String, chunk: u32, tried: Tried },
    #[error("{what} changed at its origin while it was read: open it again")]
    Changed { what: String },
    /// By its origin, to this node and to those owners that could be asked; nobody else has it.
    #[error("chunk {chunk} of {what} is not given; asked: {tried}")]
    Denied { what: String, chunk: u32, tried: Tried },
    /// Whoever keeps it, a node lied about it, or kept it wrongly.
    #[error("what the swarm has as {what} does not hash to that id, and is not shown: put the blob again")]
    False { what: String },
    /// Try again later. 0 ms: so many waited already that this reader did not.
    #[error("{what}: {}", overloaded(*waited_ms))]
    Overloaded { what: String, waited_ms: u128 },
}

impl ReadError {
    pub(crate) fn interrupted(what: String, chunk: u32) -> Self {
        Self::Unavailable { what, chunk, tried: Tried::of("this node", "is shutting down") }
    }
}

fn overloaded(waited_ms: u128) -> String {
    match waited_ms {
        0 => "too many wait for memory at this node already: try again, or ask another node".to_owned(),
        ms => format!("no memory for a chunk became free within {ms} ms: this node is overloaded"),
    }
}

/// Why a put was not acknowledged. Nothing that was acknowledged before is harmed, and trying again is safe.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    #[error("the bytes hash to {found}, not to {expected}: nothing was kept")]
    Mismatch { expected: BlobId, found: BlobId },
    #[error("the body ended early: {0}")]
    Body(std::io::Error),
    #[error("only {got} of the {needed} replicas that an acknowledgement needs were stored: {tried}")]
    TooFewReplicas { needed: usize, got: usize, tried: Tried },
    #[error("no room: {tried}")]
    Full { tried: Tried },
    #[error("this node is not in the ring yet: wait until /readyz says so")]
    NotReady,
    /// Try again later. 0 ms: so many waited already that this put did not.
    #[error("{}", overloaded(*waited_ms))]
    Overloaded { waited_ms: u128 },
    #[error("this node is shutting down")]
    Interrupted,
    #[error(transparent)]
    Shape(#[from] ManifestError),
    /// It was deleted before, and this node could not write down that it lives again.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// Why a blob was not deleted.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RemoveError {
    #[error("blob {id} is on no node that answered; asked: {tried}")]
    NotFound { id: BlobId, tried: Tried },
    #[error("blob {id} is not deleted for sure, as too few of its owners could be told: {tried}; try again")]
    Incomplete { id: BlobId, tried: Tried },
    #[error("blob {id} cannot be deleted here: {why}")]
    Minority { id: BlobId, why: String },
    #[error(transparent)]
    Record(#[from] RecordError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_says_its_name_is_not_named_twice() {
        let mut tried = Tried::of("origin a", "origin a could not give \"k\"");
        tried.note("origin a", "origin ab is silent");
        assert_eq!(tried.to_string(), "origin a could not give \"k\"; origin a origin ab is silent");
    }
}
