use std::io::{self, Write};
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::BlobId;

/// Why bytes are not a tree, or entries cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    #[error("this is not a tree: it does not begin with {:?}", Tree::MAGIC)]
    NotATree,
    #[error("line {line} of the tree cannot be read: {why}")]
    Line { line: usize, why: String },
    #[error("the tree is of format {found}, this program reads {}: use a newer one", Tree::VERSION)]
    Version { found: u32 },
    #[error("{path:?} cannot be in a tree: {why}")]
    Entry { path: String, why: &'static str },
    #[error(
        "a tree has at most {} entries in {} MiB, this one has more: give directories in it names of their own",
        Tree::MAX_ENTRIES,
        Tree::MAX_BYTES >> 20
    )]
    TooLarge,
}

/// One directory with all that is below it, as a value: immutable, canonical, itself kept as a blob.
///
/// Small files share blobs: a file is a range of a blob, so that a directory of 20,000 small files is some tens of blobs.
/// Entries are in the order of their paths, compared segment by segment, so that what is below a directory follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    blobs: Vec<BlobId>,
    entries: Vec<TreeEntry>,
}

/// A file, directory or link in a tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeEntry {
    /// From the tree's root, without a slash in front; empty for the root itself, which is always there.
    #[serde(rename = "p")]
    pub path: String,
    /// Permission bits, at most 0o7777.
    #[serde(rename = "m")]
    pub mode: u32,
    /// Nanoseconds since 1970, before it negative.
    #[serde(rename = "t")]
    pub modified_ns: i64,
    #[serde(flatten)]
    pub kind: TreeKind,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum TreeKind {
    /// `size` bytes from `offset` on of the blob with this index in [`Tree::blobs`]; an empty file is in no blob: index and offset are 0.
    File {
        #[serde(rename = "b")]
        blob: u32,
        #[serde(rename = "o")]
        offset: u64,
        #[serde(rename = "s")]
        size: u64,
    },
    Link {
        #[serde(rename = "l")]
        target: String,
    },
    Directory {
        #[serde(rename = "d")]
        directory: Mark,
    },
}

/// Written as `1`: says that an entry is a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Mark;

impl TryFrom<u8> for Mark {
    type Error = &'static str;

    fn try_from(value: u8) -> Result<Self, Self::Error> {
        if value == 1 { Ok(Self) } else { Err("a directory is marked with 1") }
    }
}

impl From<Mark> for u8 {
    fn from(_: Mark) -> Self {
        1
    }
}

/// The first line.
#[derive(Serialize, Deserialize)]
struct Head {
    tree: u32,
    blobs: Vec<BlobId>,
}

impl TreeEntry {
    pub fn is_directory(&self) -> bool {
        matches!(self.kind, TreeKind::Directory { .. })
    }

    /// Bytes: of a file its size, of a link its target's length, of a directory 0.
    pub fn size(&self) -> u64 {
        match &self.kind {
            TreeKind::File { size, .. } => *size,
            TreeKind::Link { target } => target.len() as u64,
            TreeKind::Directory { .. } => 0,
        }
    }

    /// The last segment of the path.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }
}

impl Tree {
    /// What a tree's bytes begin with.
    pub const MAGIC: &str = "{\"tree\":";
    /// Of the format that is written.
    pub const VERSION: u32 = 1;
    /// Bytes of an encoded tree. Whoever opens one has it in memory whole: more is neither put, nor opened, nor mounted.
    pub const MAX_BYTES: u64 = 256 << 20;
    /// Entries of a tree. [`MAX_BYTES`](Self::MAX_BYTES) of the shortest lines would be 8 million: a gigabyte once they are read.
    pub const MAX_ENTRIES: usize = 4_000_000;
    /// Bytes of one name, as the kernel has it.
    pub const MAX_NAME: usize = 255;
    /// Bytes of a path or of a link's target, as the kernel has it.
    pub const MAX_PATH: usize = 4095;

