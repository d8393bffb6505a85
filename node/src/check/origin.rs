use std::path::{Path, PathBuf};

use herring_blob::BlobId;
use url::Url;

use super::material::Material;
use super::report::{OriginReport, Report};
use super::{Node, probe};
use crate::error::{Failure, OrFail};

const NAME: &str = "check";
/// A larger file is not copied just to be an origin's.
const MOST_BYTES: u64 = 256 << 20;

/// An origin of one file, in a directory of its own.
#[derive(Debug)]
pub struct OriginFile {
    directory: PathBuf,
    key: String,
    id: BlobId,
    size: u64,
}

impl OriginFile {
    /// Copies the largest file there is, within reason.
    pub async fn new(dir: &Path, materials: &[Material]) -> Result<Self, Failure> {
        let fitting = materials.iter().filter(|material| material.size <= MOST_BYTES);
        let material = fitting.max_by_key(|material| material.size).expect("the made-up file is among them and small enough");
        let (directory, key) = (dir.join("origin"), "file.bin".to_owned());
        let made = async {
            tokio::fs::create_dir_all(&directory).await?;
            tokio::fs::copy(&material.path, directory.join(&key)).await
        };
        made.await.or_fail(|| format!("cannot make an origin in {}", directory.display()))?;
        Ok(Self { directory, key, id: material.id, size: material.size })
    }

    /// `NAME=URL` for every node.
    pub fn spec(&self) -> String {
        let url = Url::from_directory_path(&self.directory).expect("the directory's path is absolute");
        format!("{NAME}={url}")
    }

    /// Reads it from all nodes at once, and looks that it was asked for its bytes once: not twice for all of them, since nodes of one machine that
    /// is busy may take each other for silent for a moment, and ask in each other's place.
    pub async fn read_everywhere(&self, nodes: &[Node], report: &mut Report) -> Result<(), Failure> {
        let reads = probe::read_origin(nodes, NAME, &self.key, self.size).await;
        let mut slowest = std::time::Duration::ZERO;
        for (node, read) in nodes.iter().zip(reads) {
            match read {
                Ok(read) if read.id == self.id => slowest = slowest.max(read.took),
                Ok(read) => {
                    report.differs(format!("the origin's file from {} hashes to {}, not {}", node.place.id, read.id, self.id))
                }
                Err(error) => report.differs(format!("the origin's file could not be read from {}: {error}", node.place.id)),
            }
        }
        let served = served(nodes).await?;
        if served != self.size && !(self.size..2 * self.size).contains(&served) {
            report.differs(format!("the origin has {} bytes and served {served}: it should have served each once", self.size));
        }
        report.origin =
            Some(OriginReport { size: self.size, served, readers: nodes.len(), slowest_ms: slowest.as_secs_f64() * 1e3 });
        Ok(())
    }
}

/// Bytes that the nodes together have asked the origin for.
async fn served(nodes: &[Node]) -> Result<u64, Failure> {
    let mut sum = 0;
    for node in nodes {
        sum += bytes_from(&node.client.metrics().await?);
    }
    Ok(sum)
}

/// The counter of our origin in a node's figures; 0 where it was never asked.
fn bytes_from(metrics: &str) -> u64 {
    let ours = metrics.lines().filter(|line| line.starts_with("herring_origin_bytes_total{"));
    let ours = ours.filter(|line| line.contains(&format!("\"{NAME}\"")));
    ours.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_is_found_among_others() {
        let metrics = "# TYPE herring_origin_bytes_total counter\nherring_origin_bytes_total{origin=\"other\"} 7\n\
                       herring_origin_bytes_total{origin=\"check\"} 25178169\nherring_origin_requests_total{origin=\"check\",op=\"read\"} 3\n";
        assert_eq!(bytes_from(metrics), 25_178_169);
        assert_eq!(bytes_from(""), 0);
    }
}
