use std::error::Error;
use std::io;

use crate::types::Problem;

/// Why a peer did not give what was asked. Each is answered by asking the next owner; `NotFound` alone says that nothing is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    #[error("cannot be reached: {0}")]
    Connect(String),
    #[error("did not answer within {0} ms")]
    TimedOut(u128),
    #[error("stopped in the middle: {0}")]
    Broken(String),
    #[error("does not have it")]
    NotFound,
    #[error("answered what cannot be: {0}")]
    Garbage(String),
    #[error("has no room on disk: {0}")]
    Full(String),
    #[error("says that the object changed at its origin: {0}")]
    Changed(String),
    /// It has more to send than it can just now; these lately asked for the same.
    #[error("is busy, and names {}", if holders.is_empty() { "nobody".to_owned() } else { holders.join(", ") })]
    Busy { holders: Vec<String> },
    #[error("refused: {status} {detail}")]
    Refused { status: u16, detail: String },
}

impl PeerError {
    /// What a peer's refusal means.
    pub(super) fn of(status: u16, detail: String) -> Self {
        match status {
            404 => Self::NotFound,
            409 => Self::Changed(detail),
            507 => Self::Full(detail),
            status => Self::Refused { status, detail },
        }
    }
}

/// Why a node did not do what a program asked of it. Each is a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    #[error("{url:?} cannot be asked: {detail}")]
    BadUrl { url: String, detail: String },
    #[error("{url} cannot be reached: {detail}. Is a node running there? `herring up` starts some, --node URL names another")]
    Connect { url: String, detail: String },
    #[error("{url} did not answer within {ms} ms. It is alive, so it waits for something: ask its /readyz and look into its log")]
    TimedOut { url: String, ms: u128 },
    #[error("{url} broke off in the middle: {detail}. Nothing was kept; try again, or ask another node with --node URL")]
    Broken { url: String, detail: String },
    #[error("{url} answered what no node answers: {detail}. Is it a herring node of this version?")]
    Garbage { url: String, detail: String },
    /// What was to be put could not be read here.
    #[error("the bytes to put could not be read: {0}. They were not put")]
    Source(String),
    /// The node's own words.
    #[error("{}", if .0.detail.is_empty() { &.0.title } else { &.0.detail })]
    Problem(Problem),
}

/// What goes wrong on the wire, before any status is read. Both clients say it in their own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum WireError {
    Connect(String),
    Broken(String),
    Garbage(String),
}

impl WireError {
    /// The sentence for a request whose answer broke off: hyper's own says "http2 error" and hides why in its sources.
    pub(super) fn broken(error: &(dyn Error + 'static)) -> Self {
        Self::Broken(reasons(error))
    }

    pub(super) fn into_io(self) -> io::Error {
        let (Self::Connect(detail) | Self::Broken(detail) | Self::Garbage(detail)) = self;
        io::Error::new(io::ErrorKind::UnexpectedEof, detail)
    }

    pub(super) fn at(self, url: &str) -> ClientError {
        let url = url.to_owned();
        match self {
            Self::Connect(detail) => ClientError::Connect { url, detail },
            Self::Broken(detail) => ClientError::Broken { url, detail },
            Self::Garbage(detail) => ClientError::Garbage { url, detail },
        }
    }
}

impl From<WireError> for PeerError {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Connect(detail) => Self::Connect(detail),
            WireError::Broken(detail) => Self::Broken(detail),
            WireError::Garbage(detail) => Self::Garbage(detail),
        }
    }
}

/// An error and what caused it, in one line.
pub(super) fn reasons(error: &(dyn Error + 'static)) -> String {
    // hyper says then that a task of its own is gone. Nothing of ours is a user's error in its eyes.
    if error.downcast_ref::<hyper::Error>().is_some_and(|error| error.is_canceled() || error.is_user()) {
        return "the connection ended before the answer".to_owned();
    }
    let chain = std::iter::successors(Some(error), |&error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
