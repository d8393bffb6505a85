//! The asking end: [`PeerClient`] for nodes among each other, [`ApiClient`] for people's programs.
//!
//! Both stand on the same connection layer, from the outside in:
//!
//! * `route`: the connections to one address, and who may use which of them now;
//! * `lane`: one connection, opened on demand, shared, replaced once it is closed;
//! * `link`: one open HTTP/2 connection and the tasks that drive it;
//! * `answer`: a head and a body, read with bounds; `chunk`: one that is a chunk, read piece by piece.

mod alive;
mod answer;
mod api;
mod chunk;
mod config;
mod error;
mod jobs;
mod lane;
mod link;
mod names;
mod peer;
mod route;
mod segments;
#[cfg(test)]
mod tests;
mod upload;

pub use api::ApiClient;
pub use chunk::{ChunkStream, Piece};
pub use config::PeerConfig;
pub use error::{ClientError, PeerError};
pub use jobs::JobStream;
#[cfg(test)]
pub(crate) use peer::holders;
pub use peer::{Ask, PeerClient};
