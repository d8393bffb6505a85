//! Where programs that speak S3, or a model hub's API, find what they know.

use herring_gateway::{Asked, HubDoor, S3Door};
use herring_http_api::access::Resource;
use herring_http_api::server::Door;
use herring_swarm::Swarm;

use crate::config::NodeConfig;

/// The hub is the first origin that is all of one.
pub fn doors(config: &NodeConfig, swarm: &Swarm) -> Vec<Door> {
    let hub = config.origins.iter().find(|spec| spec.is_whole_hub()).map(|spec| spec.name().to_owned());
    let (s3, hub) = (S3Door::new(swarm.clone()), HubDoor::new(swarm.clone(), hub));
    let asks = hub.clone();
    vec![
        Door::new("/s3", s3).asking(|method, uri| S3Door::asked(method, uri).map(resource)).refusing(S3Door::refusal),
        Door::new("/hf", hub).asking(move |method, uri| asks.asked(method, uri).map(resource)).refusing(HubDoor::refusal),
    ]
}

fn resource(asked: Asked) -> Resource {
    match asked {
        Asked::Object { origin, key } => Resource::object(&origin, &key),
        Asked::Below { origin, prefix } => Resource::keys(&origin, &prefix),
        Asked::All => Resource::Everything,
    }
}