    /// A tree of these entries, in any order, whose files are in these blobs. Every directory must be among them, the root with the empty path too.
    pub fn new(blobs: Vec<BlobId>, mut entries: Vec<TreeEntry>) -> Result<Self, TreeError> {
        entries.sort_unstable_by(|a, b| order(&a.path).cmp(order(&b.path)));
        let tree = Self { blobs, entries };
        tree.check()?;
        Ok(tree)
    }

    pub fn blobs(&self) -> &[BlobId] {
        &self.blobs
    }

    /// All entries, the root first, in the order of their paths.
    pub fn entries(&self) -> &[TreeEntry] {
        &self.entries
    }

    /// The bytes of all files together. Files may share theirs, so somebody's tree can say more than there is: then it is `u64::MAX`.
    pub fn size(&self) -> u64 {
        let files = self.entries.iter().filter(|entry| matches!(entry.kind, TreeKind::File { .. }));
        files.map(TreeEntry::size).fold(0, u64::saturating_add)
    }

    /// The index of the entry at `path`.
    pub fn find(&self, path: &str) -> Option<usize> {
        self.entries.binary_search_by(|entry| order(&entry.path).cmp(order(path))).ok()
    }

    /// The indices of what is directly in the directory with index `at`, in the order of their names. Takes a search for each of them.
    pub fn children(&self, at: usize) -> impl Iterator<Item = usize> {
        let below = self.below(at);
        let mut next = below.start;
        std::iter::from_fn(move || {
            let child = (next < below.end).then_some(next)?;
            next = self.below(child).end;
            Some(child)
        })
    }

    /// The indices of everything below the entry with index `at`; empty for what is no directory.
    pub fn below(&self, at: usize) -> Range<usize> {
        let Some(entry) = self.entries.get(at).filter(|entry| entry.is_directory()) else { return at + 1..at + 1 };
        let rest = &self.entries[at + 1..];
        at + 1..at + 1 + rest.partition_point(|other| is_below(&other.path, &entry.path))
    }

