use herring_blob::{BlobId, TreeKind};
use herring_http_api::client::ApiClient;
use herring_http_api::types::NameInfo;
use serde::Serialize;

use crate::commands::{Target, ls};
use crate::error::Failure;
use crate::output::{Output, Table, count, size};
use crate::tree;

#[derive(Debug, Serialize)]
struct Stat {
    id: BlobId,
    /// Bytes.
    size: u64,
    /// Bytes.
    chunk_size: u32,
    /// How many.
    chunks: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<NameInfo>,
    /// The name that mounts show in the place of this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    hidden_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tree: Option<Tree>,
}

/// What is in a directory.
#[derive(Debug, Serialize)]
struct Tree {
    files: usize,
    links: usize,
    directories: usize,
    /// Of all files together.
    size: u64,
    /// How many they are in.
    blobs: usize,
}

pub async fn run(client: &ApiClient, output: Output, what: Target) -> Result<(), Failure> {
    let (id, name) = match what {
        Target::Blob(id) => (id, None),
        Target::Name(name) => client.name(&name).await.map(|info| (info.target, Some(info)))?,
    };
    let manifest = client.manifest(id).await?;
    let geometry = manifest.geometry();
    let tree = tree::load(client, id).await?.map(|tree| summary(&tree));
    let hidden_by = match &name {
        Some(info) => ls::hidden_by(client, &info.name).await,
        None => None,
    };
    let (size, chunk_size, chunks) = (geometry.size(), geometry.chunk_size(), geometry.chunk_count());
    let stat = Stat { id, size, chunk_size, chunks, name, hidden_by, tree };
    output.show(&stat, || table(&stat))
}

fn summary(tree: &herring_blob::Tree) -> Tree {
    let of = |kind: fn(&TreeKind) -> bool| tree.entries().iter().filter(|entry| kind(&entry.kind)).count();
    Tree {
        files: of(|kind| matches!(kind, TreeKind::File { .. })),
        links: of(|kind| matches!(kind, TreeKind::Link { .. })),
        directories: of(|kind| matches!(kind, TreeKind::Directory { .. })),
        size: tree.size(),
        blobs: tree.blobs().len(),
    }
}

fn table(stat: &Stat) -> String {
    let mut table = Table::new(&["ID", "SIZE", "BYTES", "CHUNKS", "CHUNK SIZE"], &[1, 2, 3, 4]);
    let (bytes, chunks) = (stat.size.to_string(), stat.chunks.to_string());
    table.row([stat.id.to_string(), size(stat.size), bytes, chunks, size(stat.chunk_size.into())]);
    let tree = stat.tree.as_ref().map(|tree| {
        let (links, blobs) = (count(tree.links, "link"), count(tree.blobs, "blob"));
        let directories =
            if tree.directories == 1 { "1 directory".to_owned() } else { format!("{} directories", tree.directories) };
        format!("a directory: {} of {} in {blobs}, {links}, {directories}\n", count(tree.files, "file"), size(tree.size))
    });
    let name = stat
        .name
        .as_ref()
        .map(|info| format!("named {} since {} (version {})\n", info.name, ls::time(info.modified_ms), info.version));
    let hidden = stat.hidden_by.as_ref().map(|by| format!("hidden in mounts: {by} is a name too\n"));
    table.render() + &tree.unwrap_or_default() + &name.unwrap_or_default() + &hidden.unwrap_or_default()
}
