//! Names.

use herring_blob::BlobId;
pub use herring_http_api::name::NameFault;
use herring_http_api::peer::{NamesCall, NamesReply};
pub use herring_http_api::types::{Condition, NameInfo, NameList};

use crate::{ServeError, Swarm, Tried};

/// Why a name cannot be read or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("the name {name:?} {fault}")]
    Invalid { name: String, fault: NameFault },
    #[error("there is no name {name:?}")]
    NotFound { name: String },
    #[error("the name {name:?} was not changed: {why}")]
    Condition { name: String, why: String },
    #[error("the name {name:?} {why}: {tried}")]
    Unavailable { name: String, why: String, tried: Tried },
}

/// A name that was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamePut {
    pub info: NameInfo,
    /// Whether it pointed at nothing before.
    pub created: bool,
}

impl Swarm {
    /// What a name points at, as most of its owners say.
    pub async fn name(&self, name: &str) -> Result<NameInfo, NameError> {
        Err(NameError::NotFound { name: name.to_owned() })
    }

    /// The same, but what this node heard at most a second ago will do, and where too few owners answer, what it heard last.
    pub async fn name_now(&self, name: &str) -> Result<NameInfo, NameError> {
        self.name(name).await
    }

    /// Points a name at a blob or a tree.
    pub async fn put_name(&self, name: &str, _target: BlobId, _condition: Condition) -> Result<NamePut, NameError> {
        Err(NameError::NotFound { name: name.to_owned() })
    }

    /// Lets a name point at nothing. What it pointed at stays.
    pub async fn delete_name(&self, name: &str, _condition: Condition) -> Result<(), NameError> {
        Err(NameError::NotFound { name: name.to_owned() })
    }

    /// The names that begin with `prefix` and come after `after`, at most `limit`, over all members.
    pub async fn names(&self, _prefix: &str, _after: Option<&str>, _limit: usize) -> Result<NameList, NameError> {
        Ok(NameList::default())
    }

    /// What this node answers a peer.
    pub async fn answer_names(&self, _call: NamesCall) -> Result<NamesReply, ServeError> {
        Err(ServeError::NotHere)
    }
}
