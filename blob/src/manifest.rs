use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::{BlobId, ChunkDigest, Geometry};

/// Why a manifest cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    #[error("a blob of {size} bytes cannot be cut into chunks of {chunk_size} bytes")]
    Geometry { size: u64, chunk_size: u32 },
    #[error("{size} bytes in chunks of {chunk_size} are {expected} chunks, the manifest lists {listed}")]
    Count { size: u64, chunk_size: u32, expected: u32, listed: usize },
    #[error("the manifest says that blob {0} has no bytes, and that is not the id of nothing")]
    Empty(BlobId),
    #[error("the manifest names blob {found}, asked was {expected}")]
    OtherBlob { expected: BlobId, found: BlobId },
}

/// A blob's size, chunk size and the digest of every chunk. Immutable; kept by the owners of the blob's id.
///
/// Only consistent manifests exist: the number of digests always fits the size.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "RawManifest", into = "RawManifest")]
pub struct Manifest {
    id: BlobId,
    geometry: Geometry,
    chunks: Vec<ChunkDigest>,
    print: OnceLock<u128>,
}

impl PartialEq for Manifest {
    fn eq(&self, other: &Self) -> bool {
        (self.id, self.geometry, &self.chunks) == (other.id, other.geometry, &other.chunks)
    }
}

impl Eq for Manifest {}

/// A manifest as it is written down: `{"id","size","chunk_size","chunks":[…]}`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RawManifest {
    pub id: BlobId,
    pub size: u64,
    pub chunk_size: u32,
    pub chunks: Vec<ChunkDigest>,
}

impl Manifest {
    pub fn new(id: BlobId, size: u64, chunk_size: u32, chunks: Vec<ChunkDigest>) -> Result<Self, ManifestError> {
        let geometry = Geometry::new(size, chunk_size).ok_or(ManifestError::Geometry { size, chunk_size })?;
        let expected = geometry.chunk_count();
        if usize::try_from(expected) != Ok(chunks.len()) {
            return Err(ManifestError::Count { size, chunk_size, expected, listed: chunks.len() });
        }
        if size == 0 && id != BlobId::of(b"") {
            return Err(ManifestError::Empty(id));
        }
        Ok(Self { id, geometry, chunks, print: OnceLock::new() })
    }

    /// This manifest, if it is the one of `id`.
    pub fn expect(self, id: BlobId) -> Result<Self, ManifestError> {
        if self.id == id { Ok(self) } else { Err(ManifestError::OtherBlob { expected: id, found: self.id }) }
    }

    pub fn id(&self) -> BlobId {
        self.id
    }

    pub fn size(&self) -> u64 {
        self.geometry.size()
    }

    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    pub fn chunks(&self) -> &[ChunkDigest] {
        &self.chunks
    }

    /// The digest of chunk `index`; `None` past the last.
    pub fn digest(&self, index: u32) -> Option<ChunkDigest> {
        self.chunks.get(usize::try_from(index).ok()?).copied()
    }

    /// Tells it from every other manifest of the same id: the half of a BLAKE3 of all that it says. Computed once, 3 ms for a terabyte.
    pub fn print(&self) -> u128 {
        *self.print.get_or_init(|| {
            let mut said =
                [self.id.as_bytes().as_slice(), &self.size().to_le_bytes(), &self.geometry.chunk_size().to_le_bytes()].concat();
            self.chunks.iter().for_each(|digest| said.extend(digest.as_bytes()));
            u128::from_le_bytes(ChunkDigest::of(&said).as_bytes()[..16].try_into().expect("a digest has 32 bytes"))
        })
    }

    /// Whether `bytes` are chunk `index` of this blob.
    pub fn verify(&self, index: u32, bytes: &[u8]) -> bool {
        self.digest(index).is_some_and(|digest| digest.matches(bytes))
    }
}

impl TryFrom<RawManifest> for Manifest {
    type Error = ManifestError;

    fn try_from(raw: RawManifest) -> Result<Self, ManifestError> {
        Self::new(raw.id, raw.size, raw.chunk_size, raw.chunks)
    }
}

