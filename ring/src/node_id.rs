use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a text is not a node's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeIdError {
    #[error("a node id has 1 to 64 characters, this has {0}")]
    Length(usize),
    #[error("a node id has only letters, digits, '.', '_' and '-', this has {0:?}")]
    Character(char),
}

/// The name of a node: 1 to 64 of `A-Z a-z 0-9 . _ -`. It outlives restarts and addresses. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(Arc<str>);

impl NodeId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NodeId {
    type Err = NodeIdError;

    fn from_str(text: &str) -> Result<Self, NodeIdError> {
        let length = text.chars().count();
        if length == 0 || length > 64 {
            return Err(NodeIdError::Length(length));
        }
        match text.chars().find(|&c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))) {
            Some(other) => Err(NodeIdError::Character(other)),
            None => Ok(Self(text.into())),
        }
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({self})")
    }
}

impl AsRef<str> for NodeId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Serialize for NodeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for NodeId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_an_id_says_why() {
        assert_eq!("".parse::<NodeId>(), Err(NodeIdError::Length(0)));
        assert_eq!("n".repeat(65).parse::<NodeId>(), Err(NodeIdError::Length(65)));
        assert_eq!("n 1".parse::<NodeId>(), Err(NodeIdError::Character(' ')));
        assert_eq!("../é".parse::<NodeId>(), Err(NodeIdError::Character('/')));
        assert_eq!("n".repeat(64).parse::<NodeId>().unwrap().as_str().len(), 64);
    }

    #[test]
    fn serde_uses_the_text_and_validates() {
        let id: NodeId = "node-1.rack_A".parse().unwrap();
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(json, "\"node-1.rack_A\"");
        assert_eq!(serde_json::from_str::<NodeId>(&json).unwrap(), id);
        assert!(serde_json::from_str::<NodeId>("\"a/b\"").is_err());
    }
}
