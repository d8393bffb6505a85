//! Who owns what: a consistent-hash ring over the members of the swarm.
//!
//! Pure: no clock, no randomness, no I/O. Nodes with the same members compute the same owners without
//! asking each other, so what is here is a wire format. A change of any hash moves data in running swarms.

mod changed;
mod epoch;
mod member;
mod moves;
mod node_id;
mod point;
mod ring;

pub use epoch::Epoch;
pub use member::{MAX_WEIGHT, Member, ORDINARY_WEIGHT};
pub use moves::{Move, Moves};
pub use node_id::{NodeId, NodeIdError};
pub use point::{HexError, Point};
pub use ring::{Ring, VNODES};
