//! S3 lists keys in the order of their bytes, whatever lies in between; an origin lists one directory at a time. A walk through the
//! directories gives the one from the other, and what is left of it fits into a continuation token.

use std::fmt;
use std::iter::Peekable;
use std::time::SystemTime;
use std::vec::IntoIter;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use herring_swarm::{Listed, OpenError, Page, Swarm};
use serde::{Deserialize, Serialize};

/// Pages of directories that one answer asks for at most: below a deep tree of nearly empty directories, an answer has few keys rather
/// than a client that waits.
const PAGES: usize = 100;

/// Directories that a walk is in at most: a key has 1024 bytes, and so 512 segments, below the root.
const LEVELS: usize = 513;

/// The ETag of no bytes at all.
pub(super) const NO_BYTES: &str = "d41d8cd98f00b204e9800998ecf8427e";

/// What is asked for.
pub(super) struct Wanted {
    pub prefix: String,
    /// Into directories, instead of telling their names.
    pub descend: bool,
    pub most: usize,
    pub from: Position,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    Key { key: String, size: u64, modified: SystemTime, version: Option<String> },
    Prefix(String),
}

impl Item {
    /// As S3 tells of an object without bytes, of which nobody knows when it was made.
    fn marker(key: String) -> Self {
        Self::Key { key, size: 0, modified: SystemTime::UNIX_EPOCH, version: Some(NO_BYTES.to_owned()) }
    }
}

pub(super) struct Part {
    pub items: Vec<Item>,
    /// Where the rest begins, if there may be any.
    pub next: Option<Position>,
}

/// Where a walk is: the directories from the prefix down. As text it is a continuation token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    /// Keys up to this one are not told.
    after: String,
    levels: Vec<Mark>,
}

/// Where a walk is in one directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    /// The page it is in.
    page: Option<String>,
    /// The last name of it that was taken; of a directory, with its slash: the one that the next level is.
    taken: String,
}

impl Position {
    /// Before the first key after this one.
    pub fn start(after: String) -> Self {
        Self { after, levels: Vec::new() }
    }

    /// `None` for what no walk can have left.
    pub fn parse(token: &str) -> Option<Self> {
        let text = BASE64_URL_SAFE_NO_PAD.decode(token).ok()?;
        serde_json::from_slice(&text).ok().filter(|position: &Self| position.levels.len() <= LEVELS)
    }
}

/// In letters that neither XML nor a URL writes otherwise: some clients send it back as it stands in the answer.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64_URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).map_err(|_| fmt::Error)?))
    }
}

/// A directory that is being walked through.
struct Level {
    /// Empty, or ends with a slash.
    prefix: String,
    mark: Mark,
    rest: Peekable<IntoIter<Entry>>,
    next: Option<String>,
}

/// An entry, and its name as S3 sorts it: a directory's with its slash.
struct Entry {
    name: String,
    listed: Listed,
}

struct Walk<'a> {
    swarm: &'a Swarm,
    origin: &'a str,
    after: String,
    /// What the names in the first directory begin with.
    begins: String,
    descend: bool,
    levels: Vec<Level>,
    /// How many more may be asked for.
    pages: usize,
}

/// The next keys of an origin in the order of their bytes, directories beneath directories. Where a prefix is no directory, there are
/// none.
pub(super) async fn walk(swarm: &Swarm, origin: &str, wanted: Wanted) -> Result<Part, OpenError> {
    let (base, begins) = match wanted.prefix.rfind('/') {
        Some(slash) => wanted.prefix.split_at(slash + 1),
        None => ("", wanted.prefix.as_str()),
    };
    let begins = begins.to_owned();
    let mut walk =
        Walk { swarm, origin, after: wanted.from.after, begins, descend: wanted.descend, levels: Vec::new(), pages: PAGES };
    if wanted.most == 0 {
        return Ok(Part { items: Vec::new(), next: None });
    }
    let is_first = wanted.from.levels.is_empty();
    walk.resume(base.to_owned(), wanted.from.levels).await?;
    let marker = walk.marker().filter(|_| is_first);
    walk.take(marker, wanted.most).await
}

