use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::pieces::Value;
use crate::{ChunkDigest, PieceDigest, PieceDigests, Pieces};

/// A chunk's bytes, known to be what its digest says: whoever has one need not verify again. Cheap to clone.
#[derive(Clone)]
pub struct Chunk(Arc<Inner>);

struct Inner {
    digests: PieceDigests,
    /// The bytes in order, cut wherever they happened to arrive.
    segments: Vec<Bytes>,
}

impl Chunk {
    /// The chunk that these bytes are: at most `chunk_size` of them, in which the whole is cut. Takes 1 ms for 4 MiB.
    pub fn of(bytes: Bytes, chunk_size: u32) -> Self {
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        Self::known(PieceDigests::of(Pieces::new(len, chunk_size), &bytes), vec![bytes])
    }

    /// These bytes if they are the chunk of this digest. Takes 1 ms for 4 MiB.
    pub fn verify(bytes: Bytes, chunk_size: u32, digest: ChunkDigest) -> Option<Self> {
        Some(Self::of(bytes, chunk_size)).filter(|chunk| chunk.digest() == digest)
    }

    /// For who has verified these very bytes before.
    pub fn known(digests: PieceDigests, segments: Vec<Bytes>) -> Self {
        Self(Arc::new(Inner { digests, segments }))
    }

    pub fn digest(&self) -> ChunkDigest {
        self.0.digests.digest()
    }

    pub fn digests(&self) -> &PieceDigests {
        &self.0.digests
    }

    /// Bytes.
    pub fn len(&self) -> u32 {
        self.0.digests.pieces().chunk_len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes in order, in one or more parts.
    pub fn segments(&self) -> &[Bytes] {
        &self.0.segments
    }

    /// The bytes of `range`, which must lie in the chunk: without a copy where they lie in one segment.
    pub fn slice(&self, range: Range<u32>) -> Bytes {
        gather(&self.0.segments, range.start as usize..range.end as usize)
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chunk({} bytes, {})", self.len(), self.digest())
    }
}

fn gather(segments: &[Bytes], range: Range<usize>) -> Bytes {
    let mut start = 0;
    let mut parts = segments.iter().filter_map(|segment| {
        let (from, to) = (range.start.max(start), range.end.min(start + segment.len()));
        let part = (from < to).then(|| segment.slice(from - start..to - start));
        start += segment.len();
        part
    });
    let first = parts.next().unwrap_or_default();
    if first.len() == range.len() {
        return first;
    }
    let mut whole = BytesMut::with_capacity(range.len());
    whole.extend_from_slice(&first);
    parts.for_each(|part| whole.extend_from_slice(&part));
    whole.freeze()
}

/// A piece that is not what it should be: of another length, or other bytes than its digest says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("piece {0} of the chunk has wrong bytes")]
pub struct WrongPiece(pub u32);

/// A chunk on its way: its pieces land in any order, each verified where their digests are known, and can be read at once.
#[derive(Debug, Clone)]
pub struct Arrival {
    pieces: Pieces,
    expected: Option<PieceDigests>,
    landed: Vec<Option<(Value, Bytes)>>,
}

impl Arrival {
    /// Each piece is verified as it lands.
    pub fn verifying(expected: PieceDigests) -> Self {
        Self { expected: Some(expected.clone()), ..Self::hashing(expected.pieces()) }
    }

    /// Nobody knows the digests yet; they are computed as pieces land.
    pub fn hashing(pieces: Pieces) -> Self {
        Self { pieces, expected: None, landed: vec![None; pieces.count() as usize] }
    }

    pub fn pieces(&self) -> Pieces {
        self.pieces
    }

    /// What the pieces must be, where that is known.
    pub fn expected(&self) -> Option<&PieceDigests> {
        self.expected.as_ref()
    }

    /// Whether piece `index` has landed.
    pub fn has(&self, index: u32) -> bool {
        self.landed.get(index as usize).is_some_and(Option::is_some)
    }

    /// From now on pieces must be these; of those that landed, the ones that are not are forgotten.
    pub fn expect(&mut self, expected: PieceDigests) {
        for (index, landed) in (0..).zip(&mut self.landed) {
            if landed.as_ref().is_some_and(|(value, _)| !expected.has_value(index, value)) {
                *landed = None;
            }
        }
        self.expected = Some(expected);
    }

