//! Both ends of Herring's wire: the router that a node serves, and the clients that talk to one.
//!
//! * [`types`]: the JSON bodies, one definition for both ends.
//! * [`peer`]: what peers say to each other beyond JSON: headers, chunk requests.
//! * [`client`]: [`client::ApiClient`] for people's programs, [`client::PeerClient`] for nodes.
//! * [`server`] (feature `server`): the router over two traits that the program implements.

pub mod client;
pub mod peer;
#[cfg(feature = "server")]
pub mod server;
pub mod types;

use std::pin::Pin;

use bytes::Bytes;
use futures_util::Stream;

/// A body as it flows: pieces of any size, or the error that ended it.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, std::io::Error>> + Send>>;
