use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use futures_util::stream;
use herring_blob::{BlobHasher, BlobId, CHUNK_SIZE};
use herring_http_api::ByteStream;

use crate::error::FuseError;
use crate::random::Content;

/// Bytes made and compared at once.
const PIECE: usize = 1 << 20;

/// A blob of random bytes that need not be kept to be known.
#[derive(Debug, Clone, Copy)]
pub struct TestBlob {
    pub id: BlobId,
    pub size: u64,
    content: Content,
}

impl TestBlob {
    /// Each seed and path of `labels` has a blob of its own.
    pub fn new(size: u64, seed: u64, labels: &[u64]) -> Self {
        let content = Content::derived(seed, labels);
        let mut hasher = BlobHasher::new(CHUNK_SIZE);
        pieces(size, CHUNK_SIZE as usize).for_each(|(at, length)| {
            hasher.chunk(&bytes(content, at, length));
        });
        let manifest = hasher.finish().expect("its pieces are chunks");
        Self { id: manifest.id(), size, content }
    }

    pub fn stream(&self) -> ByteStream {
        let content = self.content;
        Box::pin(stream::iter(pieces(self.size, PIECE).map(move |(at, length)| Ok(bytes(content, at, length).into()))))
    }

    /// All of it at once, for small blobs.
    pub fn bytes(&self) -> Vec<u8> {
        bytes(self.content, 0, usize::try_from(self.size).unwrap_or(usize::MAX))
    }

    /// Makes a file of it.
    pub fn write(&self, path: &Path) -> Result<(), FuseError> {
        let mut file = File::create(path).map_err(FuseError::at(path))?;
        pieces(self.size, PIECE)
            .try_for_each(|(at, length)| file.write_all(&bytes(self.content, at, length)))
            .map_err(FuseError::at(path))
    }

    /// Reads the file to its end and compares.
    pub fn verify(&self, path: &Path) -> Result<(), FuseError> {
        let mut file = File::open(path).map_err(FuseError::at(path))?;
        let (mut buffer, mut at) = (vec![0; PIECE], 0);
        loop {
            let length = fill(&mut file, &mut buffer).map_err(FuseError::at(path))?;
            if length == 0 {
                return if at == self.size { Ok(()) } else { Err(self.wrong(path, at)) };
            }
            self.compare(path, at, &buffer[..length])?;
            at += length as u64;
        }
    }

    /// Whether `bytes`, read at `at` from `path`, are this blob's.
    pub fn compare(&self, path: &Path, at: u64, bytes: &[u8]) -> Result<(), FuseError> {
        let fits = at + bytes.len() as u64 <= self.size;
        if fits && self.content.matches(at, bytes) { Ok(()) } else { Err(self.wrong(path, at)) }
    }

    fn wrong(&self, path: &Path, at: u64) -> FuseError {
        FuseError::Wrong { path: path.to_owned(), at, size: self.size }
    }
}

/// As much as there is, up to the buffer's size: pieces stay aligned where reads come short.
fn fill(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..])? {
            0 => break,
            more => length += more,
        }
    }
    Ok(length)
}

fn bytes(content: Content, at: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    content.fill(at, &mut bytes);
    bytes
}

/// Where each piece begins, and its length.
fn pieces(size: u64, piece: usize) -> impl Iterator<Item = (u64, usize)> {
    let length = move |at: u64| usize::try_from(size - at).unwrap_or(usize::MAX).min(piece);
    (0..size).step_by(piece).map(move |at| (at, length(at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_knows_its_name_and_its_bytes() {
        let blob = TestBlob::new(3_000_001, 1, &[2]);
        let bytes = blob.bytes();
        assert_eq!((bytes.len(), BlobId::of(&bytes)), (3_000_001, blob.id));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        blob.verify(file.path()).unwrap();
        std::fs::write(file.path(), &bytes[..3_000_000]).unwrap();
        assert!(matches!(blob.verify(file.path()), Err(FuseError::Wrong { at: 3_000_000, .. })));
        std::fs::write(file.path(), [&bytes[..], b"x"].concat()).unwrap();
        assert!(matches!(blob.verify(file.path()), Err(FuseError::Wrong { .. })));
    }

    #[test]
    fn seeds_and_labels_make_blobs_of_their_own() {
        let id = |seed, label| TestBlob::new(100, seed, &[label]).id;
        assert_eq!(id(1, 1), id(1, 1));
        assert!(id(1, 1) != id(2, 1) && id(1, 1) != id(1, 2));
    }
}
