//! What is known of origins, to people and to peers.

use std::time::{SystemTime, UNIX_EPOCH};

use herring_http_api::peer::{MetaCall, MetaReply};
use herring_http_api::server::ApiError;
use herring_http_api::types::{OriginEntry, OriginPage};
use herring_swarm::{Listed, Swarm};

use super::{open_error, serve_error};

/// A page of an origin's directory.
pub(super) async fn list(swarm: &Swarm, origin: &str, prefix: &str, token: Option<&str>) -> Result<OriginPage, ApiError> {
    let page = swarm.list_page(origin, prefix, token).await.map_err(open_error)?;
    Ok(OriginPage { entries: page.entries.iter().map(entry).collect(), next: page.next.clone() })
}

/// What this node answers a peer.
pub(super) async fn answer(swarm: &Swarm, call: MetaCall) -> Result<MetaReply, ApiError> {
    swarm.answer_meta(call).await.map_err(serve_error)
}

fn entry(listed: &Listed) -> OriginEntry {
    match listed.clone() {
        Listed::Directory { name } => OriginEntry::Directory { name },
        Listed::Object { name, size, modified, version } => {
            OriginEntry::Object { name, size, version: version.unwrap_or_default(), modified_ms: since_1970(modified) }
        }
    }
}

fn since_1970(time: SystemTime) -> u64 {
    u64::try_from(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}
