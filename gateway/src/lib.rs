//! Doors for programs that speak another dialect than ours: S3, and the API of a Hugging Face hub. What they read comes through the
//! swarm.
//!
//! Both are tower services that answer any request, whatever its body, and never fail. Neither writes: what would change anything is
//! refused. Neither asks who calls: S3's signatures and a hub's tokens are read by nobody here until this node has tokens of its own.

mod hub;
mod object;
mod s3;

use std::error::Error;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;

pub use hub::HubDoor;
pub use s3::S3Door;

/// Whatever breaks a body.
type BodyError = Box<dyn Error + Send + Sync>;

/// What is answered.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;
