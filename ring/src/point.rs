use std::fmt;
use std::str::FromStr;

use herring_blob::{BlobId, ChunkDigest, Manifest, ObjectRef};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use twox_hash::XxHash3_64;

/// Why a text is not 16 hexadecimal digits, the way points and epochs are written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not 16 hexadecimal digits")]
pub struct HexError(pub String);

/// Chunks of an object that lie together. More would mean fewer questions to the origin, but also fewer nodes that ask at once.
const OBJECT_RUN: u32 = 4;

/// Where on the ring something lies. Written as 16 hexadecimal digits.
///
/// Points are hashed with XXH3 rather than cut out of the digests, so that the bytes of a digest decide
/// nothing by themselves and chunks, objects and virtual nodes are spread by the same function.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Point(u64);

impl Point {
    pub const fn from_u64(value: u64) -> Self {
        Self(value)
    }

    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// Where a blob's manifest lies.
    pub fn of_blob(id: &BlobId) -> Self {
        Self(XxHash3_64::oneshot(id.as_bytes()))
    }

    /// Where chunk `index` of a blob lies.
    ///
    /// The chunk of a blob that has only one lies with its manifest, so that a small blob is whole at one set of
    /// owners, one hop away. Past the last chunk: the manifest's point too.
    pub fn of_chunk(manifest: &Manifest, index: u32) -> Self {
        match manifest.digest(index) {
            Some(digest) if manifest.chunks().len() > 1 => Self::of_streamed_chunk(&digest, index),
            _ => Self::of_blob(&manifest.id()),
        }
    }

    /// Where chunk `index` of a blob of several chunks lies: known while the body still arrives, before the blob's id is.
    ///
    /// The index is part of it so that identical chunks of one blob (of zeros, say) do not pile up on one node.
    pub fn of_streamed_chunk(digest: &ChunkDigest, index: u32) -> Self {
        Self::indexed(digest.as_bytes(), index)
    }

    /// Where chunk `index` of an origin's object lies. Its digest is not known before somebody read it. [Runs](Self::object_run) of chunks
    /// lie together, so that their owner can ask the origin for several at once. The first run lies where it is known what the object is, so that
    /// who looks it up in order to read it can have both with one question to the origin.
    pub fn of_object_chunk(object: &ObjectRef, index: u32) -> Self {
        match index / OBJECT_RUN {
            0 => Self::of_key(&object.origin, &object.key),
            run => Self::indexed(object.id().as_bytes(), run),
        }
    }

    /// The chunks of an object that lie where chunk `index` does: four side by side, 16 MiB in chunks of 4 MiB.
    pub fn object_run(index: u32) -> std::ops::Range<u32> {
        let start = index / OBJECT_RUN * OBJECT_RUN;
        start..start.saturating_add(OBJECT_RUN)
    }

    /// Where a name's versions are kept.
    pub fn of_name(name: &str) -> Self {
        Self::worded("name", &[name])
    }

    /// Where it is known what an origin has at this key.
    pub fn of_key(origin: &str, key: &str) -> Self {
        Self::worded("key", &[origin, key])
    }

    /// Where it is known what an origin has below this prefix.
    pub fn of_listing(origin: &str, prefix: &str) -> Self {
        Self::worded("listing", &[origin, prefix])
    }

    pub(crate) fn of_vnode(node: &str, index: u32) -> Self {
        Self(XxHash3_64::oneshot(&[node.as_bytes(), &index.to_le_bytes()].concat()))
    }

    /// Each part behind its length, so that no two run together.
    fn worded(what: &str, parts: &[&str]) -> Self {
        let mut bytes = what.as_bytes().to_vec();
        for part in parts {
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
        Self(XxHash3_64::oneshot(&bytes))
    }

    fn indexed(name: &[u8; 32], index: u32) -> Self {
        let mut bytes = [0; 36];
        bytes[..32].copy_from_slice(name);
        bytes[32..].copy_from_slice(&index.to_le_bytes());
        Self(XxHash3_64::oneshot(&bytes))
    }

    /// The next point clockwise; the last is followed by the first.
    pub(crate) fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

/// The text forms of a number that is written as 16 hexadecimal digits.
macro_rules! hex_number {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:016x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = $crate::HexError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let digits = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
                let number = digits.then(|| u64::from_str_radix(text, 16).ok()).flatten();
                number.map(Self).ok_or_else(|| $crate::HexError(text.chars().take(40).collect()))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use hex_number;

hex_number!(Point);

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(chunks: &[&[u8]]) -> Manifest {
        let mut hasher = herring_blob::BlobHasher::new(4);
        for chunk in chunks {
            hasher.chunk(chunk);
        }
        hasher.finish().unwrap()
    }

    #[test]
    fn a_small_blob_lies_with_its_manifest() {
        let small = manifest(&[b"abcd"]);
        assert_eq!(Point::of_chunk(&small, 0), Point::of_blob(&small.id()));
    }

    #[test]
    fn a_streamed_chunk_needs_no_blob_id() {
        let blob = manifest(&[b"abcd", b"efgh", b"i"]);
        for index in 0..3 {
            let digest = blob.digest(index).unwrap();
            assert_eq!(Point::of_chunk(&blob, index), Point::of_streamed_chunk(&digest, index));
        }
    }

    #[test]
    fn identical_chunks_lie_apart() {
        let zeros = manifest(&[&[0u8; 4][..]; 3]);
        assert_ne!(Point::of_chunk(&zeros, 0), Point::of_chunk(&zeros, 1));
        assert_ne!(Point::of_chunk(&zeros, 1), Point::of_chunk(&zeros, 2));
    }

    #[test]
    fn an_object_begins_where_it_is_looked_up() {
        let object = |version: &str| ObjectRef { origin: "o".into(), key: "k".into(), version: version.into(), size: 1 << 40 };
        let (one, other) = (object("1"), object("2"));
        assert!((0..4).all(|index| Point::of_object_chunk(&one, index) == Point::of_key("o", "k")));
        assert_eq!(Point::of_object_chunk(&one, 4), Point::of_object_chunk(&one, 7));
        assert_ne!(Point::of_object_chunk(&one, 7), Point::of_object_chunk(&one, 8));
        assert_ne!(Point::of_object_chunk(&one, 4), Point::of_object_chunk(&other, 4));
        assert_eq!(Point::object_run(6), 4..8);
    }

    #[test]
    fn words_do_not_run_together() {
        assert_ne!(Point::of_key("a", "bc"), Point::of_key("ab", "c"));
        assert_ne!(Point::of_key("a", "b"), Point::of_listing("a", "b"));
        assert_ne!(Point::of_name("a"), Point::of_name("b"));
    }

    #[test]
    fn text_is_sixteen_digits_and_nothing_else() {
        let point = Point::from_u64(0xab);
        assert_eq!(point.to_string(), "00000000000000ab");
        assert_eq!("00000000000000ab".parse(), Ok(point));
        assert_eq!(serde_json::to_string(&point).unwrap(), "\"00000000000000ab\"");
        for wrong in ["", "ab", "+0000000000000ab", "00000000000000abc", "00000000000000ag"] {
            assert_eq!(wrong.parse::<Point>(), Err(HexError(wrong.into())));
        }
    }
}
