//! A tree's entries on a disk. Nothing is written through a link: links are made last, in directories that were made here.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use herring_blob::{TreeEntry, TreeKind};
use rustix::fs::{AtFlags, CWD, OFlags, Timespec, Timestamps, UTIME_OMIT, futimens, utimensat};

/// Files of one blob that stay open between pieces: with four blobs at once far below the usual 1,024. A large file that occurs often is one blob
/// and many files; those past this many are opened again for each piece.
const MAX_OPEN: usize = 64;

/// A file to be filled from a blob.
#[derive(Debug)]
pub struct Piece {
    pub path: PathBuf,
    pub mode: u32,
    pub modified_ns: i64,
    /// Where it begins in the blob.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
}

/// Fills files from a blob that comes in order.
#[derive(Debug)]
pub struct Filler {
    /// Those not begun, the last to begin first.
    waiting: Vec<Piece>,
    /// Those that go on behind what came, the first [`MAX_OPEN`] of them open.
    begun: Vec<(Option<File>, Piece)>,
    /// How much of the blob came.
    at: u64,
}

impl Filler {
    /// Of a blob whose bytes come from `at` on.
    pub fn new(mut pieces: Vec<Piece>, at: u64) -> Self {
        pieces.sort_unstable_by_key(|piece| std::cmp::Reverse(piece.offset));
        Self { waiting: pieces, begun: Vec::new(), at }
    }

    pub fn fill(&mut self, bytes: &[u8]) -> io::Result<()> {
        let end = self.at + bytes.len() as u64;
        for (file, piece) in std::mem::take(&mut self.begun) {
            let file = file.map_or_else(|| append(&piece.path), Ok)?;
            self.go_on(file, piece, bytes, end)?;
        }
        while let Some(piece) = self.waiting.pop_if(|piece| piece.offset < end) {
            let file = create(&piece.path)?;
            self.go_on(file, piece, bytes, end)?;
        }
        self.at = end;
        Ok(())
    }

    pub fn is_done(&self) -> bool {
        self.waiting.is_empty() && self.begun.is_empty()
    }

    /// Writes what of `bytes`, which end at `end` of the blob, is in this file.
    fn go_on(&mut self, mut file: File, piece: Piece, bytes: &[u8], end: u64) -> io::Result<()> {
        let piece_end = piece.offset + piece.size;
        // Both are within `bytes`, whose length is a `usize`.
        let within = |at: u64| usize::try_from(at.clamp(self.at, end) - self.at).unwrap_or(bytes.len());
        file.write_all(&bytes[within(piece.offset)..within(piece_end)])?;
        if piece_end <= end {
            return finish(&file, piece.mode, piece.modified_ns);
        }
        self.begun.push(((self.begun.len() < MAX_OPEN).then_some(file), piece));
        Ok(())
    }
}

/// Directories, writable for now, and empty files.
pub fn lay_out(root: &Path, entries: &[(PathBuf, &TreeEntry)]) -> io::Result<()> {
    for (path, entry) in entries {
        match entry.kind {
            TreeKind::Directory { .. } if path != root => fs::create_dir(path)?,
            TreeKind::File { size: 0, .. } => finish(&create(path)?, entry.mode, entry.modified_ns)?,
            _ => {}
        }
    }
    Ok(())
}

/// Links, and then the modes and times of directories, which would change while something is made in them: the deepest first.
pub fn finish_all(entries: &[(PathBuf, &TreeEntry)]) -> io::Result<()> {
    for (path, entry) in entries {
        if let TreeKind::Link { target } = &entry.kind {
            symlink(target, path)?;
            utimensat(CWD, path, &times(entry.modified_ns), AtFlags::SYMLINK_NOFOLLOW)?;
        }
    }
    for (path, entry) in entries.iter().rev().filter(|(_, entry)| entry.is_directory()) {
        fs::set_permissions(path, Permissions::from_mode(entry.mode))?;
        utimensat(CWD, path, &times(entry.modified_ns), AtFlags::empty())?;
    }
    Ok(())
}

fn create(path: &Path) -> io::Result<File> {
    File::options().write(true).create_new(true).mode(0o600).custom_flags(OFlags::NOFOLLOW.bits().cast_signed()).open(path)
}

/// Opens what was created, to go on at its end.
fn append(path: &Path) -> io::Result<File> {
    File::options().append(true).custom_flags(OFlags::NOFOLLOW.bits().cast_signed()).open(path)
}

/// Gives a file its mode, whatever the umask says, and its time.
pub fn finish(file: &File, mode: u32, modified_ns: i64) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(mode))?;
    Ok(futimens(file, &times(modified_ns))?)
}

fn times(modified_ns: i64) -> Timestamps {
    const SECOND: i64 = 1_000_000_000;
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: modified_ns.div_euclid(SECOND), tv_nsec: modified_ns.rem_euclid(SECOND) },
    }
}
