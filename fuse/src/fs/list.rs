//! Directories.

use std::sync::Arc;

use super::{Entry, HerringFs};
use crate::error::FsError;
use crate::found::Inode;
use crate::layout::{Contents, Segment};
use crate::listing::{Listing, Paged, Part, Whole, is_dot};
use crate::node::Node;
use crate::place::Place;

impl HerringFs {
    pub fn open_directory(&self) -> u64 {
        self.listings.handle()
    }

    pub fn close_directory(&self, handle: u64) {
        self.listings.close(handle);
    }

    /// What is in a directory of a tree, from `offset` on.
    pub fn listing_now(&self, ino: u64, offset: u64) -> Option<Part> {
        let branch = self.trees.get(ino).filter(|branch| branch.entry().is_directory())?;
        Some(Part::Branch(branch, offset))
    }

    /// What is in a directory, from `offset` on, where a reader of `handle` goes on; at the beginning, as it is now. Some of it at least, unless that is the
    /// end.
    pub async fn listing(&self, ino: u64, handle: u64, offset: u64) -> Result<Part, FsError> {
        if let Some(part) = self.listing_now(ino, offset) {
            return Ok(part);
        }
        let Inode::Node(directory) = self.inode(ino)? else { return Err(FsError::NotADirectory) };
        let listing = match self.listings.get(handle).filter(|_| offset > 0) {
            Some(listing) => listing,
            None => self.begin(&directory).await?,
        };
        // Nothing is kept of what cannot be listed.
        let part = self.part(&directory, &listing, offset).await?;
        self.listings.put(handle, listing);
        Ok(part)
    }

    async fn begin(&self, directory: &Node) -> Result<Listing, FsError> {
        directory.seen.touch();
        let since = self.taken_back();
        Ok(match self.layout.list(&directory.place).await? {
            Contents::Items(items) => Listing::Whole(self.listings.whole(items, since)?),
            Contents::Names(segments) => Listing::Names(self.listings.whole(segments, since)?),
            Contents::Pages { origin, prefix } => Listing::Paged(Arc::new(Paged::new(origin, prefix, self.mounted))),
        })
    }

    async fn part(&self, directory: &Node, listing: &Listing, offset: u64) -> Result<Part, FsError> {
        match listing {
            Listing::Whole(whole) => Ok(Part::Whole(Arc::clone(whole), offset)),
            Listing::Names(whole) => Ok(self.part_of_names(directory, whole, offset).await),
            Listing::Paged(paged) => {
                let ask = async |token: Option<String>| {
                    let since = self.taken_back();
                    Ok((self.layout.page(&paged.origin, &paged.prefix, token.as_deref(), since).await?, since))
                };
                paged.part(offset, ask).await.map(Part::Page)
            }
        }
    }

    async fn part_of_names(&self, directory: &Node, whole: &Whole<Segment>, offset: u64) -> Part {
        let items = match &directory.place {
            Place::Names { prefix } => self.layout.look_into(prefix, whole, offset).await,
            _ => Vec::new(),
        };
        Part::Names(items, whole.since)
    }

    /// Gives what is in `part`, which is of the directory `parent`, to `add`, which takes the offset of what follows, the name and what it is, and returns
    /// whether there was no room. What was taken counts as looked up.
    pub fn enter_all(&self, parent: u64, part: &Part, mut add: impl FnMut(u64, &str, &Entry) -> bool) {
        for (next, name, found) in part.items() {
            if is_dot(name) {
                if add(next, name, &self.dot(&found)) {
                    return;
                }
                continue;
            }
            let entry = self.enter(parent, found, part.since());
            if add(next, name, &entry) {
                return self.forget(entry.attr.ino.0, 1);
            }
        }
    }
}
