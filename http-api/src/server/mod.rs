//! The router: HTTP in, two traits out.
//!
//! [`Server`] owns the sockets, [`router`] the routes; the node behind them is a [`Backend`] and a [`PeerBackend`].

mod backend;
mod blobs;
mod body;
mod cluster;
mod deadline;
mod docs;
mod error;
mod etag;
mod extract;
mod listen;
mod node;
mod observe;
mod origins;
mod peers;
mod range;
mod representation;
mod router;
mod turned;
mod upload;
mod watched;

pub use backend::{Backend, PeerBackend, PutOutcome};
pub use error::{ApiError, ErrorKind, PROBLEM_JSON};
pub use listen::{BindError, Server, ServerConfig};
pub use router::router;
