//! What is said of origins: by themselves, from node to node, and in the records.

use std::sync::Arc;

use bytes::Bytes;
use herring_http_api::peer::MetaQuestion;
use herring_origin::{ObjectInfo, OriginError, Page};
use serde::{Deserialize, Serialize};

use crate::OpenError;

/// An origin's answer. It was true when it was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Word {
    Object(ObjectInfo),
    Directory,
    Page(Arc<Page>),
    Document(#[serde(with = "text")] Bytes),
    Commit(String),
    /// There is no such thing.
    Nothing,
    /// The origin has no listing, as it says in these words.
    Unlisted(String),
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Refusal {
    /// This node is not let in; another one may be.
    Denied(String),
    /// Nobody can ask this.
    Invalid(String),
    /// The origin is overloaded: nobody shall ask now.
    Busy(String),
    Unavailable(String),
}

/// What a node tells another.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Told {
    /// Of which origin: see `identity`.
    pub origin: String,
    pub said: Result<Word, Refusal>,
}

impl Word {
    /// Whether this can be an answer to that.
    pub fn answers(&self, question: &MetaQuestion) -> bool {
        match self {
            Self::Object(info) => {
                let object = &info.object;
                matches!(question, MetaQuestion::Key { origin, key } if *origin == object.origin && *key == object.key)
            }
            Self::Directory => matches!(question, MetaQuestion::Key { .. }),
            Self::Page(page) => matches!(question, MetaQuestion::Page { .. }) && page.is_one(),
            Self::Unlisted(_) => matches!(question, MetaQuestion::Page { .. }),
            Self::Document(_) => matches!(question, MetaQuestion::Document { .. }),
            Self::Commit(_) => matches!(question, MetaQuestion::Pin { .. }),
            Self::Nothing => true,
        }
    }

    pub fn commit(&self) -> Option<&str> {
        if let Self::Commit(commit) = self { Some(commit) } else { None }
    }

    /// Bytes in memory, nearly: an opened object is some 600 without its texts, an entry of a page 150.
    pub fn weight(&self) -> usize {
        match self {
            Self::Object(info) => 600 + info.object.key.len() + info.object.version.len(),
            Self::Page(page) => page.entries.iter().map(|entry| 150 + entry.name().len()).sum(),
            Self::Document(bytes) => bytes.len(),
            Self::Commit(text) | Self::Unlisted(text) => text.len(),
            Self::Directory | Self::Nothing => 0,
        }
    }
}

impl Refusal {
    /// Whether it says nothing about what was asked, only about now.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Busy(_) | Self::Unavailable(_))
    }

    pub fn detail(&self) -> &str {
        let (Self::Denied(detail) | Self::Invalid(detail) | Self::Busy(detail) | Self::Unavailable(detail)) = self;
        detail
    }
}

/// The commit of an origin could not be had, without which it cannot be asked.
impl From<OpenError> for Refusal {
    fn from(error: OpenError) -> Self {
        let detail = error.to_string();
        match error {
            OpenError::Denied { .. } => Self::Denied(detail),
            OpenError::NoOrigin { .. } | OpenError::InvalidKey { .. } => Self::Invalid(detail),
            OpenError::NotFound { .. } | OpenError::Unlisted { .. } | OpenError::Unavailable { .. } => Self::Unavailable(detail),
        }
    }
}

/// An origin's error is an answer too where it says what is there.
pub(super) fn word_of(error: OriginError) -> Result<Word, Refusal> {
    let detail = error.to_string();
    match error {
        OriginError::NotFound { .. } => Ok(Word::Nothing),
        OriginError::Unlisted { .. } => Ok(Word::Unlisted(detail)),
        OriginError::Denied { .. } => Err(Refusal::Denied(detail)),
        OriginError::InvalidKey { .. } | OriginError::OutOfRange { .. } | OriginError::Unusable { .. } => {
            Err(Refusal::Invalid(detail))
        }
        OriginError::Throttled { .. } => Err(Refusal::Busy(detail)),
        OriginError::Changed { .. } | OriginError::Unavailable { .. } | OriginError::TimedOut { .. } => {
            Err(Refusal::Unavailable(detail))
        }
    }
}

/// A document is JSON, so it is text, and is written as such.
mod text {
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serializer, ser::Error};

    pub fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(std::str::from_utf8(bytes).map_err(S::Error::custom)?)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        Ok(String::deserialize(deserializer)?.into())
    }
}