    /// From now on pieces may be anything.
    pub fn expect_anything(&mut self) {
        self.expected = None;
    }

    /// Takes piece `index`. Takes 64 µs for 256 KiB.
    pub fn land(&mut self, index: u32, bytes: Bytes) -> Result<(), WrongPiece> {
        self.take(index, bytes, |_| true)
    }

    /// Takes piece `index` as one whose digest was said to be this.
    pub fn land_as(&mut self, index: u32, bytes: Bytes, digest: PieceDigest) -> Result<(), WrongPiece> {
        self.take(index, bytes, |value| *value == digest.0)
    }

    fn take(&mut self, index: u32, bytes: Bytes, is_said: impl FnOnce(&Value) -> bool) -> Result<(), WrongPiece> {
        let range = self.pieces.range(index);
        let right = !range.is_empty() && range.len() == bytes.len();
        let value = right.then(|| self.pieces.value(index, &bytes)).ok_or(WrongPiece(index))?;
        if !is_said(&value) || self.expected.as_ref().is_some_and(|expected| !expected.has_value(index, &value)) {
            return Err(WrongPiece(index));
        }
        self.landed[index as usize] = Some((value, bytes));
        Ok(())
    }

    /// Piece `index` with its digest, if it has landed.
    pub fn piece(&self, index: u32) -> Option<(PieceDigest, Bytes)> {
        let (value, bytes) = self.landed.get(index as usize)?.as_ref()?;
        Some((PieceDigest(*value), bytes.clone()))
    }

    /// The bytes of `range` of the chunk, if all pieces that hold any of them have landed.
    pub fn slice(&self, range: Range<u32>) -> Option<Bytes> {
        let wanted = self.pieces.covering(range.clone());
        let first = self.pieces.range(wanted.start).start;
        let segments: Option<Vec<Bytes>> = wanted.map(|n| Some(self.landed[n as usize].as_ref()?.1.clone())).collect();
        let end = range.end.min(self.pieces.chunk_len());
        Some(gather(&segments?, range.start.saturating_sub(first) as usize..end.saturating_sub(first) as usize))
    }

    /// The chunk, if all of it has landed.
    pub fn chunk(&self) -> Option<Chunk> {
        let landed: Option<Vec<_>> = self.landed.iter().cloned().collect();
        let (values, segments): (Vec<Value>, Vec<Bytes>) = landed?.into_iter().unzip();
        let digests = self.expected.clone().unwrap_or_else(|| PieceDigests::from_values(self.pieces, values.into()));
        Some(Chunk::known(digests, segments))
    }
}

/// Cuts bytes that come as they like into pieces, in the order in which they were asked for: from piece `first` to the last, then
/// from the beginning. Without a copy where a piece comes in one part.
#[derive(Debug)]
pub struct PieceCutter {
    pieces: Pieces,
    next: u32,
    left: u32,
    part: BytesMut,
}

impl PieceCutter {
    /// A `first` past the last piece is taken for 0.
    pub fn new(pieces: Pieces, first: u32) -> Self {
        let next = if first < pieces.count() { first } else { 0 };
        Self { pieces, next, left: pieces.count(), part: BytesMut::new() }
    }

    /// The next whole piece out of what is left of `bytes`; `None` where more must come first.
    pub fn cut(&mut self, bytes: &mut Bytes) -> Option<(u32, Bytes)> {
        let wanted = if self.left == 0 { 0 } else { self.pieces.range(self.next).len() };
        if wanted == 0 {
            return None;
        }
        let take = bytes.len().min(wanted - self.part.len());
        let taken = bytes.split_to(take);
        let piece = match take == wanted {
            true => taken,
            false => {
                self.part.reserve(wanted - self.part.len());
                self.part.extend_from_slice(&taken);
                if self.part.len() < wanted {
                    return None;
                }
                self.part.split().freeze()
            }
        };
        let index = self.next;
        (self.next, self.left) = ((index + 1) % self.pieces.count(), self.left - 1);
        Some((index, piece))
    }

