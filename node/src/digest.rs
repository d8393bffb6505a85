use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use herring_blob::BlobId;
use herring_http_api::ByteStream;
use sha2::{Digest, Sha256};

/// Bytes per read: what a FUSE request carries at most, and a good size for a disk.
pub const READ_SIZE: usize = 1 << 20;

/// What bytes turned out to be once read to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digested {
    pub id: BlobId,
    /// Bytes.
    pub size: u64,
    /// From the opening to the last byte, the hashing included: about 0.6 ms a MiB.
    pub took: Duration,
}

/// Adds up the SHA-256 and the length of bytes that pass by.
#[derive(Debug, Default)]
pub struct Digester {
    hash: Sha256,
    size: u64,
}

impl Digester {
    pub fn update(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn id(self) -> BlobId {
        BlobId::from_bytes(self.hash.finalize().into())
    }
}

/// Reads a file to its end. Blocks; see [`file_aside`].
pub fn file(path: &Path) -> io::Result<Digested> {
    let start = Instant::now();
    let mut file = File::open(path)?;
    let mut buffer = vec![0; READ_SIZE];
    let mut digester = Digester::default();
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => digester.update(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(digested(digester, start))
}

/// Like [`file`], on a thread that may wait. After `deadline` the thread is left to itself.
pub async fn file_aside(path: &Path, deadline: Duration) -> io::Result<Digested> {
    let path = path.to_owned();
    let read = tokio::task::spawn_blocking(move || file(&path));
    tokio::time::timeout(deadline, read).await??
}

/// Reads a body to its end; `start` is when it was asked for.
pub async fn stream(mut body: ByteStream, start: Instant) -> io::Result<Digested> {
    let mut digester = Digester::default();
    while let Some(bytes) = body.try_next().await? {
        digester.update(&bytes);
    }
    Ok(digested(digester, start))
}

fn digested(digester: Digester, start: Instant) -> Digested {
    let (took, size) = (start.elapsed(), digester.size());
    Digested { id: digester.id(), size, took }
}
