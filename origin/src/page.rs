use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::key::is_name;

/// Entries that one page of a listing holds at most: what all object stores give in one answer.
pub const PAGE: usize = 1000;

/// A part of what lies directly below a prefix.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Page {
    /// At most [`PAGE`], sorted by name. May be empty though there is a next page.
    pub entries: Vec<Listed>,
    /// Asks for the page behind this one; `None` on the last. The origin's own text, good for the same prefix only.
    pub next: Option<String>,
}

impl Page {
    /// Whether an origin can have said this: a page is not ten times too long, and no name on it is one that no key can spell.
    pub fn is_one(&self) -> bool {
        self.entries.len() <= 10 * PAGE && self.entries.iter().all(|entry| is_name(entry.name()))
    }

    /// A bucket may hold an object and a directory of the same name: the directory comes first.
    pub(crate) fn sorted(mut self) -> Self {
        self.entries.sort_unstable_by(|a, b| a.sort_key().cmp(&b.sort_key()));
        self
    }
}

/// An entry of one level of an origin. Names are the last segment of the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Listed {
    Directory {
        name: String,
    },
    /// Size in bytes. The version is the one that [`Origin::head`](crate::Origin::head) gives; HTTP servers and a few S3 servers leave
    /// it out of listings.
    Object {
        name: String,
        size: u64,
        modified: SystemTime,
        version: Option<String>,
    },
}

impl Listed {
    pub fn name(&self) -> &str {
        match self {
            Self::Directory { name } | Self::Object { name, .. } => name,
        }
    }

    fn sort_key(&self) -> (&str, bool) {
        (self.name(), matches!(self, Self::Object { .. }))
    }
}
