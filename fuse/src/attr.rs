use std::time::SystemTime;

use fuser::{FileAttr, FileType, INodeNo};

use crate::branch::Branch;
use crate::found::Inode;
use crate::node::Node;
use crate::place::moment;

/// What programs take as a good size for a read: the largest that the kernel asks for at once.
const LARGEST_BLOCK: u64 = 1 << 20;
const SMALLEST_BLOCK: u64 = 4096;

/// Everything belongs to who runs this process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner {
    uid: u32,
    gid: u32,
}

/// What differs between one file and another.
struct Facts {
    ino: u64,
    size: u64,
    modified: SystemTime,
    kind: FileType,
    perm: u16,
    nlink: u32,
}

impl Owner {
    pub fn me() -> Self {
        Self { uid: rustix::process::getuid().as_raw(), gid: rustix::process::getgid().as_raw() }
    }

    pub fn attr(self, inode: &Inode) -> FileAttr {
        match inode {
            Inode::Node(node) => self.of_node(node),
            Inode::Branch(branch) => self.of_branch(branch),
        }
    }

    pub fn of_node(self, node: &Node) -> FileAttr {
        let kind = node.place.kind();
        let nlink = if kind == FileType::Directory { 2 } else { 1 };
        self.with(Facts { ino: node.ino, size: node.size, modified: node.modified, kind, perm: node.mode(), nlink })
    }

    pub fn of_branch(self, branch: &Branch) -> FileAttr {
        let (entry, nlink) = (branch.entry(), branch.links());
        let (modified, perm) = (moment(entry.modified_ns), branch.mode());
        self.with(Facts { ino: branch.ino(), size: entry.size(), modified, kind: branch.kind(), perm, nlink })
    }

    fn with(self, Facts { ino, size, modified, kind, perm, nlink }: Facts) -> FileAttr {
        FileAttr {
            ino: INodeNo(ino),
            size,
            blocks: size.div_ceil(512),
            atime: modified,
            mtime: modified,
            ctime: modified,
            crtime: modified,
            kind,
            perm,
            nlink,
            uid: self.uid,
            gid: self.gid,
            rdev: 0,
            blksize: block_size(size),
            flags: 0,
        }
    }
}

/// For a small file no more than it needs: programs clear as much memory for it.
fn block_size(size: u64) -> u32 {
    let size = size.min(LARGEST_BLOCK).next_power_of_two().max(SMALLEST_BLOCK);
    u32::try_from(size).unwrap_or(u32::MAX)
}
