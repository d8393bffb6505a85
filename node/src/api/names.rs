//! Names, to people and to peers.

use async_trait::async_trait;
use herring_blob::BlobId;
use herring_http_api::peer::{NamesCall, NamesReply};
use herring_http_api::server::{ApiError, ErrorKind, NamePut, NamesBackend};
use herring_http_api::types::{Condition, NameInfo, NameList};
use herring_swarm::{NameError, Swarm};

use super::Api;

#[async_trait]
impl NamesBackend for Api {
    async fn name(&self, name: &str) -> Result<NameInfo, ApiError> {
        self.swarm.name(name).await.map_err(name_error)
    }

    async fn put_name(&self, name: &str, target: BlobId, condition: Condition) -> Result<NamePut, ApiError> {
        let put = self.swarm.put_name(name, target, condition).await.map_err(name_error)?;
        Ok(NamePut { info: put.info, created: put.created })
    }

    async fn delete_name(&self, name: &str, condition: Condition) -> Result<(), ApiError> {
        self.swarm.delete_name(name, condition).await.map_err(name_error)
    }

    async fn names(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<NameList, ApiError> {
        self.swarm.names(prefix, after, limit).await.map_err(name_error)
    }
}

/// What this node answers a peer.
pub(super) async fn answer(swarm: &Swarm, call: NamesCall) -> Result<NamesReply, ApiError> {
    swarm.answer_names(call).await.map_err(name_error)
}

pub(super) fn name_error(error: NameError) -> ApiError {
    let kind = match error {
        NameError::Invalid { .. } => ErrorKind::BadRequest,
        NameError::NotFound { .. } => ErrorKind::NotFound,
        NameError::Condition { .. } => ErrorKind::PreconditionFailed,
        NameError::NotReady | NameError::Minority(_) | NameError::Unavailable { .. } | NameError::Unclear { .. } => {
            ErrorKind::Unavailable
        }
    };
    ApiError::new(kind, error.to_string())
}
