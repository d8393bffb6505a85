use herring_blob::BlobId;
use herring_http_api::client::ApiClient;
use serde::Serialize;

use crate::error::Failure;
use crate::output::{Output, Table, size};

#[derive(Debug, Serialize)]
struct Stat {
    id: BlobId,
    /// Bytes.
    size: u64,
    /// Bytes.
    chunk_size: u32,
    /// How many.
    chunks: u32,
}

pub async fn run(client: &ApiClient, output: Output, id: BlobId) -> Result<(), Failure> {
    let manifest = client.manifest(id).await?;
    let geometry = manifest.geometry();
    let stat = Stat { id, size: geometry.size(), chunk_size: geometry.chunk_size(), chunks: geometry.chunk_count() };
    output.show(&stat, || table(&stat))
}

fn table(stat: &Stat) -> String {
    let mut table = Table::new(&["ID", "SIZE", "BYTES", "CHUNKS", "CHUNK SIZE"], &[1, 2, 3, 4]);
    let (bytes, chunks) = (stat.size.to_string(), stat.chunks.to_string());
    table.row([stat.id.to_string(), size(stat.size), bytes, chunks, size(stat.chunk_size.into())]);
    table.render()
}
