use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use blake3::Hasher;
use blake3::hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};

use crate::ChunkDigest;

/// The most pieces that a chunk is cut into.
const MOST: u32 = 16;
/// BLAKE3's tree has leaves of this many bytes: no piece is smaller.
const LEAF: u32 = 1024;
/// Bytes of one piece's digest.
const VALUE: usize = 32;

/// How a chunk is cut into pieces: the parts that can be verified one by one. All pieces are of one size but the last, which may be
/// shorter. 16 pieces of 256 KiB in a chunk of 4 MiB: at 1 Gbit/s the first bytes are there after 2 ms and not after 34.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pieces {
    /// Bytes of the chunk.
    len: u32,
    /// Bytes of a piece: a power of two, so that each piece is a subtree of the chunk's BLAKE3 tree.
    size: u32,
}

impl Pieces {
    /// The pieces of a chunk of `len` bytes, at most `chunk_size`, which is what the size of a piece comes from.
    pub fn new(len: u32, chunk_size: u32) -> Self {
        Self { len, size: chunk_size.div_ceil(MOST).next_power_of_two().max(LEAF) }
    }

    /// Bytes of the chunk.
    pub fn chunk_len(&self) -> u32 {
        self.len
    }

    /// At most 16; none of an empty chunk.
    pub fn count(&self) -> u32 {
        self.len.div_ceil(self.size)
    }

    /// The bytes of piece `index` within the chunk; empty past the last.
    pub fn range(&self, index: u32) -> Range<u32> {
        let start = index.saturating_mul(self.size).min(self.len);
        start..start.saturating_add(self.size).min(self.len)
    }

    /// The pieces that hold any of these bytes of the chunk.
    pub fn covering(&self, bytes: Range<u32>) -> Range<u32> {
        let end = bytes.end.min(self.len);
        if bytes.start >= end { 0..0 } else { bytes.start / self.size..end.div_ceil(self.size) }
    }

    /// The chaining value of piece `index`; of the only piece, the chunk's digest itself.
    pub(crate) fn value(&self, index: u32, bytes: &[u8]) -> Value {
        if self.count() <= 1 {
            return *blake3::hash(bytes).as_bytes();
        }
        let mut hasher = Hasher::new();
        hasher.set_input_offset(u64::from(index) * u64::from(self.size));
        hasher.update(bytes).finalize_non_root()
    }
}

pub(crate) type Value = [u8; VALUE];

/// The digest of one piece, of which its place in the chunk is a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PieceDigest(pub(crate) Value);

impl PieceDigest {
    pub const LEN: usize = VALUE;

    pub const fn from_bytes(bytes: [u8; VALUE]) -> Self {
        Self(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; VALUE] {
        &self.0
    }

    /// Whether it is that of piece `index`, which these bytes are. Takes 64 µs for 256 KiB.
    pub fn is_of(&self, pieces: Pieces, index: u32, bytes: &[u8]) -> bool {
        pieces.value(index, bytes) == self.0
    }
}

/// The digests of a chunk's pieces, which together make the chunk's: the inner nodes of its BLAKE3 tree.
/// Whoever knows the chunk's digest can check them, and then each piece as it comes. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct PieceDigests {
    pieces: Pieces,
    root: ChunkDigest,
    values: Arc<[Value]>,
}

impl PieceDigests {
    /// The bytes in which the digests of `pieces` are written, 32 a piece.
    pub fn encoded_len(pieces: Pieces) -> usize {
        pieces.count() as usize * VALUE
    }

    /// Computed from the chunk's bytes, which must be as many as `pieces` says.
    pub fn of(pieces: Pieces, bytes: &[u8]) -> Self {
        let part = |range: Range<u32>| &bytes[range.start as usize..range.end as usize];
        Self::from_values(pieces, (0..pieces.count()).map(|n| pieces.value(n, part(pieces.range(n)))).collect())
    }

    pub(crate) fn from_values(pieces: Pieces, values: Arc<[Value]>) -> Self {
        Self { pieces, root: ChunkDigest::from_bytes(root(&values)), values }
    }

    /// What [`encode`](Self::encode) wrote. `None` where it has another length or is not what makes `digest`.
    pub fn decode(pieces: Pieces, digest: ChunkDigest, bytes: &[u8]) -> Option<Self> {
        let (values, rest) = bytes.as_chunks::<VALUE>();
        if !rest.is_empty() || values.len() != pieces.count() as usize {
            return None;
        }
        Some(Self::from_values(pieces, values.into())).filter(|found| found.root == digest)
    }

    pub fn encode(&self) -> Vec<u8> {
        self.values.as_flattened().to_vec()
    }

