use std::io::ErrorKind;
use std::time::Duration;

use herring_blob::ByteRange;

use crate::KeyError;

/// Why the origins cannot be as they were written.
///
/// Never repeats the URL: it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("an origin is written NAME=URL, such as models=s3://bucket/prefix; this one has no '='")]
    NoName,
    #[error("origin {0:?} needs another name: up to 63 of a-z, 0-9, '.', '_' and '-', starting with a letter or digit")]
    Name(String),
    #[error("origin {0:?} is named twice: give each its own name")]
    Twice(String),
    #[error("origin {name:?} needs a URL such as file:///data or s3://bucket/prefix: {why}")]
    Url { name: String, why: String },
    #[error("origin {name:?} has the unknown scheme {scheme:?}: use one of {known}")]
    Scheme { name: String, scheme: String, known: String },
    #[error("origin {name:?} names the directory {path}, which cannot be used ({why}): create it or correct the path")]
    Directory { name: String, path: String, why: String },
    #[error("origin {name:?} has no bucket: write {scheme}://BUCKET/PREFIX")]
    NoBucket { name: String, scheme: String },
    #[error(
        "origin {0:?} has a user or password in its URL: remove it and use the environment, such as AWS_ACCESS_KEY_ID or HF_TOKEN"
    )]
    Credentials(String),
    #[error("origin {name:?} has an unknown or malformed option {option:?} in its URL: use {known}")]
    Option { name: String, option: String, known: String },
    #[error("origin {name:?} cannot be set up from its URL and the environment: {why}")]
    Rejected { name: String, why: String },
}

/// Why an origin did not answer. Each says which origin was asked for which key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    #[error("origin {origin} has no {key:?}")]
    NotFound { origin: String, key: String },
    #[error("{key:?} in origin {origin} is no longer version {version}: look it up again")]
    Changed { origin: String, key: String, version: String },
    #[error("origin {origin} refused to give {key:?}: {detail}; check its permissions and credentials")]
    Denied { origin: String, key: String, detail: String },
    /// Worth another try later.
    #[error("origin {origin} could not give {key:?}: {detail}")]
    Unavailable { origin: String, key: String, detail: String },
    /// The origin is well, but this answer of it makes no sense, and would be the same if it were asked for again.
    #[error("origin {origin} answers for {key:?} what cannot be used: {detail}")]
    Unusable { origin: String, key: String, detail: String },
    /// Nothing was asked.
    #[error("{key:?} cannot be a key of origin {origin}: it {why}")]
    InvalidKey { origin: String, key: String, why: KeyError },
    /// Nothing was asked.
    #[error("bytes {range} of {key:?} in origin {origin} cannot be read: it has {size}, and one read gives at most {most}")]
    OutOfRange { origin: String, key: String, range: ByteRange, size: u64, most: u64 },
    /// The server answers for keys, but has no index that a program could read.
    #[error("origin {origin} does not tell what is below {key:?}: open its keys by name")]
    Unlisted { origin: String, key: String },
    /// It said 429 or 503 to the end. `seconds` is how long it still wants to be left alone.
    #[error("origin {origin} has too many requests to answer for {key:?}: it wants to be left alone for {seconds} s")]
    Throttled { origin: String, key: String, seconds: u64 },
    #[error("origin {origin} did not answer the {op} of {key:?} within {seconds} s")]
    TimedOut { origin: String, key: String, op: &'static str, seconds: u64 },
}

impl OriginError {
    /// The variant as a metric's label.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "not_found",
            Self::Changed { .. } => "changed",
            Self::Denied { .. } => "denied",
            Self::Unavailable { .. } => "unavailable",
            Self::Unusable { .. } => "unusable",
            Self::InvalidKey { .. } => "invalid_key",
            Self::OutOfRange { .. } => "out_of_range",
            Self::Unlisted { .. } => "unlisted",
            Self::Throttled { .. } => "throttled",
            Self::TimedOut { .. } => "timed_out",
        }
    }
}

/// What went wrong in a backend, which knows neither its origin's name nor which call it serves: [`Origin`](crate::Origin)
/// adds those once.
#[derive(Debug)]
pub(crate) enum Fault {
    NotFound,
    Changed,
    Denied(String),
    /// Worth another try.
    Unavailable(String),
    /// An answer that would be the same if it were asked for again.
    Unusable(String),
    /// 429 or 503, and for how long, if it says so.
    Throttled(Option<Duration>),
    Unlisted,
    /// The deadline of the whole question, not of one try.
    TimedOut,
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidFilename => Self::NotFound,
            ErrorKind::PermissionDenied => Self::Denied(error.to_string()),
            _ => Self::Unavailable(error.to_string()),
        }
    }
}
