//! What this node keeps, and how far that is from what it should keep.

pub use herring_http_api::types::Custody;

use crate::Swarm;

impl Swarm {
    pub fn custody(&self) -> Custody {
        Custody::default()
    }
}
