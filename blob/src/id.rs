use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("an id has 64 hexadecimal digits, this has {0} characters")]
    Length(usize),
    #[error("an id has only hexadecimal digits, this has {0:?}")]
    Digit(char),
}

/// The name of a blob: the SHA-256 of all its bytes.
///
/// Written as 64 lower-case hexadecimal digits; `sha256:` in front is accepted when read.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlobId([u8; 32]);

/// The name of one version of an origin's object: a SHA-256 of what identifies it, not of its bytes,
/// which nobody knows before they were read.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId([u8; 32]);

impl BlobId {
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The id of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl ObjectId {
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for BlobId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        parse_hex(text.strip_prefix("sha256:").unwrap_or(text)).map(Self)
    }
}

impl FromStr for ObjectId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        parse_hex(text).map(Self)
    }
}

/// 64 hexadecimal digits, upper or lower case.
pub(crate) fn parse_hex(text: &str) -> Result<[u8; 32], IdError> {
    let length = text.chars().count();
    if length != 64 {
        return Err(IdError::Length(length));
    }
    let mut bytes = [0; 32];
    for (at, digit) in text.chars().enumerate() {
        let value = digit.to_digit(16).and_then(|d| u8::try_from(d).ok()).ok_or(IdError::Digit(digit))?;
        bytes[at / 2] = bytes[at / 2] << 4 | value;
    }
    Ok(bytes)
}

pub(crate) fn write_hex(bytes: &[u8; 32], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// The text forms that all three 32-byte names share: hexadecimal for people and for serde.
macro_rules! hex_name {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                $crate::id::write_hex(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
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
pub(crate) use hex_name;

hex_name!(BlobId);
hex_name!(ObjectId);

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn the_empty_blob_has_the_well_known_id() {
        assert_eq!(BlobId::of(b"").to_string(), EMPTY);
    }

    #[test]
    fn prefix_and_upper_case_are_read() {
        let id = BlobId::of(b"");
        assert_eq!(format!("sha256:{EMPTY}").parse(), Ok(id));
        assert_eq!(EMPTY.to_uppercase().parse(), Ok(id));
    }

    #[test]
    fn what_is_not_an_id_says_why() {
        assert_eq!("abc".parse::<BlobId>(), Err(IdError::Length(3)));
        assert_eq!("é".repeat(64).parse::<BlobId>(), Err(IdError::Digit('é')));
        assert_eq!(format!("sha256:sha256:{EMPTY}").parse::<BlobId>(), Err(IdError::Length(71)));
    }

    #[test]
    fn serde_uses_the_text() {
        let id = BlobId::of(b"x");
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(json, format!("\"{id}\""));
        assert_eq!(serde_json::from_str::<BlobId>(&json).unwrap(), id);
        assert!(serde_json::from_str::<BlobId>("\"zz\"").is_err());
    }
}
