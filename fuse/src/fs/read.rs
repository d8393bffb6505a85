//! Reads.

use bytes::Bytes;
use herring_blob::ByteRange;
use herring_swarm::{Content, ReadError, Swarm};

use super::HerringFs;
use crate::error::FsError;
use crate::found::Inode;

impl HerringFs {
    /// Fills `buffer` from `offset` on, less than all of it only at the end, if that takes no waiting.
    pub fn read_now<'a>(&self, ino: u64, offset: u64, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
        self.fill(ino, offset, buffer, Swarm::read_into_now)
    }

    /// The same from this node's disk, waiting for it. `None` where the disk lacks something of it.
    pub fn read_local<'a>(&self, ino: u64, offset: u64, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
        self.fill(ino, offset, buffer, Swarm::read_into_local)
    }

    fn fill<'a>(
        &self,
        ino: u64,
        offset: u64,
        buffer: &'a mut [u8],
        read: impl FnOnce(&Swarm, &Content, u64, &mut [u8]) -> bool,
    ) -> Option<&'a [u8]> {
        let inode = self.inode(ino).ok()?;
        let (content, at, buffer) = inode.within(offset, buffer)?;
        if !buffer.is_empty() && !read(&self.swarm, content, at, buffer) {
            return None;
        }
        // Some of it may have been in the page cache, because a chunk was just written: that stays there.
        self.pages.note(content, at, buffer.len());
        Some(buffer)
    }

    /// The bytes from `offset`, fewer than `len` only at the end, from wherever they are.
    pub async fn read(&self, ino: u64, offset: u64, len: u32) -> Result<Bytes, FsError> {
        let result = self.read_anywhere(ino, offset, len).await;
        if let Err(FsError::Gone | FsError::Read(ReadError::Changed { .. })) = &result {
            let _ = self.changed.try_send(ino);
        }
        result
    }

    async fn read_anywhere(&self, ino: u64, offset: u64, len: u32) -> Result<Bytes, FsError> {
        let inode = self.inode(ino)?;
        let first = if offset == 0 { len.into() } else { 0 };
        let (content, base) = match &inode {
            Inode::Node(node) => (node.content.get_or_try_init(|| self.layout.open(node, first)).await?, node.base()),
            Inode::Branch(branch) => branch.open(|id| self.layout.open_blob(id)).await?,
        };
        let range = inode.range(offset, len);
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let bytes = self.swarm.read(content, ByteRange::at(base + range.start, range.len())).await?;
        if bytes.len() as u64 != range.len() {
            return Err(FsError::Short { wanted: range.len(), got: bytes.len() });
        }
        // What was fetched is in the page cache, because it was written to the store.
        self.pages.note(content, base + offset, bytes.len());
        Ok(bytes)
    }
}
