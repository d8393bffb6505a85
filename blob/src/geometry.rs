use crate::{ByteRange, MAX_CHUNK_SIZE, Pieces};

/// How something of a known size is cut into chunks: all of `chunk_size` bytes but the last, which may be shorter.
/// Something empty has no chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Geometry {
    size: u64,
    chunk_size: u32,
}

impl Geometry {
    /// `None` where the chunk size is 0 or above [`MAX_CHUNK_SIZE`], or there would be more chunks than a `u32` counts.
    pub fn new(size: u64, chunk_size: u32) -> Option<Self> {
        if chunk_size == 0 || chunk_size > MAX_CHUNK_SIZE {
            return None;
        }
        u32::try_from(size.div_ceil(u64::from(chunk_size))).ok()?;
        Some(Self { size, chunk_size })
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn chunk_size(&self) -> u32 {
        self.chunk_size
    }

    pub fn chunk_count(&self) -> u32 {
        // `new` checked that the count fits.
        #[expect(clippy::cast_possible_truncation)]
        let count = self.size.div_ceil(u64::from(self.chunk_size)) as u32;
        count
    }

    /// The bytes of chunk `index`; empty past the last.
    pub fn chunk_range(&self, index: u32) -> ByteRange {
        let start = u64::from(index) * u64::from(self.chunk_size);
        ByteRange::at(start, u64::from(self.chunk_size)).clamp_to(self.size)
    }

    /// How chunk `index` is cut into pieces.
    pub fn pieces(&self, index: u32) -> Pieces {
        // A chunk is at most 64 MiB.
        #[expect(clippy::cast_possible_truncation)]
        let len = self.chunk_range(index).len() as u32;
        Pieces::new(len, self.chunk_size)
    }

    /// The bytes of `range` that lie in chunk `index`, counted from the chunk's start.
    pub fn within(&self, index: u32, range: ByteRange) -> std::ops::Range<u32> {
        let chunk = self.chunk_range(index);
        let part = range.intersect(chunk);
        // Both are within a chunk, which is at most 64 MiB.
        #[expect(clippy::cast_possible_truncation)]
        let at = |offset: u64| offset.clamp(chunk.start, chunk.end).saturating_sub(chunk.start) as u32;
        at(part.start)..at(part.end)
    }

    /// The chunk that holds byte `offset`.
    pub fn chunk_at(&self, offset: u64) -> Option<u32> {
        if offset >= self.size {
            return None;
        }
        u32::try_from(offset / u64::from(self.chunk_size)).ok()
    }

    /// The chunks that hold any byte of `range`, in order.
    pub fn chunks_in(&self, range: ByteRange) -> std::ops::Range<u32> {
        let range = range.clamp_to(self.size);
        match (self.chunk_at(range.start), range.is_empty()) {
            (Some(first), false) => first..self.chunk_at(range.end - 1).map_or(first, |last| last + 1),
            _ => 0..0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_at_the_edges() {
        let chunks = |size| {
            let geometry = Geometry::new(size, 4).unwrap();
            (0..geometry.chunk_count()).map(|n| geometry.chunk_range(n).len()).collect::<Vec<_>>()
        };
        assert_eq!(chunks(0), [0u64; 0]);
        assert_eq!(chunks(1), [1]);
        assert_eq!(chunks(4), [4]);
        assert_eq!(chunks(8), [4, 4]);
        assert_eq!(chunks(9), [4, 4, 1]);
    }

    #[test]
    fn impossible_shapes_are_refused() {
        assert_eq!(Geometry::new(1, 0), None);
        assert_eq!(Geometry::new(1, MAX_CHUNK_SIZE + 1), None);
        assert_eq!(Geometry::new(u64::MAX, 1), None);
        assert!(Geometry::new(u64::from(u32::MAX), 1).is_some());
    }

    proptest! {
        #[test]
        fn chunks_tile_the_whole(size in 0u64..10_000, chunk_size in 1u32..500) {
            let geometry = Geometry::new(size, chunk_size).unwrap();
            let mut end = 0;
            for n in 0..geometry.chunk_count() {
                let range = geometry.chunk_range(n);
                prop_assert_eq!(range.start, end);
                prop_assert!(!range.is_empty());
                end = range.end;
            }
            prop_assert_eq!(end, size);
        }

        #[test]
        fn chunks_in_a_range_are_those_that_meet_it(size in 0u64..1000, chunk_size in 1u32..50, start in 0u64..1200, len in 0u64..300) {
            let geometry = Geometry::new(size, chunk_size).unwrap();
            let range = ByteRange::at(start, len);
            let meets: Vec<u32> = (0..geometry.chunk_count()).filter(|&n| !geometry.chunk_range(n).intersect(range).is_empty()).collect();
            prop_assert_eq!(geometry.chunks_in(range).collect::<Vec<_>>(), meets);
        }
    }
}
