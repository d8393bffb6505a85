use herring_blob::{ByteRange, ChunkDigest};

use crate::random::SplitMix64;

/// Ranges whose digests are remembered at most, in 48 bytes each: 200 MB, for 256 GiB of blob in ranges of 64 KiB.
pub const MAX_BLOCKS: usize = 4 << 20;

/// A range that readers ask for, and what must come. It lies within one chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    pub range: ByteRange,
    digest: ChunkDigest,
}

impl Block {
    /// The blocks of `size` bytes, the last perhaps shorter, of a chunk that begins at `start` and was verified.
    pub fn cut(start: u64, chunk: &[u8], size: usize) -> impl Iterator<Item = Self> {
        let block = move |(at, bytes): (usize, &[u8])| {
            let range = ByteRange::at(start + at as u64, bytes.len() as u64);
            Self { range, digest: ChunkDigest::of(bytes) }
        };
        (0..).step_by(size).zip(chunk.chunks(size)).map(block)
    }

    pub fn matches(&self, bytes: &[u8]) -> bool {
        self.digest.matches(bytes)
    }
}

/// A reader's way through the blocks: random enough to defeat read-ahead, and the same in every run.
pub struct Walk(SplitMix64);

impl Walk {
    pub fn new(reader: usize) -> Self {
        Self(SplitMix64::new(reader as u64))
    }

    /// One of `blocks`, which is not empty.
    pub fn pick<'a>(&mut self, blocks: &'a [Block]) -> &'a Block {
        &blocks[self.0.below(blocks.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_tile_their_chunk_and_know_their_bytes() {
        let blocks: Vec<Block> = Block::cut(100, b"herring", 3).collect();
        let ranges: Vec<ByteRange> = blocks.iter().map(|block| block.range).collect();
        assert_eq!(ranges, [ByteRange::new(100, 103), ByteRange::new(103, 106), ByteRange::new(106, 107)]);
        assert!(blocks[0].matches(b"her") && blocks[1].matches(b"rin") && blocks[2].matches(b"g"));
        assert!(!blocks[0].matches(b"hex") && !blocks[0].matches(b"he"));
    }

    #[test]
    fn a_walk_reaches_every_block_and_readers_walk_apart() {
        let blocks: Vec<Block> = Block::cut(0, &[0; 64], 1).collect();
        let steps = |reader| {
            let mut walk = Walk::new(reader);
            (0..1000).map(|_| walk.pick(&blocks).range.start).collect::<Vec<_>>()
        };
        let mut reached = steps(1);
        assert_ne!(reached, steps(2));
        assert_eq!(reached, steps(1));
        reached.sort_unstable();
        reached.dedup();
        assert_eq!(reached.len(), 64);
    }
}