impl From<Manifest> for RawManifest {
    fn from(manifest: Manifest) -> Self {
        Self { id: manifest.id, size: manifest.size(), chunk_size: manifest.geometry.chunk_size(), chunks: manifest.chunks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_does_not_fit_the_size_is_no_manifest() {
        let id = BlobId::of(b"");
        let digest = ChunkDigest::of(b"");
        assert!(Manifest::new(id, 9, 4, vec![digest; 3]).is_ok());
        assert!(matches!(Manifest::new(id, 9, 4, vec![digest; 2]), Err(ManifestError::Count { expected: 3, listed: 2, .. })));
        assert!(matches!(Manifest::new(id, 9, 0, vec![]), Err(ManifestError::Geometry { .. })));
        let lying = format!(r#"{{"id":"{id}","size":18446744073709551615,"chunk_size":1,"chunks":[]}}"#);
        assert!(serde_json::from_str::<Manifest>(&lying).is_err());
    }

    #[test]
    fn nothing_has_one_id() {
        assert!(Manifest::new(BlobId::of(b""), 0, 4, vec![]).is_ok());
        assert!(matches!(Manifest::new(BlobId::of(b"a"), 0, 4, vec![]), Err(ManifestError::Empty(_))));
    }

    #[test]
    fn manifests_of_one_id_are_told_apart() {
        let of = |size: u64, chunk: &[u8]| Manifest::new(BlobId::of(b"ab"), size, 4, vec![ChunkDigest::of(chunk)]).unwrap();
        let one = of(2, b"ab");
        assert_eq!((one.print(), &one), (of(2, b"ab").print(), &of(2, b"ab")), "whether it was computed or not");
        assert!(one.print() != of(3, b"ab").print() && one.print() != of(2, b"abc").print());
    }

    #[test]
    fn json_is_the_outward_form() {
        let manifest = Manifest::new(BlobId::of(b"ab"), 2, 4, vec![ChunkDigest::of(b"ab")]).unwrap();
        let json = serde_json::to_value(&manifest).unwrap();
        assert_eq!(json["size"], 2);
        assert_eq!(json["chunk_size"], 4);
        assert_eq!(json["chunks"][0], ChunkDigest::of(b"ab").to_string());
        assert_eq!(serde_json::from_value::<Manifest>(json).unwrap(), manifest);
    }

    #[test]
    fn another_blobs_manifest_is_refused() {
        let manifest = Manifest::new(BlobId::of(b"a"), 1, 4, vec![ChunkDigest::of(b"a")]).unwrap();
        assert!(manifest.clone().expect(BlobId::of(b"a")).is_ok());
        assert!(manifest.expect(BlobId::of(b"b")).is_err());
    }

    /// Numbers of anyone make a manifest that adds up, or none.
    #[test]
    fn fuzz_manifests() {
        let digest = ChunkDigest::of(b"");
        bolero::check!().with_type::<(u64, u32, u8, bool)>().with_iterations(4000).for_each(
            |(size, chunk_size, listed, small)| {
                let size = if *small { size % (u64::from(*chunk_size) * 4 + 4) } else { *size };
                let raw = RawManifest {
                    id: BlobId::of(b""),
                    size,
                    chunk_size: *chunk_size,
                    chunks: vec![digest; usize::from(*listed % 6)],
                };
                let written = serde_json::to_string(&raw).unwrap();
                let Ok(manifest) = serde_json::from_str::<Manifest>(&written) else { return };
                let geometry = manifest.geometry();
                let last = geometry.chunk_count().checked_sub(1).map_or(0, |last| geometry.chunk_range(last).end);
                assert_eq!((last, manifest.chunks().len()), (size, geometry.chunk_count() as usize));
                assert_eq!(serde_json::to_string(&manifest).unwrap(), written);
            },
        );
    }

    /// Texts that are nearly one.
    #[test]
    fn fuzz_manifest_texts() {
        const BYTES: &[u8] = b"0123456789{}[]\",:-.eE ";
        let valid = Manifest::new(BlobId::of(b"ab"), 7, 4, vec![ChunkDigest::of(b"ab"); 2]).unwrap();
        let valid = serde_json::to_vec(&valid).unwrap();
        bolero::check!().with_type::<Vec<(u16, u8)>>().with_iterations(4000).for_each(|edits| {
            let mut text = valid.clone();
            for (at, byte) in edits.iter().take(6) {
                let at = usize::from(*at) % text.len();
                text[at] = BYTES[usize::from(*byte) % BYTES.len()];
            }
            if let Ok(manifest) = serde_json::from_slice::<Manifest>(&text) {
                assert_eq!(manifest.chunks().len(), manifest.geometry().chunk_count() as usize);
                let again = serde_json::to_vec(&manifest).unwrap();
                assert_eq!(serde_json::from_slice::<Manifest>(&again).unwrap(), manifest);
            }
        });
    }
}