    /// Whether all pieces have been cut; what comes now is too much.
    pub fn is_done(&self) -> bool {
        self.left == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CHUNK: u32 = 16 << 10;

    fn bytes(len: u32) -> Bytes {
        (0..len).map(|n| u8::try_from((n * 7 + n / 256) % 251).unwrap()).collect::<Vec<u8>>().into()
    }

    proptest! {
        #[test]
        fn pieces_in_any_order_make_the_chunk(len in 1u32..CHUNK, order in any::<u64>(), known in any::<bool>(), a in 0u32..CHUNK, b in 0u32..CHUNK) {
            let whole = bytes(len);
            let chunk = Chunk::of(whole.clone(), CHUNK);
            prop_assert_eq!(chunk.digest(), ChunkDigest::of(&whole));
            let pieces = chunk.digests().pieces();
            let mut arrival = if known { Arrival::verifying(chunk.digests().clone()) } else { Arrival::hashing(pieces) };
            let count = pieces.count();
            for n in 0..count {
                prop_assert!(arrival.chunk().is_none());
                let index = (n + u32::try_from(order % u64::from(count)).unwrap()) % count;
                let range = pieces.range(index);
                prop_assert_eq!(arrival.slice(range.clone()), None);
                arrival.land(index, whole.slice(range.start as usize..range.end as usize)).unwrap();
                prop_assert_eq!(arrival.slice(range.clone()).unwrap(), whole.slice(range.start as usize..range.end as usize));
            }
            let landed = arrival.chunk().unwrap();
            prop_assert_eq!(landed.digest(), chunk.digest());
            let range = a.min(b).min(len)..a.max(b).min(len);
            let expected = whole.slice(range.start as usize..range.end as usize);
            prop_assert_eq!(&landed.slice(range.clone()), &expected);
            prop_assert_eq!(&chunk.slice(range.clone()), &expected);
            prop_assert_eq!(&arrival.slice(range).unwrap(), &expected);
        }
    }

    proptest! {
        #[test]
        fn however_bytes_come_the_pieces_are_the_same(len in 1u32..CHUNK, first in 0u32..20, step in 1usize..5000) {
            let whole = bytes(len);
            let pieces = Pieces::new(len, CHUNK);
            let start = pieces.range(if first < pieces.count() { first } else { 0 }).start as usize;
            let mut cutter = PieceCutter::new(pieces, first);
            let mut arrival = Arrival::hashing(pieces);
            let turned = [whole.slice(start..), whole.slice(..start)].concat();
            for part in turned.chunks(step) {
                let mut part = Bytes::copy_from_slice(part);
                while let Some((index, piece)) = cutter.cut(&mut part) {
                    arrival.land(index, piece).unwrap();
                }
                prop_assert!(part.is_empty());
            }
            prop_assert!(cutter.is_done());
            prop_assert_eq!(arrival.chunk().unwrap().slice(0..len), whole);
        }
    }

    #[test]
    fn a_wrong_piece_does_not_land() {
        let whole = bytes(5000);
        let chunk = Chunk::of(whole.clone(), CHUNK);
        let mut arrival = Arrival::verifying(chunk.digests().clone());
        assert_eq!(arrival.land(1, whole.slice(0..1024)), Err(WrongPiece(1)));
        assert_eq!(arrival.land(0, whole.slice(0..1023)), Err(WrongPiece(0)));
        assert_eq!(arrival.land(5, Bytes::new()), Err(WrongPiece(5)));
        assert_eq!(arrival.slice(0..1), None);
        assert!(arrival.land(0, whole.slice(0..1024)).is_ok());
        let (digest, bytes) = arrival.piece(0).unwrap();
        let mut told = Arrival::hashing(chunk.digests().pieces());
        assert_eq!(told.land_as(1, whole.slice(1024..2048), digest), Err(WrongPiece(1)));
        assert!(told.land_as(0, bytes, digest).is_ok() && told.land(1, whole.slice(0..1024)).is_ok());
        told.expect(chunk.digests().clone());
        assert!(told.has(0) && !told.has(1), "what is not as expected is forgotten");
        assert!(Chunk::verify(whole.clone(), CHUNK, chunk.digest()).is_some());
        assert!(Chunk::verify(whole.slice(1..), CHUNK, chunk.digest()).is_none());
    }
}
