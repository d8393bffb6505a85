//! A chunk that is passed on while it still arrives: what the body of such an answer looks like.
//!
//! Each piece brings its own digest, and is verified by it as it comes; together they make the chunk's. Where that is known already it comes
//! before the pieces.
//!
//! | frame | bytes |
//! | --- | --- |
//! | a piece | its index as `u32`, its digest (32 bytes), its bytes |
//! | what the chunk is | `u32::MAX - 2`, the chunk's digest (32 bytes), those of its pieces (32 bytes each) |
//! | nothing new, but the peer is alive | `u32::MAX` |
//! | it failed: no more comes | `u32::MAX - 1`, an HTTP status as `u16`, the length of a text as `u16`, the text |
//!
//! Numbers are little-endian. Pieces come in any order, each once; after the last one the body ends.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::stream::BoxStream;
use herring_blob::{Chunk, ChunkDigest, PieceDigest, PieceDigests, Pieces};

/// One frame of such a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arriving {
    Digests(PieceDigests),
    Piece { index: u32, digest: PieceDigest, bytes: Bytes },
    Waiting,
    Failed { status: u16, detail: String },
}

/// A chunk as a peer gets it.
pub enum GivenChunk {
    /// It is here.
    Whole(Chunk),
    /// It is on its way here: each piece once, or a failure, which is the last.
    Arriving(BoxStream<'static, Arriving>),
    /// It cannot be sent just now. Who is likely to have it, by their ids: none where nobody is known.
    Busy { holders: Vec<String> },
}

const WAITING: u32 = u32::MAX;
const FAILED: u32 = u32::MAX - 1;
const DIGESTS: u32 = u32::MAX - 2;
/// Bytes of a chunk's digest.
const DIGEST: usize = 32;
/// Bytes of a reason that are passed on.
const MAX_DETAIL: usize = 4096;

impl Arriving {
    /// The frame as it is sent; a piece's bytes are not copied.
    pub fn encode(self) -> Vec<Bytes> {
        let mut head = BytesMut::with_capacity(4 + PieceDigest::LEN);
        match self {
            Self::Digests(digests) => {
                head.put_u32_le(DIGESTS);
                head.put_slice(digests.digest().as_bytes());
                head.put_slice(&digests.encode());
                vec![head.freeze()]
            }
            Self::Piece { index, digest, bytes } => {
                head.put_u32_le(index);
                head.put_slice(digest.as_bytes());
                vec![head.freeze(), bytes]
            }
            Self::Waiting => {
                head.put_u32_le(WAITING);
                vec![head.freeze()]
            }
            Self::Failed { status, detail } => {
                let end = detail.floor_char_boundary(detail.len().min(MAX_DETAIL));
                head.put_u32_le(FAILED);
                head.put_u16_le(status);
                head.put_u16_le(u16::try_from(end).unwrap_or(0));
                head.put_slice(&detail.as_bytes()[..end]);
                vec![head.freeze()]
            }
        }
    }
}

/// Reads frames out of bytes that come as they like. Without a copy where a piece's bytes come in one part.
#[derive(Debug)]
pub struct ArrivingFrames {
    pieces: Pieces,
    /// The beginning of a frame of which more must come.
    head: BytesMut,
    piece: Option<(u32, PieceDigest, BytesMut)>,
}

/// A frame that cannot be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WrongFrame {
    #[error("piece {0} of a chunk that has no such piece")]
    NoSuchPiece(u32),
    #[error("digests of pieces that do not make the chunk's")]
    Digests,
}

impl ArrivingFrames {
    pub fn new(pieces: Pieces) -> Self {
        Self { pieces, head: BytesMut::new(), piece: None }
    }

    /// The next whole frame out of what is left of `bytes`; `None` where more must come first, and `bytes` is empty then.
    pub fn next(&mut self, bytes: &mut Bytes) -> Result<Option<Arriving>, WrongFrame> {
        if self.piece.is_none() {
            let Some(kind) = self.peek(bytes, 0, 4).map(|mut head| head.get_u32_le()) else { return Ok(None) };
            match kind {
                WAITING => {
                    self.head.clear();
                    return Ok(Some(Arriving::Waiting));
                }
                FAILED => return Ok(self.failed(bytes)),
                DIGESTS => return self.digests(bytes),
                index if index < self.pieces.count() => {
                    let Some(head) = self.peek(bytes, 4, PieceDigest::LEN) else { return Ok(None) };
                    let digest = head.try_into().map(PieceDigest::from_bytes).map_err(|_| WrongFrame::NoSuchPiece(index))?;
                    self.head.clear();
                    self.piece = Some((index, digest, BytesMut::new()));
                }
                index => return Err(WrongFrame::NoSuchPiece(index)),
            }
        }
        Ok(self.body(bytes))
    }

    /// Whether a frame has begun and not ended.
    pub fn is_within(&self) -> bool {
        self.piece.is_some() || !self.head.is_empty()
    }

    /// `len` bytes of the head from `start` on; what is missing of them is taken from `bytes`.
    fn peek(&mut self, bytes: &mut Bytes, start: usize, len: usize) -> Option<&[u8]> {
        let missing = (start + len).saturating_sub(self.head.len()).min(bytes.len());
        self.head.extend_from_slice(&bytes.split_to(missing));
        self.head.get(start..start + len)
    }

