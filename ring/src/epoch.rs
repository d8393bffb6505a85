use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use twox_hash::XxHash3_64;

use crate::Member;
use crate::point::hex_number;

/// The name of one set of members: a hash of them all. Nodes that see the same members have the same epoch without
/// agreeing on anything, in whatever order they met them. Written as 16 hexadecimal digits.
///
/// Epochs have no order: one that differs is another, not an older one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch(u64);

impl Epoch {
    /// `members` are sorted by id, each once.
    pub(crate) fn of(members: &[Member]) -> Self {
        // The version is of the placement: rings that would choose other owners must not share an epoch.
        let mut bytes = b"herring ring v1".to_vec();
        for member in members {
            push_text(&mut bytes, member.id.as_str());
            bytes.extend(member.weight.to_le_bytes());
            push_text(&mut bytes, &member.zone);
        }
        Self(XxHash3_64::oneshot(&bytes))
    }
}

/// Behind its length, so that no two lists of members can be spelt alike.
fn push_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

hex_number!(Epoch);