impl Walk<'_> {
    /// Each level that it opens again is one page less for what is new, of which there is always one: a walk must come to its end.
    async fn resume(&mut self, mut prefix: String, marks: Vec<Mark>) -> Result<(), OpenError> {
        let marks = if marks.is_empty() { vec![Mark::default()] } else { marks };
        self.pages = self.pages.saturating_sub(marks.len()).max(1);
        for mark in marks {
            let below = format!("{prefix}{}", mark.taken);
            if !self.open(prefix, mark).await? {
                // It is gone meanwhile, and all below it.
                break;
            }
            prefix = below;
        }
        Ok(())
    }

    async fn take(&mut self, marker: Option<Item>, most: usize) -> Result<Part, OpenError> {
        let mut items = Vec::from_iter(marker);
        while let Some(level) = self.levels.last_mut() {
            let Some(entry) = level.rest.peek() else {
                if level.next.is_some() && self.pages == 0 {
                    return Ok(Part { items, next: Some(self.position()) });
                }
                self.turn().await?;
                continue;
            };
            let full = format!("{}{}", level.prefix, entry.name);
            let directory = matches!(entry.listed, Listed::Directory { .. });
            if self.is_passed(&full, directory) {
                self.advance();
            } else if directory && self.descend {
                if self.pages == 0 || items.len() == most {
                    return Ok(Part { items, next: Some(self.position()) });
                }
                self.advance();
                self.pages -= 1;
                let there = self.open(full, Mark::default()).await?;
                items.extend(self.marker().filter(|_| there));
            } else if items.len() == most {
                return Ok(Part { items, next: Some(self.position()) });
            } else {
                items.extend(self.advance().map(|entry| entry.item(full)));
            }
        }
        Ok(Part { items, next: None })
    }

    /// Whether it is not to be told: before the start, or not what the prefix asks for.
    fn is_passed(&self, full: &str, directory: bool) -> bool {
        let before = full <= self.after.as_str() && !(directory && self.after.starts_with(full));
        let first = self.levels.len() == 1;
        before || first && self.levels[0].rest_name(full).is_none_or(|name| !name.starts_with(&self.begins))
    }

    fn advance(&mut self) -> Option<Entry> {
        let level = self.levels.last_mut()?;
        let entry = level.rest.next()?;
        level.mark.taken.clone_from(&entry.name);
        Some(entry)
    }

    /// What tells of an empty directory that was just opened: in S3 there is none but by a key with its name and a slash.
    fn marker(&mut self) -> Option<Item> {
        let all = self.levels.len() > 1 || self.begins.is_empty();
        let level = self.levels.last_mut()?;
        if level.rest.peek().is_some() || level.next.is_some() {
            return None;
        }
        (all && level.prefix > self.after).then(|| Item::marker(level.prefix.clone()))
    }

    /// To the directory's next page, or back to where it lies.
    async fn turn(&mut self) -> Result<(), OpenError> {
        let Some(level) = self.levels.pop() else { return Ok(()) };
        if let Some(token) = level.next {
            self.pages = self.pages.saturating_sub(1);
            self.open(level.prefix, Mark { page: Some(token), taken: String::new() }).await?;
        }
        Ok(())
    }

    /// Whether there is such a directory.
    async fn open(&mut self, prefix: String, mark: Mark) -> Result<bool, OpenError> {
        // The root is "": "/" would be a directory without a name.
        let directory = prefix.strip_suffix('/').unwrap_or(&prefix);
        if prefix == "/" {
            return Ok(false);
        }
        let page = match self.swarm.list_page(self.origin, directory, mark.page.as_deref()).await {
            Ok(page) => page,
            Err(OpenError::NotFound { .. }) => return Ok(false),
            // Below what no key can spell there is nothing; else the origin's answer makes no sense, which is not the same.
            Err(OpenError::InvalidKey { .. }) if !is_prefix(directory) => return Ok(false),
            Err(error) => return Err(error),
        };
        let rest = sorted(&page, &mark.taken).into_iter().peekable();
        self.levels.push(Level { prefix, mark, rest, next: page.next.clone() });
        Ok(true)
    }

    fn position(&self) -> Position {
        Position { after: self.after.clone(), levels: self.levels.iter().map(|level| level.mark.clone()).collect() }
    }
}

impl Level {
    fn rest_name<'a>(&self, full: &'a str) -> Option<&'a str> {
        full.strip_prefix(&self.prefix)
    }
}

impl Entry {
    fn new(listed: &Listed) -> Self {
        let slash = if matches!(listed, Listed::Directory { .. }) { "/" } else { "" };
        Self { name: format!("{}{slash}", listed.name()), listed: listed.clone() }
    }

    fn item(self, full: String) -> Item {
        match self.listed {
            Listed::Directory { .. } => Item::Prefix(full),
            Listed::Object { size, modified, version, .. } => Item::Key { key: full, size, modified, version },
        }
    }
}

/// As origins have it: S3's clients may ask below anything.
fn is_prefix(text: &str) -> bool {
    let is_name = |name: &str| !matches!(name, "" | "." | "..") && !name.bytes().any(|byte| byte.is_ascii_control());
    text.is_empty() || text.len() <= 1024 && text.split('/').all(is_name)
}

/// The entries of a page after the one that was taken last, in the order of their bytes.
fn sorted(page: &Page, taken: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = page.entries.iter().map(Entry::new).filter(|entry| entry.name.as_str() > taken).collect();
    entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_no_more_levels_than_a_key() {
        let deep = |levels| Position { after: String::new(), levels: vec![Mark::default(); levels] };
        assert_eq!(Position::parse(&deep(LEVELS).to_string()), Some(deep(LEVELS)));
        assert_eq!(Position::parse(&deep(LEVELS + 1).to_string()), None);
        assert_eq!(Position::parse("x"), None);
    }

    #[test]
    fn fuzz_tokens() {
        const PARTS: [&str; 14] =
            ["{", "}", "[", "]", ",", ":", "\"after\"", "\"levels\"", "\"a/\"", "null", "0", "\"token\"", "\"\"", "\"../\""];
        let valid = serde_json::to_string(&Position::start("a/b".into())).unwrap();
        bolero::check!().with_type::<Vec<(u8, u8)>>().with_iterations(4000).for_each(|edits| {
            let mut text = valid.clone();
            for (at, part) in edits.iter().take(8) {
                let at = text.floor_char_boundary(usize::from(*at) % (text.len() + 1));
                text.insert_str(at, PARTS[usize::from(*part) % PARTS.len()]);
            }
            assert_eq!(Position::parse(&text), None, "as text it is none");
            if let Some(position) = Position::parse(&BASE64_URL_SAFE_NO_PAD.encode(text)) {
                assert!(position.levels.len() <= LEVELS);
                assert!(Position::parse(&position.to_string()).is_some());
            }
        });
    }
}
