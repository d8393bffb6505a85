use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use herring_blob::{BlobId, ByteRange};

use super::random::Random;

/// Sizes are drawn from these classes alike, in bytes: a few, small files, within a chunk, several chunks.
const SIZES: [(u64, u64); 4] = [(1, 4 << 10), (4 << 10, 256 << 10), (256 << 10, 4 << 20), (4 << 20, 12 << 20)];

/// A blob whose bytes are known from its seed.
#[derive(Debug, Clone)]
pub struct Blob {
    pub id: BlobId,
    /// Bytes.
    pub size: u64,
    content: Random,
    /// When it was acknowledged, after the beginning.
    pub acknowledged: Duration,
}

impl Blob {
    /// The `number`th of that writer, of at most `most` bytes, and its bytes. Hashes them all: 12 MiB take 10 ms.
    pub fn make(seed: u64, writer: u64, number: u64, most: u64) -> (Self, Vec<u8>) {
        let mut numbers = Random::derived(seed, &[writer, number]);
        let (least, below) = *numbers.pick(&SIZES).unwrap_or(&SIZES[0]);
        let size = (least + numbers.below(below - least)).min(most.max(1));
        let bytes = numbers.bytes(0, usize::try_from(size).unwrap_or(usize::MAX));
        (Self { id: BlobId::of(&bytes), size, content: numbers, acknowledged: Duration::ZERO }, bytes)
    }

    pub fn whole(&self) -> ByteRange {
        ByteRange::new(0, self.size)
    }

    /// A range of it, or often all of it.
    pub fn part(&self, numbers: &mut Random) -> ByteRange {
        if numbers.below(2) == 0 {
            return self.whole();
        }
        let start = numbers.below(self.size);
        ByteRange::new(start, start + 1 + numbers.below(self.size - start))
    }

    /// What is wrong with `bytes`, read as that range; `None` where they are right.
    pub fn fault(&self, range: ByteRange, bytes: &[u8]) -> Option<String> {
        if bytes.len() as u64 != range.len() {
            return Some(format!("{} bytes came for the {} of {range}", bytes.len(), range.len()));
        }
        let from = range.start / 8 * 8;
        let skip = usize::try_from(range.start - from).unwrap_or_default();
        let right = self.content.bytes(from, skip + bytes.len());
        // All at once first: byte by byte takes a hundred times as long.
        if right[skip..] == *bytes {
            return None;
        }
        let at = right[skip..].iter().zip(bytes).position(|(right, read)| right != read)?;
        Some(format!("byte {} of {} is not what was put", range.start + at as u64, self.id))
    }
}

/// The blobs that were acknowledged.
#[derive(Debug, Default)]
pub struct Ledger(RwLock<Vec<Blob>>);

impl Ledger {
    /// Acknowledged so long after the beginning.
    pub fn note(&self, mut blob: Blob, acknowledged: Duration) {
        blob.acknowledged = acknowledged;
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(blob);
    }

    pub fn pick(&self, numbers: &mut Random) -> Option<Blob> {
        numbers.pick(&self.0.read().unwrap_or_else(PoisonError::into_inner)).cloned()
    }

    pub fn all(&self) -> Vec<Blob> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_the_same_for_the_same_seed_and_knows_its_bytes() {
        let (blob, bytes) = Blob::make(1, 2, 3, 300 << 10);
        let (again, _) = Blob::make(1, 2, 3, 300 << 10);
        assert_eq!((blob.id, blob.size), (again.id, bytes.len() as u64));
        assert_ne!(blob.id, Blob::make(2, 2, 3, 300 << 10).0.id);
        assert_eq!(blob.fault(blob.whole(), &bytes), None);
        let mut numbers = Random::derived(5, &[]);
        for _ in 0..20 {
            let range = blob.part(&mut numbers);
            let part = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
            assert_eq!(blob.fault(range, &bytes[part]), None, "{range}");
        }
    }

    #[test]
    fn a_wrong_byte_and_a_missing_one_are_seen() {
        let (blob, mut bytes) = Blob::make(1, 0, 0, 1000);
        let last = bytes.len() - 1;
        assert!(blob.fault(blob.whole(), &bytes[..last]).unwrap().contains("bytes came for"));
        bytes[last] ^= 1;
        assert!(blob.fault(blob.whole(), &bytes).unwrap().starts_with(&format!("byte {last} of ")));
    }

    #[test]
    fn sizes_are_mixed_and_bounded() {
        let sizes: Vec<u64> = (0..40).map(|n| Blob::make(1, 0, n, 64 << 10).0.size).collect();
        assert!(sizes.iter().all(|size| (1..=64 << 10).contains(size)));
        assert!(sizes.iter().any(|size| *size < 4 << 10) && sizes.iter().any(|size| *size > 32 << 10));
    }
}