    fn digests(&mut self, bytes: &mut Bytes) -> Result<Option<Arriving>, WrongFrame> {
        let pieces = self.pieces;
        let Some(all) = self.peek(bytes, 4, DIGEST + PieceDigests::encoded_len(pieces)) else { return Ok(None) };
        let (digest, values) = all.split_at(DIGEST);
        let digest = digest.try_into().map(ChunkDigest::from_bytes).map_err(|_| WrongFrame::Digests)?;
        let digests = PieceDigests::decode(pieces, digest, values).ok_or(WrongFrame::Digests)?;
        self.head.clear();
        Ok(Some(Arriving::Digests(digests)))
    }

    fn failed(&mut self, bytes: &mut Bytes) -> Option<Arriving> {
        let mut numbers = self.peek(bytes, 4, 4)?;
        let (status, len) = (numbers.get_u16_le(), numbers.get_u16_le());
        let detail = String::from_utf8_lossy(self.peek(bytes, 8, usize::from(len))?).into_owned();
        self.head.clear();
        Some(Arriving::Failed { status, detail })
    }

    fn body(&mut self, bytes: &mut Bytes) -> Option<Arriving> {
        let (index, digest, part) = self.piece.as_mut()?;
        let wanted = self.pieces.range(*index).len();
        let taken = bytes.split_to(bytes.len().min(wanted - part.len()));
        let whole = if taken.len() == wanted {
            taken
        } else {
            part.reserve(wanted - part.len());
            part.extend_from_slice(&taken);
            if part.len() < wanted {
                return None;
            }
            part.split().freeze()
        };
        let frame = Arriving::Piece { index: *index, digest: *digest, bytes: whole };
        self.piece = None;
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CHUNK: u32 = 16 << 10;

    fn frames(len: u32) -> Vec<Arriving> {
        let pieces = Pieces::new(len, CHUNK);
        let piece = |index: u32| {
            let bytes = pieces.range(index).map(|at| at.to_le_bytes()[0] ^ index.to_le_bytes()[0]).collect::<Vec<u8>>();
            Arriving::Piece { index, digest: PieceDigest::from_bytes([index.to_le_bytes()[0]; 32]), bytes: bytes.into() }
        };
        let digests = PieceDigests::of(pieces, &vec![7; len as usize]);
        let mut frames: Vec<_> = [Arriving::Digests(digests)]
            .into_iter()
            .chain((0..pieces.count()).rev().flat_map(|index| [piece(index), Arriving::Waiting]))
            .collect();
        frames.push(Arriving::Failed { status: 409, detail: "größer".into() });
        frames
    }

    proptest! {
        #[test]
        fn however_bytes_come_the_frames_are_the_same(len in 1u32..CHUNK, step in 1usize..5000) {
            let sent = frames(len);
            let bytes = sent.iter().cloned().flat_map(Arriving::encode).collect::<Vec<_>>().concat();
            let (mut reader, mut got) = (ArrivingFrames::new(Pieces::new(len, CHUNK)), Vec::new());
            for part in bytes.chunks(step) {
                let mut part = Bytes::copy_from_slice(part);
                while let Some(frame) = reader.next(&mut part).unwrap() {
                    got.push(frame);
                }
                prop_assert!(part.is_empty());
            }
            prop_assert_eq!(got, sent);
            prop_assert!(!reader.is_within());
        }
    }

    #[test]
    fn a_piece_that_cannot_be_is_refused() {
        let mut reader = ArrivingFrames::new(Pieces::new(10, CHUNK));
        assert_eq!(reader.next(&mut Bytes::from_static(&[1, 0, 0, 0, 9])), Err(WrongFrame::NoSuchPiece(1)));
    }

    /// Bytes of a peer that lies, in parts of any length: each piece is one of the chunk's and of its length, and what waits for more is bounded.
    #[test]
    fn fuzz_arriving() {
        bolero::check!().with_type::<(u16, u8, Vec<(u8, Vec<u8>)>)>().with_iterations(3000).for_each(|(len, step, frames)| {
            let pieces = Pieces::new(u32::from(*len % 16_384), CHUNK);
            let mut bytes = Vec::new();
            for (kind, rest) in frames.iter().take(20) {
                let kind = match kind {
                    0..16 => u32::from(*kind),
                    16..80 => WAITING,
                    80..120 => FAILED,
                    120..160 => DIGESTS,
                    _ => u32::from(*kind) % pieces.count().max(1),
                };
                bytes.extend_from_slice(&kind.to_le_bytes());
                bytes.extend_from_slice(rest);
            }
            let mut reader = ArrivingFrames::new(pieces);
            for part in bytes.chunks(usize::from(*step) + 1) {
                let mut part = Bytes::copy_from_slice(part);
                loop {
                    match reader.next(&mut part) {
                        Ok(Some(Arriving::Piece { index, bytes, .. })) => assert_eq!(bytes.len(), pieces.range(index).len()),
                        Ok(Some(Arriving::Digests(digests))) => {
                            assert_eq!(PieceDigests::decode(pieces, digests.digest(), &digests.encode()), Some(digests))
                        }
                        Ok(Some(_)) => {}
                        Ok(None) => break assert!(part.is_empty()),
                        Err(_) => return,
                    }
                    // The longest that is not a piece: a reason, whose length has two bytes.
                    assert!(reader.head.len() <= 8 + usize::from(u16::MAX));
                }
            }
        });
    }
}