    /// The tree as the bytes of its blob: a line of JSON for the whole, then one for each entry.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128 * self.entries.len() + 80 * self.blobs.len());
        // These types have string keys only, and writing to memory does not fail.
        self.write(&mut out).expect("a tree can be written to memory");
        out
    }

    /// How many bytes [`encode`](Self::encode) makes of it, without making them.
    pub fn encoded_size(&self) -> u64 {
        let mut count = Count(0);
        self.write(&mut count).expect("counting does not fail");
        count.0
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let head = Head { tree: Self::VERSION, blobs: self.blobs.clone() };
        serde_json::to_writer(&mut *out, &head)?;
        for entry in &self.entries {
            out.write_all(b"\n")?;
            serde_json::to_writer(&mut *out, entry)?;
        }
        out.write_all(b"\n")
    }

    /// The tree of such bytes, which may come from anyone: all that [`new`](Self::new) checks is checked.
    pub fn decode(bytes: &[u8]) -> Result<Self, TreeError> {
        if !bytes.starts_with(Self::MAGIC.as_bytes()) {
            return Err(TreeError::NotATree);
        }
        let mut lines = (1..).zip(bytes.split(|byte| *byte == b'\n'));
        let (line, first) = lines.next().unwrap_or((1, b""));
        let head: Head = read(line, first)?;
        if head.tree != Self::VERSION {
            return Err(TreeError::Version { found: head.tree });
        }
        // Counted before they are read: in memory a line is more than its bytes. The head's is one more.
        let mut ends = bytes.iter().filter(|byte| **byte == b'\n');
        if bytes.len() as u64 > Self::MAX_BYTES || ends.nth(Self::MAX_ENTRIES + 1).is_some() {
            return Err(TreeError::TooLarge);
        }
        let entries: Result<_, _> = lines.filter(|(_, text)| !text.is_empty()).map(|(line, text)| read(line, text)).collect();
        let tree = Self { blobs: head.blobs, entries: entries? };
        tree.check()?;
        Ok(tree)
    }

    fn check(&self) -> Result<(), TreeError> {
        let wrong = |path: &str, why| Err(TreeError::Entry { path: path.to_owned(), why });
        if self.entries.len() > Self::MAX_ENTRIES {
            return Err(TreeError::TooLarge);
        }
        match self.entries.first() {
            Some(root) if root.path.is_empty() && root.is_directory() => {}
            _ => return wrong("", "the first entry is the root directory"),
        }
        if let Some(twice) = self.entries.windows(2).find(|pair| order(&pair[0].path).ge(order(&pair[1].path))) {
            return wrong(&twice[1].path, "entries are in the order of their paths, each once");
        }
        // The directories that lead to the entry before.
        let mut open: Vec<&str> = vec![""];
        for entry in &self.entries {
            if let Err(why) = self.check_entry(entry) {
                return wrong(&entry.path, why);
            }
            if entry.path.is_empty() {
                continue;
            }
            let parent = entry.path.rsplit_once('/').map_or("", |(parent, _)| parent);
            while open.last().is_some_and(|last| *last != parent) {
                open.pop();
            }
            if open.is_empty() {
                return wrong(&entry.path, "the directory that it is in is not in the tree");
            }
            if entry.is_directory() {
                open.push(&entry.path);
            }
        }
        Ok(())
    }

    fn check_entry(&self, entry: &TreeEntry) -> Result<(), &'static str> {
        if entry.mode > 0o7777 {
            return Err("a mode has twelve bits");
        }
        if entry.path.len() > Self::MAX_PATH {
            return Err("a path has at most 4095 bytes");
        }
        if !entry.path.is_empty() {
            entry.path.split('/').try_for_each(check_name)?;
        }
        match &entry.kind {
            TreeKind::Directory { .. } => Ok(()),
            TreeKind::Link { target } if target.is_empty() || target.len() > Self::MAX_PATH || target.contains('\0') => {
                Err("a link's target has 1 to 4095 bytes, none of them 0")
            }
            TreeKind::Link { .. } => Ok(()),
            TreeKind::File { blob: 0, offset: 0, size: 0 } => Ok(()),
            TreeKind::File { size: 0, .. } => Err("an empty file is in no blob"),
            TreeKind::File { blob, .. } if usize::try_from(*blob).is_ok_and(|blob| blob >= self.blobs.len()) => {
                Err("its blob is not among the tree's")
            }
            // Kernels count bytes of files with a sign.
            TreeKind::File { offset, size, .. } if offset.checked_add(*size).is_none_or(|end| i64::try_from(end).is_err()) => {
                Err("it ends past any blob")
            }
            TreeKind::File { .. } => Ok(()),
        }
    }
}

/// Takes bytes and keeps how many.
struct Count(u64);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn check_name(name: &str) -> Result<(), &'static str> {
    match name {
        "" => Err("a name is not empty"),
        "." | ".." => Err("a name is not . or .."),
        _ if name.len() > Tree::MAX_NAME => Err("a name has at most 255 bytes"),
        _ if name.contains('\0') => Err("a name has no byte 0"),
        _ => Ok(()),
    }
}

/// Paths in the order in which a directory is followed by all that is below it: a slash counts less than any other byte.
fn order(path: &str) -> impl Iterator<Item = u16> + '_ {
    path.bytes().map(|byte| if byte == b'/' { 0 } else { u16::from(byte) + 1 })
}

fn is_below(path: &str, directory: &str) -> bool {
    directory.is_empty() || path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
}

fn read<'a, T: Deserialize<'a>>(line: usize, text: &'a [u8]) -> Result<T, TreeError> {
    serde_json::from_slice(text).map_err(|error| TreeError::Line { line, why: error.to_string() })
}

#[cfg(test)]
mod tests;
