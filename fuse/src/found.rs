use std::sync::Arc;

use fuser::FileType;
use herring_blob::ByteRange;
use herring_swarm::Content;

use crate::branch::Branch;
use crate::node::Node;
use crate::trees::Root;

/// What a name was found to mean, before the kernel is told of it.
#[derive(Debug, Clone)]
pub(crate) enum Found {
    Node(Node),
    Branch(Branch),
    Root(Root),
    /// A name of which nobody could tell in time what it points at: a directory in listings, but whoever goes there has to ask.
    Unopened(Node),
}

impl Found {
    pub fn ino(&self) -> u64 {
        match self {
            Self::Node(node) | Self::Unopened(node) => node.ino,
            Self::Branch(branch) => branch.ino(),
            Self::Root(root) => root.ino(),
        }
    }

    pub fn kind(&self) -> FileType {
        match self {
            Self::Node(node) | Self::Unopened(node) => node.place.kind(),
            Self::Branch(branch) => branch.kind(),
            Self::Root(_) => FileType::Directory,
        }
    }
}

/// What has an inode number that the kernel knows.
#[derive(Debug)]
pub(crate) enum Inode {
    Node(Arc<Node>),
    Branch(Branch),
}

impl Inode {
    /// Of a file, bytes.
    fn size(&self) -> u64 {
        match self {
            Self::Node(node) => node.size,
            Self::Branch(branch) => branch.entry().size(),
        }
    }

    /// The opened content, where in it to read, and as much of `buffer` as there is to fill from `offset` of the file on. `None` where it is
    /// not open yet.
    pub fn within<'a>(&self, offset: u64, buffer: &'a mut [u8]) -> Option<(&Content, u64, &'a mut [u8])> {
        let (content, base) = match self {
            Self::Node(node) => (node.content.get()?, node.base()),
            Self::Branch(branch) => branch.opened()?,
        };
        let left = usize::try_from(self.size().saturating_sub(offset)).unwrap_or(usize::MAX);
        let len = buffer.len().min(left);
        Some((content, base.saturating_add(offset), &mut buffer[..len]))
    }

    /// What a read of `len` bytes of the file from `offset` can give.
    pub fn range(&self, offset: u64, len: u32) -> ByteRange {
        ByteRange::at(offset, len.into()).clamp_to(self.size())
    }
}