    /// The same as hexadecimal digits, for a header.
    pub fn to_hex(&self) -> String {
        use fmt::Write;
        self.values.as_flattened().iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("writing to a String cannot fail");
            text
        })
    }

    /// What [`to_hex`](Self::to_hex) wrote. `None` where it is no such text, or not what makes `digest`.
    pub fn from_hex(pieces: Pieces, digest: ChunkDigest, text: &str) -> Option<Self> {
        if text.len() != Self::encoded_len(pieces) * 2 {
            return None;
        }
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let byte = |pair: &[u8; 2]| Some(digit(pair[0])? << 4 | digit(pair[1])?);
        let bytes: Option<Vec<u8>> = text.as_bytes().as_chunks::<2>().0.iter().map(byte).collect();
        Self::decode(pieces, digest, &bytes?)
    }

    /// The chunk's.
    pub fn digest(&self) -> ChunkDigest {
        self.root
    }

    pub fn pieces(&self) -> Pieces {
        self.pieces
    }

    /// That of piece `index`.
    pub fn piece(&self, index: u32) -> Option<PieceDigest> {
        self.values.get(index as usize).copied().map(PieceDigest)
    }

    /// Whether `bytes` are piece `index`.
    pub fn verify(&self, index: u32, bytes: &[u8]) -> bool {
        let range = self.pieces.range(index);
        let value = self.values.get(index as usize);
        range.len() == bytes.len() && value.is_some_and(|value| *value == self.pieces.value(index, bytes))
    }

    pub(crate) fn has_value(&self, index: u32, value: &Value) -> bool {
        self.values.get(index as usize) == Some(value)
    }
}

impl fmt::Debug for PieceDigests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PieceDigests({} of {})", self.values.len(), self.root)
    }
}

/// The digest that the chaining values of a whole chunk's pieces make.
fn root(values: &[Value]) -> Value {
    match values {
        [] => *blake3::hash(b"").as_bytes(),
        [only] => *only,
        _ => {
            let (left, right) = values.split_at(left_len(values.len()));
            *merge_subtrees_root(&subtree(left), &subtree(right), Mode::Hash).as_bytes()
        }
    }
}

fn subtree(values: &[Value]) -> Value {
    match values {
        [only] => *only,
        _ => {
            let (left, right) = values.split_at(left_len(values.len()));
            merge_subtrees_non_root(&subtree(left), &subtree(right), Mode::Hash)
        }
    }
}

/// The left side of a BLAKE3 tree is the largest power of two that leaves something for the right.
fn left_len(len: usize) -> usize {
    len.div_ceil(2).next_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_come_from_the_chunk_size() {
        assert_eq!(Pieces::new(4 << 20, 4 << 20), Pieces { len: 4 << 20, size: 256 << 10 });
        assert_eq!(Pieces::new(4 << 20, 4 << 20).count(), 16);
        assert_eq!(Pieces::new(5, 4 << 20).count(), 1);
        assert_eq!(Pieces::new(0, 4).count(), 0);
        assert!(Pieces::new(64 << 20, crate::MAX_CHUNK_SIZE).count() <= MOST);
    }

    #[test]
    fn pieces_cover_what_they_touch() {
        let pieces = Pieces::new(10 << 10, 16 << 10);
        assert_eq!(pieces.count(), 10);
        assert_eq!(pieces.covering(0..1), 0..1);
        assert_eq!(pieces.covering(1023..1025), 0..2);
        assert_eq!(pieces.covering(0..u32::MAX), 0..10);
        assert!(pieces.covering(10 << 10..u32::MAX).is_empty());
        assert!(pieces.range(10).is_empty() && pieces.range(u32::MAX).is_empty());
    }

    proptest! {
        #[test]
        fn the_pieces_make_the_chunks_digest(len in 0u32..40_000, chunk_size in 40_000u32..400_000, seed in any::<u8>()) {
            let bytes: Vec<u8> = (0..len).map(|n| u8::try_from((n * 31 + n / 251) % 251).unwrap() ^ seed).collect();
            let pieces = Pieces::new(len, chunk_size);
            let digests = PieceDigests::of(pieces, &bytes);
            let digest = ChunkDigest::of(&bytes);
            prop_assert_eq!(digests.digest(), digest);
            prop_assert_eq!(PieceDigests::decode(pieces, digest, &digests.encode()), Some(digests.clone()));
            prop_assert_eq!(PieceDigests::from_hex(pieces, digest, &digests.to_hex()), Some(digests.clone()));
            for n in 0..pieces.count() {
                let range = pieces.range(n);
                let mut piece = bytes[range.start as usize..range.end as usize].to_vec();
                prop_assert!(digests.verify(n, &piece));
                prop_assert!(!digests.verify(n + 1, &piece));
                piece[0] ^= 1;
                prop_assert!(!digests.verify(n, &piece));
            }
        }

        #[test]
        fn digests_of_another_chunk_are_refused(len in 3000u32..40_000, at in any::<prop::sample::Index>()) {
            let bytes = vec![7; len as usize];
            let pieces = Pieces::new(len, 40_000);
            let digests = PieceDigests::of(pieces, &bytes);
            let mut encoded = digests.encode();
            let at = at.index(encoded.len());
            encoded[at] ^= 1;
            prop_assert_eq!(PieceDigests::decode(pieces, digests.digest(), &encoded), None);
            prop_assert_eq!(PieceDigests::decode(pieces, digests.digest(), &encoded[1..]), None);
            prop_assert_eq!(PieceDigests::from_hex(pieces, digests.digest(), "xyz"), None);
        }
    }
}
