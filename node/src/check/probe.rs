use std::io;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::Node;
use super::material::Material;
use super::report::{Report, Way};
use crate::commands::put;
use crate::digest::{self, Digested};
use crate::error::Failure;
use crate::up::blob_path;

/// What reading may take: a constant and 5 MiB/s. A hung mount must not hang the check.
fn deadline(size: u64) -> Duration {
    Duration::from_secs(30 + size / (5 << 20))
}

/// Puts everything into one node: what that is. Files that were written to since they were looked at are left out.
pub async fn put(node: &Node, materials: &[Material], report: &mut Report) -> Result<Vec<Material>, Failure> {
    let (start, mut stored) = (Instant::now(), Vec::with_capacity(materials.len()));
    for material in materials {
        let id = put::one(&node.client, &material.path).await?.id;
        if id == material.id {
            stored.push(material.clone());
        } else if material.is_unchanged().await {
            report.differs(format!("{} named {} {id}, but its bytes are {}", node.place.id, material.name(), material.id));
        } else {
            report.left_out(material);
        }
    }
    report.put(&stored, start.elapsed());
    Ok(stored)
}

/// Reads everything from every node: through the mounts of those that it was not put into, and over HTTP.
pub async fn read_back(nodes: &[Node], materials: &[Material], report: &mut Report) {
    for (index, node) in nodes.iter().enumerate() {
        let mounted = node.place.mount.is_some() && (index > 0 || nodes.len() == 1);
        for material in materials {
            if mounted {
                let cold = read(node, Way::Mount, material).await;
                report.read(node, Way::Mount, material, Some(cold), read(node, Way::Mount, material).await);
            }
            // What came through the mount is on that node's disk: its HTTP has no cold read to show.
            let cold = if mounted { None } else { Some(read(node, Way::Http, material).await) };
            report.read(node, Way::Http, material, cold, read(node, Way::Http, material).await);
        }
    }
}

async fn read(node: &Node, way: Way, material: &Material) -> io::Result<Digested> {
    let limit = deadline(material.size);
    match (way, &node.place.mount) {
        (Way::Mount, Some(mount)) => digest::file_aside(&blob_path(mount, &material.id.to_string()), limit).await,
        _ => tokio::time::timeout(limit, fetch(node, material)).await?,
    }
}

async fn fetch(node: &Node, material: &Material) -> io::Result<Digested> {
    let start = Instant::now();
    let (_, body) = node.client.get(material.id, None).await.map_err(io::Error::other)?;
    digest::stream(body, start).await
}

/// Reads one key of an origin from all nodes at once, through their mounts where there are any.
pub async fn read_origin(nodes: &[Node], origin: &str, key: &str, size: u64) -> Vec<io::Result<Digested>> {
    let read = async |node: &Node| match &node.place.mount {
        Some(mount) => digest::file_aside(&mount.join("origins").join(origin).join(key), deadline(size)).await,
        None => tokio::time::timeout(deadline(size), fetch_object(node, origin, key)).await?,
    };
    join_all(nodes.iter().map(read)).await
}

async fn fetch_object(node: &Node, origin: &str, key: &str) -> io::Result<Digested> {
    let start = Instant::now();
    let (_, body) = node.client.get_object(origin, key, None).await.map_err(io::Error::other)?;
    digest::stream(body, start).await
}

/// How long a read took, if it gave what it must; else what is wrong with it.
pub fn judge(material: &Material, read: io::Result<Digested>) -> Result<Duration, String> {
    match read {
        Ok(read) if read.id == material.id => Ok(read.took),
        Ok(read) => Err(format!("gave {} bytes that hash to {}, not to {}", read.size, read.id, material.id)),
        Err(error) => Err(format!("failed: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use herring_blob::BlobId;

    use super::*;

    fn read(bytes: &[u8]) -> io::Result<Digested> {
        Ok(Digested { id: BlobId::of(bytes), size: bytes.len() as u64, took: Duration::from_millis(1) })
    }

    #[test]
    fn only_the_very_bytes_are_right() {
        let material = Material { path: "a".into(), id: BlobId::of(b"right"), size: 5 };
        assert_eq!(judge(&material, read(b"right")), Ok(Duration::from_millis(1)));
        assert!(judge(&material, read(b"wrong")).unwrap_err().starts_with("gave 5 bytes that hash to"));
        assert!(judge(&material, read(b"righ")).is_err());
        assert!(judge(&material, Err(io::ErrorKind::TimedOut.into())).unwrap_err().starts_with("failed: "));
    }
}
