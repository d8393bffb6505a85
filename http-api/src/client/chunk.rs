use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use herring_blob::{ChunkDigest, PieceCutter, PieceDigests, Pieces};
use http::HeaderMap;
use tokio::time::{Instant, timeout_at};

use super::PeerError;
use super::answer::Answer;
use super::error::WireError;
use crate::peer::{DIGEST, PIECES};

/// A chunk as it comes from a peer, piece by piece. Dropping it cancels what is still to come.
pub struct ChunkStream {
    digests: PieceDigests,
    answer: Answer,
    cutter: PieceCutter,
    /// What came and is not cut yet.
    part: Bytes,
    until: Until,
}

/// When the asker has waited enough.
#[derive(Debug, Clone, Copy)]
pub(super) struct Until {
    end: Instant,
    limit: Duration,
}

impl Until {
    pub(super) fn within(limit: Duration) -> Self {
        Self { end: Instant::now() + limit, limit }
    }

    /// What is left of the limit.
    pub(super) fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    /// The answer, unless it comes too late.
    pub(super) async fn wait<T>(self, answer: impl Future<Output = Result<T, PeerError>>) -> Result<T, PeerError> {
        timeout_at(self.end, answer).await.unwrap_or_else(|_| Err(PeerError::TimedOut(self.limit.as_millis())))
    }
}

impl ChunkStream {
    /// Of an answer that was asked to begin with piece `first`.
    pub(super) fn new(answer: Answer, pieces: Pieces, first: u32, until: Until) -> Result<Self, WireError> {
        let digests = digests(answer.headers(), pieces)?;
        let size = u64::from(pieces.chunk_len());
        match answer.length() {
            Some(length) if length != size => Err(wrong_length(length, size)),
            _ => Ok(Self { digests, answer, cutter: PieceCutter::new(pieces, first), part: Bytes::new(), until }),
        }
    }

    /// The pieces' digests, which make the digest that they claim. Whether that is the wanted chunk's, the asker knows.
    pub fn digests(&self) -> &PieceDigests {
        &self.digests
    }

    /// The next whole piece and its index: from the first that was asked for to the last, then from 0. `None` once all have
    /// come. Nothing is verified here: that is 64 µs of CPU for 256 KiB, and the asker's to place. An asker may stop waiting and
    /// call again: nothing is lost.
    pub async fn next(&mut self) -> Result<Option<(u32, Bytes)>, PeerError> {
        let until = self.until;
        until.wait(async { Ok(self.piece().await?) }).await
    }

    async fn piece(&mut self) -> Result<Option<(u32, Bytes)>, WireError> {
        loop {
            if let Some(piece) = self.cutter.cut(&mut self.part) {
                return Ok(Some(piece));
            }
            let size = u64::from(self.digests.pieces().chunk_len());
            if !self.part.is_empty() {
                // The cutter leaves only what is too much.
                return Err(wrong_length(self.answer.received(), size));
            }
            match self.answer.next().await? {
                Some(part) => self.part = part,
                None if self.cutter.is_done() => return Ok(None),
                None => return Err(wrong_length(self.answer.received(), size)),
            }
        }
    }
}

impl fmt::Debug for ChunkStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChunkStream({} bytes so far, {:?})", self.answer.received(), self.digests)
    }
}

fn wrong_length(length: u64, size: u64) -> WireError {
    WireError::Garbage(format!("{length} bytes where {size} were expected"))
}

fn digests(headers: &HeaderMap, pieces: Pieces) -> Result<PieceDigests, WireError> {
    let digest: ChunkDigest =
        text(headers, DIGEST)?.parse().map_err(|error| WireError::Garbage(format!("the header {DIGEST}: {error}")))?;
    let found = PieceDigests::from_hex(pieces, digest, text(headers, PIECES)?);
    let (count, len) = (pieces.count(), pieces.chunk_len());
    let wrong = || format!("the header {PIECES} is not the digests of {count} pieces of {len} bytes that make {digest}");
    found.ok_or_else(|| WireError::Garbage(wrong()))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a str, WireError> {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.ok_or_else(|| WireError::Garbage(format!("a chunk without the header {name}")))
}
