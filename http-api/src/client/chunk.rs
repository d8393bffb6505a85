use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use herring_blob::{ChunkDigest, PieceCutter, PieceDigest, PieceDigests, Pieces};
use http::HeaderMap;
use tokio::time::{Instant, timeout_at};

use super::PeerError;
use super::answer::Answer;
use super::error::WireError;
use crate::arriving::{Arriving, ArrivingFrames};
use crate::peer::{ARRIVING, DIGEST, LOAD, PIECES};

/// A chunk as it comes from a peer, piece by piece. Dropping it cancels what is still to come.
pub struct ChunkStream {
    pieces: Pieces,
    body: Body,
    answer: Answer,
    /// What came and is not cut yet.
    part: Bytes,
    until: Until,
}

/// How the pieces come.
enum Body {
    /// The peer has the chunk: the pieces' digests first, then the bytes.
    Whole { digests: PieceDigests, cutter: PieceCutter },
    /// It is on its way to the peer too: each piece with its digest, and those of all as soon as the peer knows them.
    Arriving { frames: ArrivingFrames, left: u32, digests: Option<PieceDigests> },
}

/// One piece of a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    pub index: u32,
    pub bytes: Bytes,
    /// What the peer says that its digest is, where it did not say so in front.
    pub digest: Option<PieceDigest>,
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
        let size = u64::from(pieces.chunk_len());
        let body = if answer.headers().contains_key(ARRIVING) {
            Body::Arriving { frames: ArrivingFrames::new(pieces), left: pieces.count(), digests: None }
        } else {
            let digests = digests(answer.headers(), pieces)?;
            if let Some(length) = answer.length().filter(|length| *length != size) {
                return Err(wrong_length(length, size));
            }
            Body::Whole { digests, cutter: PieceCutter::new(pieces, first) }
        };
        Ok(Self { pieces, body, answer, part: Bytes::new(), until })
    }

    /// The pieces' digests, which make the digest that they claim. Whether that is the wanted chunk's, the asker knows. `None` where the
    /// chunk is still on its way to the peer, and it has not said so yet: then each piece brings its own.
    pub fn digests(&self) -> Option<&PieceDigests> {
        match &self.body {
            Body::Whole { digests, .. } => Some(digests),
            Body::Arriving { digests, .. } => digests.as_ref(),
        }
    }

    /// Whether the peer has all of it: it waits for nobody.
    pub fn is_here(&self) -> bool {
        matches!(self.body, Body::Whole { .. })
    }

    /// Bytes that the peer is about to send to all who asked it, if it says so.
    pub fn load(&self) -> Option<u64> {
        self.answer.headers().get(LOAD)?.to_str().ok()?.parse().ok()
    }

    /// The next whole piece: from the first that was asked for to the last, then from 0; of a chunk that is still on its way, in the order in
    /// which they come there. `None` once all have come. Nothing is verified here: that is 64 µs of CPU for 256 KiB, and the asker's to place.
    /// An asker may stop waiting and call again: nothing is lost.
    pub async fn next(&mut self) -> Result<Option<Piece>, PeerError> {
        let until = self.until;
        until.wait(self.piece()).await
    }

    async fn piece(&mut self) -> Result<Option<Piece>, PeerError> {
        loop {
            match self.cut()? {
                Some(Arriving::Piece { index, digest, bytes }) => return Ok(Some(Piece { index, bytes, digest: Some(digest) })),
                Some(Arriving::Waiting | Arriving::Digests(_)) => continue,
                Some(Arriving::Failed { status, detail }) => return Err(PeerError::of(status, detail)),
                None => {}
            }
            if let Body::Whole { cutter, .. } = &mut self.body
                && let Some((index, bytes)) = cutter.cut(&mut self.part)
            {
                return Ok(Some(Piece { index, bytes, digest: None }));
            }
            let size = u64::from(self.pieces.chunk_len());
            if !self.part.is_empty() {
                // Only what is too much is left uncut.
                return Err(wrong_length(self.answer.received(), size).into());
            }
            match self.answer.next().await? {
                Some(part) => self.part = part,
                None if self.is_done() => return Ok(None),
                None => return Err(wrong_length(self.answer.received(), size).into()),
            }
        }
    }

    /// The next frame of a chunk that is on its way; never one of a chunk that the peer has.
    fn cut(&mut self) -> Result<Option<Arriving>, WireError> {
        let Body::Arriving { frames, left, digests } = &mut self.body else { return Ok(None) };
        let frame = frames.next(&mut self.part).map_err(|error| WireError::Garbage(error.to_string()))?;
        match &frame {
            Some(Arriving::Piece { .. }) => {
                *left = left.checked_sub(1).ok_or_else(|| WireError::Garbage("more pieces than the chunk has".to_owned()))?;
            }
            Some(Arriving::Digests(all)) => *digests = Some(all.clone()),
            _ => {}
        }
        Ok(frame)
    }

    fn is_done(&self) -> bool {
        match &self.body {
            Body::Whole { cutter, .. } => cutter.is_done(),
            Body::Arriving { frames, left, .. } => *left == 0 && !frames.is_within(),
        }
    }
}

impl fmt::Debug for ChunkStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChunkStream({} bytes so far, {:?})", self.answer.received(), self.digests())
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
