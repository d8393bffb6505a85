use std::fmt;
use std::str::FromStr;

use aws_lc_rs::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};

/// Bytes of a key.
const LENGTH: usize = 32;
/// What keys for datagrams are derived for, so that no other use of the same secret gets the same ones.
const PURPOSE: &[u8] = b"herring gossip 1";

/// By which a sealed datagram names its key: told to everybody, and no help in finding the key.
pub(crate) type KeyId = [u8; 4];
/// What a run of a node chooses at random, so that no two ever seal with the same key.
pub(crate) type Session = [u8; 16];

/// What makes a node a member of its cluster: secret keys, of which the first seals and all open. For a new key, add it behind the present one on every node; then
/// put it first on every node; then take the old one away.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterKeys(Vec<[u8; LENGTH]>);

/// Why a text holds no keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("line {line} is no key: 64 hexadecimal digits are wanted")]
    Digits { line: usize },
    #[error("there is no key in it: one line of 64 hexadecimal digits is wanted")]
    None,
}

impl ClusterKeys {
    /// A new key from the system's randomness, as a line for a file.
    pub fn generate() -> String {
        let mut key = [0; LENGTH];
        fill(&mut key);
        key.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n"
    }

    pub(crate) fn first(&self) -> &[u8; LENGTH] {
        &self.0[0]
    }

    pub(crate) fn find(&self, id: KeyId) -> Option<&[u8; LENGTH]> {
        self.0.iter().find(|key| key_id(key) == id)
    }
}

/// One key on each line, of 64 hexadecimal digits; what follows a `#` is not read.
impl FromStr for ClusterKeys {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim()).enumerate();
        let keys = lines.filter(|(_, line)| !line.is_empty());
        let keys = keys.map(|(n, line)| read(line).ok_or(KeyError::Digits { line: n + 1 })).collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() { Err(KeyError::None) } else { Ok(Self(keys)) }
    }
}

/// Never shows a key.
impl fmt::Debug for ClusterKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterKeys({})", self.0.len())
    }
}

fn read(line: &str) -> Option<[u8; LENGTH]> {
    let digits: Vec<u8> = line.chars().map(|digit| u8::try_from(digit.to_digit(16)?).ok()).collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    if digits.len() == 2 * LENGTH { bytes.try_into().ok() } else { None }
}

pub(crate) fn key_id(key: &[u8; LENGTH]) -> KeyId {
    let mut id = KeyId::default();
    let info: [&[u8]; 2] = [PURPOSE, b"id"];
    let prk = prk(key);
    let okm = prk.expand(&info, Id).expect("four bytes are fewer than HKDF can give");
    okm.fill(&mut id).expect("as many as were asked for");
    id
}

/// The key of one session.
pub(crate) fn derive(key: &[u8; LENGTH], session: &Session) -> LessSafeKey {
    let info: [&[u8]; 2] = [PURPOSE, session];
    let prk = prk(key);
    let okm = prk.expand(&info, &AES_256_GCM).expect("32 bytes are fewer than HKDF can give");
    LessSafeKey::new(UnboundKey::from(okm))
}

pub(crate) fn fill(bytes: &mut [u8]) {
    aws_lc_rs::rand::fill(bytes).expect("the system has randomness once it runs");
}

fn prk(key: &[u8; LENGTH]) -> Prk {
    Salt::new(HKDF_SHA256, &[]).extract(key)
}

struct Id;

impl aws_lc_rs::hkdf::KeyType for Id {
    fn len(&self) -> usize {
        size_of::<KeyId>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_key_on_each_line() {
        let (one, two) = (ClusterKeys::generate(), ClusterKeys::generate());
        assert_ne!(one, two);
        let keys: ClusterKeys =
            format!("# the swarm's\n{one}\n  {} # the last one\n", two.trim().to_uppercase()).parse().unwrap();
        assert_eq!(keys.0, [read(one.trim()).unwrap(), read(two.trim()).unwrap()]);
        assert_eq!(keys.find(key_id(&keys.0[1])), Some(&keys.0[1]));
        assert_eq!(format!("{keys:?}"), "ClusterKeys(2)");
    }

    #[test]
    fn what_is_no_key_is_named_by_its_line_and_not_shown() {
        let parse = |text: &str| text.parse::<ClusterKeys>();
        assert_eq!(parse("\n# nothing\n"), Err(KeyError::None));
        for wrong in ["12", &"g".repeat(64), &"0".repeat(63), &"0".repeat(65), &"é".repeat(64)] {
            assert_eq!(parse(&format!("{}{wrong}", ClusterKeys::generate())), Err(KeyError::Digits { line: 2 }), "{wrong}");
        }
    }
}
