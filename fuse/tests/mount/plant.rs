//! Directories made into trees, as `herring put` does it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use herring_blob::{BlobId, Mark, Tree, TreeEntry, TreeKind};
use herring_swarm::Condition;

use super::rig::Rig;

/// What `herring put` gives a blob of its own.
const OWN: u64 = 1 << 20;

struct Planter<'a> {
    rig: &'a Rig,
    blobs: Vec<BlobId>,
    /// The small files, which are in the first blob.
    pack: Vec<u8>,
    entries: Vec<TreeEntry>,
}

impl Rig {
    /// Puts a directory, and gives it a name.
    pub async fn plant(&self, directory: &Path, name: &str) -> BlobId {
        let mut planter = Planter { rig: self, blobs: vec![BlobId::of(b"the pack")], pack: Vec::new(), entries: Vec::new() };
        Box::pin(planter.walk(directory, String::new())).await;
        planter.blobs[0] = self.put(&planter.pack).await;
        let id = self.put(&Tree::new(planter.blobs, planter.entries).unwrap().encode()).await;
        self.name(name, id).await;
        id
    }

    pub async fn name(&self, name: &str, target: BlobId) {
        self.swarm.put_name(name, target, Condition::Always).await.unwrap();
    }
}

impl Planter<'_> {
    async fn walk(&mut self, from: &Path, path: String) {
        let stat = fs::symlink_metadata(from).unwrap();
        let modified_ns = stat.mtime() * 1_000_000_000 + stat.mtime_nsec();
        let kind = if stat.is_symlink() {
            TreeKind::Link { target: fs::read_link(from).unwrap().to_str().unwrap().to_owned() }
        } else if stat.is_dir() {
            TreeKind::Directory { directory: Mark }
        } else {
            self.file(&fs::read(from).unwrap()).await
        };
        self.entries.push(TreeEntry { path: path.clone(), mode: stat.mode() & 0o7777, modified_ns, kind });
        if !stat.is_dir() {
            return;
        }
        let children = fs::read_dir(from).unwrap().map(|child| (child.as_ref().unwrap().file_name(), child.unwrap().path()));
        for (name, child) in children.collect::<BTreeMap<_, _>>() {
            let name = name.to_str().unwrap();
            let below = if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
            Box::pin(self.walk(&child, below)).await;
        }
    }

    async fn file(&mut self, bytes: &[u8]) -> TreeKind {
        let size = bytes.len() as u64;
        match size {
            0 => TreeKind::File { blob: 0, offset: 0, size },
            OWN.. => {
                let id = self.rig.put(bytes).await;
                self.blobs.push(id);
                TreeKind::File { blob: u32::try_from(self.blobs.len() - 1).unwrap(), offset: 0, size }
            }
            _ => {
                self.pack.extend_from_slice(bytes);
                TreeKind::File { blob: 0, offset: self.pack.len() as u64 - size, size }
            }
        }
    }
}
