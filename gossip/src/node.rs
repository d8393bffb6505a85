use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use herring_ring::{Member, NodeId};
use serde::{Deserialize, Serialize};

/// Where a node is in its life. Only ready ones own anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    /// Up, but not ready to own anything yet.
    Joining,
    Ready,
    /// About to leave: owns nothing any more, and still hands out what it has.
    Draining,
}

/// A text that is no [`NodeState`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a node is joining, ready or draining, not {0:?}")]
pub struct StateError(pub String);

impl NodeState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Joining => "joining",
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for NodeState {
    type Err = StateError;

    fn from_str(text: &str) -> Result<Self, StateError> {
        [Self::Joining, Self::Ready, Self::Draining]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| StateError(text.chars().take(40).collect()))
    }
}

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeInfo {
    pub id: NodeId,
    /// Where it answers HTTP.
    pub http: SocketAddr,
    /// What fails together with it; empty where nothing is said.
    pub zone: String,
    /// Its share of the ring: 100 for an ordinary node.
    pub weight: u32,
    /// Most bytes that it keeps; `None` of older nodes, which do not say.
    pub capacity: Option<u64>,
    pub state: NodeState,
    /// Of the program that it runs.
    pub version: String,
}

impl NodeInfo {
    /// Its place in the ring; `None` as long as it is to own nothing.
    pub(crate) fn member(&self) -> Option<Member> {
        (self.state == NodeState::Ready).then(|| Member { id: self.id.clone(), weight: self.weight, zone: self.zone.clone() })
    }
}
