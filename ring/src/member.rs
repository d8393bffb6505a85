use serde::{Deserialize, Serialize};

use crate::NodeId;

/// The weight of an ordinary node.
pub const ORDINARY_WEIGHT: u32 = 100;

/// The largest weight that counts, a hundred ordinary nodes; more is taken as this. It bounds the memory that one
/// member's word can cost everybody else: 102,400 virtual nodes, 2.4 MB.
pub const MAX_WEIGHT: u32 = 10_000;

/// A node that may own something.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Member {
    pub id: NodeId,
    /// Its share relative to the others: [`ORDINARY_WEIGHT`] for an ordinary node, 0 to own nothing.
    pub weight: u32,
    /// What fails together: a rack, a room, a region. Replicas are kept in different zones where there are enough.
    /// The empty zone is one zone like any other.
    pub zone: String,
}
