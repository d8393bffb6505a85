//! Who is in the swarm, as a stream of immutable views.
//!
//! Nodes tell each other of themselves by gossip. What comes out is a `watch` of [`View`]s: members and ring together,
//! replaced as one, and only when something changed.

mod company;
mod gossip;
mod key;
mod node;
mod owner;
mod roster;
mod seal;
mod server;
mod socket;
mod view;
mod wire;

pub use gossip::{Gossip, GossipConfig, StartError};
pub use key::{ClusterKeys, KeyError};
pub use node::{NodeInfo, NodeState, StateError};
pub use view::View;
pub use wire::InfoError;
