//! The router: HTTP in, a few traits out.
//!
//! [`Server`] owns the sockets, [`router`] the routes; the node behind them is [`Backends`], and what speaks another dialect
//! than ours comes in by a [`Door`].

mod admission;
mod auth;
mod backend;
mod blobs;
mod body;
mod came;
mod cluster;
mod deadline;
mod docs;
mod door;
mod drain;
mod entry;
mod error;
mod etag;
mod events;
mod extract;
mod jobs;
mod listen;
mod names;
mod node;
mod observe;
mod origins;
mod peers;
mod pins;
mod protocol;
mod range;
mod representation;
mod router;
mod slots;
mod speech;
mod turned;
mod underway;
mod untaken;
mod upload;
mod watched;

pub use admission::Limits;
pub use backend::{Backend, JobsBackend, NamePut, NamesBackend, PeerBackend, PutOutcome};
pub use door::{Door, DoorBody, DoorError};
pub use error::{ApiError, ErrorKind, PROBLEM_JSON};
pub use listen::{BindError, Server, ServerConfig};
pub use router::{Backends, router};
