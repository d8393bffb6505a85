use std::fmt;

use serde::{Deserialize, Serialize};

/// Bytes `start..end` of something: half open, so its length is `end - start`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ByteRange {
    pub start: u64,
    pub end: u64,
}

impl ByteRange {
    /// `start..end`; an end before the start is an empty range at `start`.
    pub fn new(start: u64, end: u64) -> Self {
        Self { start, end: end.max(start) }
    }

    /// The `len` bytes from `start`, stopping at the largest offset there is.
    pub fn at(start: u64, len: u64) -> Self {
        Self { start, end: start.saturating_add(len) }
    }

    pub fn len(&self) -> u64 {
        self.end - self.start
    }

    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The part of this range that lies in `other`; empty where they do not meet.
    pub fn intersect(&self, other: ByteRange) -> ByteRange {
        Self::new(self.start.max(other.start), self.end.min(other.end))
    }

    /// The part of this range that lies in something of `size` bytes.
    pub fn clamp_to(&self, size: u64) -> ByteRange {
        self.intersect(ByteRange::new(0, size))
    }
}

impl fmt::Display for ByteRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.start, self.end)
    }
}
