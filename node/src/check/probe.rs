use std::io;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::Node;
use super::material::Material;
use super::report::{Reading, Report, Way};
use crate::commands::put;
use crate::digest::{self, Digested};
use crate::error::Failure;
use crate::up::blob_path;

/// What reading may take: a constant and 5 MiB/s. A hung mount must not hang the check.
fn deadline(size: u64) -> Duration {
    Duration::from_secs(30 + size / (5 << 20))
}

/// Puts everything into one node.
pub async fn put(node: &Node, materials: &[Material], report: &mut Report) -> Result<(), Failure> {
    let start = Instant::now();
    for material in materials {
        let (done, failure) = put::all(&node.client, std::slice::from_ref(&material.path)).await;
        if let Some(failure) = failure {
            return Err(failure);
        }
        let id = done[0].id;
        if id != material.id {
            report.differs(format!("{} named {} {id}, but its bytes are {}", node.place.id, material.name(), material.id));
        }
    }
    report.put(materials, start.elapsed());
    Ok(())
}

/// Reads everything from every node: through the mounts of those that it was not put into, and over HTTP.
pub async fn read_back(nodes: &[Node], materials: &[Material], report: &mut Report) {
    for (index, node) in nodes.iter().enumerate() {
        let (mounted, many) = (node.place.mount.is_some(), nodes.len() > 1);
        for material in materials {
            if mounted && (index > 0 || !many) {
                let cold = read(node, Way::Mount, material).await;
                let warm = read(node, Way::Mount, material).await;
                report.read(node, Way::Mount, material, cold, warm);
            }
            let cold = read(node, Way::Http, material).await;
            let warm = read(node, Way::Http, material).await;
            report.read(node, Way::Http, material, cold, warm);
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

impl Reading {
    /// A read and its repetition, if both gave what they must.
    pub fn judge(
        node: &Node,
        way: Way,
        material: &Material,
        cold: io::Result<Digested>,
        warm: io::Result<Digested>,
    ) -> Result<Self, String> {
        let judge = |word: &str, read: io::Result<Digested>| match read {
            Ok(read) if read.id == material.id => Ok(read.took),
            Ok(read) => Err(format!("{word} gave {} bytes that hash to {}", read.size, read.id)),
            Err(error) => Err(format!("{word} failed: {error}")),
        };
        let (cold, warm) = (judge("the cold read", cold), judge("the warm read", warm));
        let what = |why: String| format!("{} by {way} from {}, {}: {why}", material.name(), node.place.id, material.id);
        match (cold, warm) {
            (Ok(cold), Ok(warm)) => Ok(Self::new(&node.place.id, way, material, cold, warm)),
            (Err(cold), _) => Err(what(cold)),
            (_, Err(warm)) => Err(what(warm)),
        }
    }
}
