//! Doors for programs that speak another dialect than ours: S3, and the API of a Hugging Face hub. What they read comes through the
//! swarm.
//!
//! Both are tower services that answer any request, whatever its body, and never fail. Neither writes: what would change anything is
//! refused. Neither asks who calls: whoever stands before them does, and they tell it what a request would read ([`Asked`]). S3's
//! signatures are looked at by nobody.

mod asked;
mod hub;
mod object;
mod s3;

use std::error::Error;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;

pub use asked::Asked;
pub use hub::HubDoor;
pub use s3::S3Door;

/// Whatever breaks a body.
type BodyError = Box<dyn Error + Send + Sync>;

/// What is answered.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;
