//! Answers as they stand in the records.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use herring_origin::{Listed, Page};
use serde::{Deserialize, Serialize};

use super::word::Word;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    /// Of which origin: see `identity`.
    pub origin: String,
    /// Milliseconds since 1970, by this node's clock.
    pub said_ms: u64,
    /// A page without its entries.
    word: Word,
    /// Those, in half the bytes: the pages of a million keys take about 90 MB, and there is room for them.
    #[serde(default)]
    lines: Vec<Line>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Directory(String),
    /// Its name, size, seconds and nanoseconds since 1970, and version.
    Object(String, u64, u64, u32, Option<String>),
}

impl Kept {
    pub fn new(origin: String, said_ms: u64, word: &Word) -> Self {
        let (word, lines) = match word {
            Word::Page(page) => {
                let empty = Page { entries: Vec::new(), next: page.next.clone() };
                (Word::Page(Arc::new(empty)), page.entries.iter().map(Line::from).collect())
            }
            word => (word.clone(), Vec::new()),
        };
        Self { origin, said_ms, word, lines }
    }

    pub fn into_word(self) -> Word {
        match self.word {
            Word::Page(page) if page.entries.is_empty() => {
                let entries = self.lines.into_iter().map(Listed::from).collect();
                Word::Page(Arc::new(Page { entries, next: page.next.clone() }))
            }
            word => word,
        }
    }
}

impl From<&Listed> for Line {
    fn from(entry: &Listed) -> Self {
        match entry {
            Listed::Directory { name } => Self::Directory(name.clone()),
            Listed::Object { name, size, modified, version } => {
                let since_1970 = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
                Self::Object(name.clone(), *size, since_1970.as_secs(), since_1970.subsec_nanos(), version.clone())
            }
        }
    }
}

impl From<Line> for Listed {
    fn from(line: Line) -> Self {
        match line {
            Line::Directory(name) => Self::Directory { name },
            Line::Object(name, size, seconds, nanos, version) => {
                let since_1970 = Duration::from_secs(seconds).saturating_add(Duration::from_nanos(nanos.into()));
                // What no clock shows is not an object's time.
                let modified = UNIX_EPOCH.checked_add(since_1970).unwrap_or(UNIX_EPOCH);
                Self::Object { name, size, modified, version }
            }
        }
    }
}
