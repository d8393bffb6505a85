//! What a node says of itself, as the keys and values that chitchat carries. Nothing that comes from there is believed
//! before it was checked.

use std::net::SocketAddr;

use chitchat::{ChitchatId, NodeState as ChitchatState};
use herring_ring::{MAX_WEIGHT, NodeId, NodeIdError};
use tracing::warn;

use crate::roster::Sighting;
use crate::{NodeInfo, StateError};

const HTTP: &str = "http";
const ZONE: &str = "zone";
pub(crate) const WEIGHT: &str = "weight";
const CAPACITY: &str = "capacity";
const VERSION: &str = "version";
pub(crate) const STATE: &str = "state";

/// The longest zone or version, in bytes: with them every node's values fit many times into one datagram.
const MAX_TEXT: usize = 64;

/// Why what a node says of itself cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InfoError {
    #[error(transparent)]
    Id(#[from] NodeIdError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error("http address {0:?} cannot be reached: an IP address and a port that others can use are needed")]
    Http(String),
    #[error("weight {0:?} is not a number up to {MAX_WEIGHT}")]
    Weight(String),
    #[error("capacity {0:?} is not a number of bytes")]
    Capacity(String),
    #[error("{key} has {length} bytes, at most {MAX_TEXT} are allowed")]
    Long { key: &'static str, length: usize },
}

pub(crate) fn key_values(node: &NodeInfo) -> Vec<(String, String)> {
    // They arrive in this order, and perhaps not all at once. A node is heard with its last one, so what may be left out comes before.
    [
        (HTTP, Some(node.http.to_string())),
        (ZONE, Some(node.zone.clone())),
        (CAPACITY, node.capacity.map(|bytes| bytes.to_string())),
        (WEIGHT, Some(node.weight.to_string())),
        (STATE, Some(node.state.to_string())),
        (VERSION, Some(node.version.clone())),
    ]
    .into_iter()
    .filter_map(|(key, value)| Some((key.to_string(), value?)))
    .collect()
}

/// Whether others would believe this.
pub(crate) fn check(node: &NodeInfo) -> Result<(), InfoError> {
    if node.http.ip().is_unspecified() || node.http.port() == 0 {
        return Err(InfoError::Http(node.http.to_string()));
    }
    if node.weight > MAX_WEIGHT {
        return Err(InfoError::Weight(node.weight.to_string()));
    }
    text(ZONE, &node.zone)?;
    text(VERSION, &node.version).map(drop)
}

/// A live node. What it says is left out where it is wrong (with a warning) or has not all arrived.
/// `None` where not even its id is one.
pub(crate) fn sighting(id: &ChitchatId, state: &ChitchatState) -> Option<Sighting> {
    let node = match id.node_id.parse::<NodeId>() {
        Ok(node) => node,
        Err(error) => {
            warn!(peer = ?id, %error, "ignored a peer whose id is none");
            return None;
        }
    };
    let info = read(&node, state).unwrap_or_else(|error| {
        warn!(peer = %node, %error, "ignored what a peer says of itself");
        None
    });
    Some(Sighting { node, generation: id.generation_id, info })
}

/// `None` where a value is missing: the first heartbeat of a node comes before its values.
fn read(id: &NodeId, state: &ChitchatState) -> Result<Option<NodeInfo>, InfoError> {
    let [Some(http), Some(zone), Some(weight), Some(node_state), Some(version)] =
        [HTTP, ZONE, WEIGHT, STATE, VERSION].map(|key| state.get(key))
    else {
        return Ok(None);
    };
    let info = NodeInfo {
        id: id.clone(),
        http: http.parse::<SocketAddr>().map_err(|_| InfoError::Http(excerpt(http)))?,
        zone: text(ZONE, zone)?.to_string(),
        weight: weight.parse().map_err(|_| InfoError::Weight(excerpt(weight)))?,
        capacity: state.get(CAPACITY).map(capacity).transpose()?,
        state: node_state.parse()?,
        version: text(VERSION, version)?.to_string(),
    };
    check(&info)?;
    Ok(Some(info))
}

fn capacity(value: &str) -> Result<u64, InfoError> {
    value.parse().map_err(|_| InfoError::Capacity(excerpt(value)))
}

fn text<'a>(key: &'static str, value: &'a str) -> Result<&'a str, InfoError> {
    if value.len() > MAX_TEXT { Err(InfoError::Long { key, length: value.len() }) } else { Ok(value) }
}

/// Enough to recognise a wrong value by, however long it is.
fn excerpt(value: &str) -> String {
    value.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NodeState;
    use proptest::prelude::*;

    fn node() -> NodeInfo {
        NodeInfo {
            id: "n1".parse().unwrap(),
            http: "10.0.0.1:7070".parse().unwrap(),
            zone: "z".into(),
            weight: 50,
            capacity: Some(1 << 40),
            state: NodeState::Draining,
            version: "0.1.0".into(),
        }
    }

    fn said(id: &str, values: &[(String, String)]) -> Option<Sighting> {
        let mut state = ChitchatState::for_test();
        values.iter().for_each(|(key, value)| state.set(key, value));
        sighting(&ChitchatId::new(id, 7, ([10, 0, 0, 1], 7071).into()), &state)
    }

    fn with(key: &str, value: &str) -> Option<NodeInfo> {
        let mut values = key_values(&node());
        values.iter_mut().filter(|(k, _)| k == key).for_each(|(_, v)| *v = value.into());
        said("n1", &values).unwrap().info
    }

    #[test]
    fn what_is_said_is_what_is_heard() {
        assert_eq!(said("n1", &key_values(&node())), Some(Sighting { node: node().id, generation: 7, info: Some(node()) }));
    }

    #[test]
    fn a_node_is_alive_before_its_values_arrived() {
        assert_eq!(said("n1", &key_values(&node())[1..]).unwrap().info, None);
    }

    #[test]
    fn an_older_node_tells_no_capacity() {
        let older = NodeInfo { capacity: None, ..node() };
        assert!(key_values(&older).iter().all(|(key, _)| key != CAPACITY));
        assert_eq!(said("n1", &key_values(&older)).unwrap().info, Some(older));
    }

    #[test]
    fn a_node_of_which_the_capacity_is_still_on_its_way_is_not_heard_yet() {
        let values = key_values(&node());
        for arrived in 0..values.len() {
            assert_eq!(said("n1", &values[..arrived]).unwrap().info, None, "{arrived} arrived");
        }
    }

    #[test]
    fn wrong_values_are_not_believed() {
        assert_eq!(said("../n1", &key_values(&node())), None);
        for (key, value) in [
            (HTTP, "nowhere"),
            (HTTP, "0.0.0.0:7070"),
            (HTTP, "10.0.0.1:0"),
            (WEIGHT, "10001"),
            (WEIGHT, "-1"),
            (WEIGHT, "99999999999999999999"),
            (CAPACITY, "1TiB"),
            (CAPACITY, "-1"),
            (STATE, "Ready"),
            (ZONE, &"z".repeat(65)),
            (VERSION, &"é".repeat(33)),
        ] {
            assert_eq!(with(key, value), None, "{key} = {value}");
        }
        assert_eq!(with(WEIGHT, "10000").unwrap().weight, 10_000);
    }

    proptest! {
        #[test]
        fn no_value_does_harm(key in 0usize..6, value: String) {
            let key = key_values(&node())[key].0.clone();
            if let Some(info) = with(&key, &value) {
                prop_assert_eq!(check(&info), Ok(()));
            }
        }
    }
}
