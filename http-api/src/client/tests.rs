//! Both clients against small servers on loopback, well-behaved and not.

use std::time::Duration;

use bytes::Bytes;

use super::Piece;

mod api;
mod chunk;
mod peer;
mod raw;
mod server;

/// Longer than any test waits.
const PATIENT: Duration = Duration::from_secs(60);

/// A piece as it comes of a chunk that the peer has.
fn held(index: u32, bytes: impl Into<Bytes>) -> Piece {
    Piece { index, bytes: bytes.into(), digest: None }
}
