use sha2::{Digest, Sha256};

use crate::{BlobId, ChunkDigest, Manifest, ManifestError, PieceDigests, Pieces};

/// Computes a blob's id and manifest from its chunks, given in order.
///
/// ```
/// use herring_blob::{BlobHasher, BlobId};
/// let mut hasher = BlobHasher::new(4);
/// hasher.chunk(b"herr");
/// hasher.chunk(b"ing");
/// let manifest = hasher.finish().unwrap();
/// assert_eq!(manifest.id(), BlobId::of(b"herring"));
/// assert_eq!(manifest.chunks().len(), 2);
/// ```
#[derive(Debug, Clone)]
pub struct BlobHasher {
    whole: Sha256,
    size: u64,
    chunk_size: u32,
    chunks: Vec<ChunkDigest>,
    /// A chunk that was not of the chunk size has been taken: only the last may be.
    ended: bool,
    misshapen: bool,
}

impl BlobHasher {
    pub fn new(chunk_size: u32) -> Self {
        Self { whole: Sha256::new(), size: 0, chunk_size, chunks: Vec::new(), ended: false, misshapen: false }
    }

    /// Takes the next chunk, whole: its index and its digests. Every chunk but the last must be of the chunk size, else
    /// [`finish`](Self::finish) fails.
    pub fn chunk(&mut self, bytes: &[u8]) -> (u32, PieceDigests) {
        let full = self.chunk_size as usize;
        self.misshapen |= self.ended || bytes.is_empty() || bytes.len() > full;
        self.ended = bytes.len() < full;
        self.whole.update(bytes);
        self.size += bytes.len() as u64;
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let digests = PieceDigests::of(Pieces::new(len, self.chunk_size), bytes);
        self.chunks.push(digests.digest());
        // More than 2^32 chunks would be 16 PiB of blob; `finish` refuses it.
        let index = u32::try_from(self.chunks.len() - 1).unwrap_or(u32::MAX);
        (index, digests)
    }

    /// The manifest of all chunks taken.
    pub fn finish(self) -> Result<Manifest, ManifestError> {
        if self.misshapen {
            return Err(ManifestError::Geometry { size: self.size, chunk_size: self.chunk_size });
        }
        let id = BlobId::from_bytes(self.whole.finalize().into());
        Manifest::new(id, self.size, self.chunk_size, self.chunks)
    }
}

/// Computes a blob's id alone, from bytes in any portions, given in order.
#[derive(Debug, Clone, Default)]
pub struct IdHasher(Sha256);

impl IdHasher {
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub fn finish(self) -> BlobId {
        BlobId::from_bytes(self.0.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(bytes: &[u8], chunk_size: usize) -> Manifest {
        let mut hasher = BlobHasher::new(u32::try_from(chunk_size).unwrap());
        bytes.chunks(chunk_size).for_each(|chunk| {
            hasher.chunk(chunk);
        });
        hasher.finish().unwrap()
    }

    #[test]
    fn sizes_at_the_edges_hash_and_verify() {
        for size in [0usize, 1, 63, 64, 65, 128, 129] {
            let bytes: Vec<u8> = (0..size).map(|n| u8::try_from(n % 251).unwrap()).collect();
            let manifest = manifest(&bytes, 64);
            assert_eq!(manifest.id(), BlobId::of(&bytes));
            assert_eq!(manifest.size(), size as u64);
            assert_eq!(manifest.chunks().len(), size.div_ceil(64));
            for (index, chunk) in (0u32..).zip(bytes.chunks(64)) {
                assert!(manifest.verify(index, chunk));
                assert!(!manifest.verify(index, &chunk[1..]));
                assert!(!manifest.verify(index + 1, chunk));
            }
        }
    }

    #[test]
    fn a_short_chunk_in_the_middle_is_no_blob() {
        let mut hasher = BlobHasher::new(4);
        hasher.chunk(b"her");
        hasher.chunk(b"ring!");
        assert!(hasher.finish().is_err());
    }
}
