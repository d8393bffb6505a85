//! What is known of origins, to people and to peers.

use herring_http_api::peer::{MetaCall, MetaReply};
use herring_http_api::server::{ApiError, ErrorKind};
use herring_http_api::types::OriginPage;
use herring_swarm::Swarm;

/// A page of an origin's directory.
pub(super) async fn list(_swarm: &Swarm, _origin: &str, _prefix: &str, _token: Option<&str>) -> Result<OriginPage, ApiError> {
    Err(missing())
}

/// What this node answers a peer.
pub(super) async fn answer(_swarm: &Swarm, _call: MetaCall) -> Result<MetaReply, ApiError> {
    Err(missing())
}

fn missing() -> ApiError {
    ApiError::new(ErrorKind::Internal, "metadata is on its way")
}
