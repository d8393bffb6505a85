use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use herring_blob::BlobId;
use uuid::Uuid;

use crate::digest;
use crate::error::{Failure, OrFail};
use crate::up::{Bounds, regular_files};

/// Of the checkout that the check runs in, if it does.
const CHECKOUT: Bounds = Bounds { files: 64, bytes: 64 << 20 };
/// Not somebody's files, but what was built or is kept of them.
const SKIPPED: [&str; 2] = ["target", ".git"];

/// Six chunks and a bit, so that several nodes own some and the last is short.
const GENERATED_BYTES: usize = (24 << 20) + 12_345;

/// A file with real bytes, and what it must turn out to be everywhere.
#[derive(Debug, Clone)]
pub struct Material {
    pub path: PathBuf,
    pub id: BlobId,
    /// Bytes.
    pub size: u64,
}

impl Material {
    async fn of(path: PathBuf) -> Result<Self, Failure> {
        let read = path.clone();
        let digested = tokio::task::spawn_blocking(move || digest::file(&read)).await.or_fail(|| "cannot read".to_owned())?;
        let digested = digested.or_fail(|| format!("cannot read {}", path.display()))?;
        Ok(Self { path, id: digested.id, size: digested.size })
    }

    /// Whether the file still has these bytes.
    pub async fn is_unchanged(&self) -> bool {
        Self::of(self.path.clone()).await.is_ok_and(|now| now.id == self.id)
    }

    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or(self.path.as_os_str()).to_string_lossy().into_owned()
    }
}

/// The files of the command line, or else this program and the checkout around it; and one made up just now, which no
/// node can know yet.
pub async fn gather(paths: &[PathBuf], dir: &Path) -> Result<Vec<Material>, Failure> {
    let mut files = if paths.is_empty() { own_files()? } else { crate::up::files_to_put(paths)? };
    files.push(generate(&dir.join("generated.bin"))?);
    let mut known = BTreeSet::new();
    let mut materials = Vec::new();
    for file in files {
        let material = Material::of(file).await?;
        // The same bytes again would be no cold read.
        if known.insert(material.id) {
            materials.push(material);
        }
    }
    Ok(materials)
}

fn own_files() -> Result<Vec<PathBuf>, Failure> {
    let program = std::env::current_exe().or_fail(|| "cannot find this program's own file".to_owned())?;
    // Where nothing can be listed there is still the program.
    let around = std::env::current_dir().map(|here| regular_files(&here, &SKIPPED, CHECKOUT));
    let around = around.unwrap_or(Ok(Vec::new())).unwrap_or_default();
    let readable = around.into_iter().filter(|path| std::fs::File::open(path).is_ok());
    Ok([program].into_iter().chain(readable).collect())
}

fn generate(path: &Path) -> Result<PathBuf, Failure> {
    let (seed, _) = Uuid::new_v4().as_u64_pair();
    std::fs::write(path, noise(seed, GENERATED_BYTES)).or_fail(|| format!("cannot write {}", path.display()))?;
    Ok(path.to_owned())
}

/// Bytes without a pattern (splitmix64), so that no two chunks are alike.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 8);
    let mut state = seed;
    while bytes.len() < length {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend((word ^ (word >> 31)).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_has_its_length_and_its_seed() {
        assert_eq!(noise(1, 13).len(), 13);
        assert_eq!(noise(1, 13), noise(1, 16)[..13]);
        assert_ne!(noise(1, 16), noise(2, 16));
    }

    #[tokio::test]
    async fn a_file_that_is_written_to_is_no_material_any_more() {
        let dir = tempfile::tempdir().unwrap();
        let material = Material::of(generate(&dir.path().join("a")).unwrap()).await.unwrap();
        assert!(material.is_unchanged().await);
        std::fs::write(&material.path, "other").unwrap();
        assert!(!material.is_unchanged().await);
        std::fs::remove_file(&material.path).unwrap();
        assert!(!material.is_unchanged().await);
    }

    #[tokio::test]
    async fn the_same_bytes_are_taken_once() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        std::fs::write(&a, "same").unwrap();
        std::fs::write(&b, "same").unwrap();
        let materials = gather(&[a.clone(), b], dir.path()).await.unwrap();
        assert_eq!(materials.len(), 2);
        assert_eq!((&materials[0].path, materials[0].id), (&a, BlobId::of(b"same")));
        assert_eq!(materials[1].size, GENERATED_BYTES as u64);
    }
}
