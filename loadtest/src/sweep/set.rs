use std::path::{Path, PathBuf};

use super::SweepArguments;
use super::measure::{Files, Times, take};
use super::plan::{Deal, Place, Places};
use crate::blob::TestBlob;
use crate::error::FuseError;
use crate::node::Node;
use crate::swarm::Swarm;

/// Of the labels that files' bytes are made from: no file of the one is in the other.
const LOCAL: u64 = 0;
const FRESH: u64 = 1;

/// The same files at the three places, each named by its SHA-256.
pub struct Set {
    blobs: Vec<TestBlob>,
    places: Places<Files>,
}

impl Set {
    /// Files that node 1 has, at its own mount.
    pub fn local(arguments: &SweepArguments, swarm: &Swarm, tmpfs: &Path) -> Result<Self, FuseError> {
        let blobs = blobs(arguments, &[LOCAL]);
        swarm.put(&blobs)?;
        Self::new(blobs, arguments.size, swarm.first(), swarm.first(), tmpfs)
    }

    /// Files that nobody had before: node 1 has them now, and the mount is node 2's.
    pub fn fresh(arguments: &SweepArguments, swarm: &Swarm, tmpfs: &Path, labels: &[u64]) -> Result<Self, FuseError> {
        let blobs = blobs(arguments, &[&[FRESH], labels].concat());
        swarm.put_cold(&blobs)?;
        Self::new(blobs, arguments.size, swarm.first(), swarm.second("cold reading")?, tmpfs)
    }

    fn new(blobs: Vec<TestBlob>, size: usize, store: &Node, mount: &Node, tmpfs: &Path) -> Result<Self, FuseError> {
        let dir = as_deep(tmpfs, &mount.mount.join("blobs"));
        std::fs::create_dir_all(&dir).map_err(FuseError::at(&dir))?;
        let files = |path: &dyn Fn(&TestBlob) -> PathBuf| Files::new(blobs.iter().map(path).collect(), size);
        let places = Places {
            tmpfs: files(&|blob| dir.join(blob.id.to_string())),
            backing: files(&|blob| store.backing(blob.id)),
            mount: files(&|blob| mount.file(blob.id)),
        };
        let copy = |(blob, path): (&TestBlob, &Path)| std::fs::write(path, blob.bytes()).map_err(FuseError::at(path));
        blobs.iter().zip(places.tmpfs.paths()).try_for_each(copy)?;
        Ok(Self { blobs, places })
    }

    pub fn files(&self, place: Place) -> &Files {
        self.places.of(place)
    }

    pub fn take(&self, place: Place, deal: &Deal) -> Result<Times, FuseError> {
        take(self.files(place), deal)
    }

    /// Every byte at every place.
    pub fn verify(&self) -> Result<(), FuseError> {
        let verify = |place| self.blobs.iter().zip(self.files(place).paths()).try_for_each(|(blob, path)| blob.verify(path));
        Place::ALL.into_iter().try_for_each(verify)
    }

    pub fn verify_and_remove(self, swarm: &Swarm) -> Result<(), FuseError> {
        self.verify()?;
        self.places.tmpfs.paths().try_for_each(|path| std::fs::remove_file(path).map_err(FuseError::at(path)))?;
        swarm.delete(&self.blobs)
    }
}

/// A directory below `tmpfs` with as many components as `other` has: an open pays for each, and it is the file systems that are compared.
fn as_deep(tmpfs: &Path, other: &Path) -> PathBuf {
    let missing = other.components().count().saturating_sub(tmpfs.components().count());
    std::iter::repeat_n("deep", missing).fold(tmpfs.to_owned(), |dir, name| dir.join(name))
}

fn blobs(arguments: &SweepArguments, labels: &[u64]) -> Vec<TestBlob> {
    let blob = |file| TestBlob::new(arguments.size as u64, arguments.seed, &[labels, &[file as u64]].concat());
    (0..arguments.files).map(blob).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_made_as_long_as_the_mounts() {
        let deep = |tmpfs: &str, other: &str| as_deep(Path::new(tmpfs), Path::new(other));
        assert_eq!(deep("/dev/shm/x", "/tmp/y/n1/mnt/blobs"), Path::new("/dev/shm/x/deep/deep"));
        assert_eq!(deep("/dev/shm/x", "/mnt/blobs"), Path::new("/dev/shm/x"));
    }
}
