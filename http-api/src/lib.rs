//! Both ends of Herring's wire: the router that a node serves, and the clients that talk to one.
//!
//! * [`types`]: the JSON bodies, one definition for both ends; [`name`] and [`ttl`]: how names and leases are spelt.
//! * [`access`]: tokens, and what they are for.
//! * [`peer`]: what peers say to each other beyond JSON: headers, chunk requests.
//! * [`repair`]: what they say so that replicas are where they should be.
//! * [`arriving`]: the body of a chunk that is passed on while it arrives.
//! * [`tls`]: TLS 1.3 for both ends.
//! * [`client`]: [`client::ApiClient`] for people's programs, [`client::PeerClient`] for nodes.
//! * [`server`] (feature `server`): the router over the traits that the program implements.

pub mod access;
pub mod arriving;
pub mod client;
mod congestion;
#[cfg(test)]
mod fuzz;
pub mod name;
pub mod peer;
pub mod repair;
#[cfg(feature = "server")]
pub mod server;
pub mod tls;
pub mod ttl;
pub mod types;

use std::pin::Pin;

use bytes::Bytes;
use futures_util::Stream;

/// A body as it flows: pieces of any size, or the error that ended it.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, std::io::Error>> + Send>>;
