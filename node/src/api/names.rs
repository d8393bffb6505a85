//! Names, to people and to peers.

use async_trait::async_trait;
use herring_blob::BlobId;
use herring_http_api::peer::{NamesCall, NamesReply};
use herring_http_api::server::{ApiError, ErrorKind, NamePut, NamesBackend};
use herring_http_api::types::{Condition, NameInfo, NameList};
use herring_swarm::Swarm;

use super::Api;

#[async_trait]
impl NamesBackend for Api {
    async fn name(&self, _name: &str) -> Result<NameInfo, ApiError> {
        Err(missing())
    }

    async fn put_name(&self, _name: &str, _target: BlobId, _condition: Condition) -> Result<NamePut, ApiError> {
        Err(missing())
    }

    async fn delete_name(&self, _name: &str, _condition: Condition) -> Result<(), ApiError> {
        Err(missing())
    }

    async fn names(&self, _prefix: &str, _after: Option<&str>, _limit: usize) -> Result<NameList, ApiError> {
        Err(missing())
    }
}

/// What this node answers a peer.
pub(super) async fn answer(_swarm: &Swarm, _call: NamesCall) -> Result<NamesReply, ApiError> {
    Err(missing())
}

fn missing() -> ApiError {
    ApiError::new(ErrorKind::Internal, "names are on their way")
}
