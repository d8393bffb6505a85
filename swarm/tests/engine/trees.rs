//! Blobs that are trees.

use std::sync::Arc;

use herring_blob::{BlobId, Mark, Tree, TreeEntry, TreeKind};
use herring_swarm::OpenError;

use crate::net::{CHUNK_LEN, Net, noise};

/// A directory with so many links, several chunks long where they are many.
fn tree(links: usize) -> Tree {
    let entry = |path: String, kind| TreeEntry { path, mode: 0o755, modified_ns: 1, kind };
    let link = |n| entry(format!("link {n}"), TreeKind::Link { target: "where/ever".into() });
    let root = entry(String::new(), TreeKind::Directory { directory: Mark });
    Tree::new(Vec::new(), [root].into_iter().chain((0..links).map(link)).collect()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trees_are_opened_and_other_blobs_are_not() {
    let net = Net::start(3, 2).await;
    for links in [0, 5000] {
        let tree = tree(links);
        let id = net.nodes[0].put(&tree.encode()).await.unwrap().stored.id;
        for node in &net.nodes {
            let open = node.swarm.open_tree(id).await.unwrap().unwrap();
            assert!(open.id == id && open.tree == tree);
            assert!(Arc::ptr_eq(&open, &node.swarm.open_tree(id).await.unwrap().unwrap()), "parsed once");
        }
    }
    for bytes in [&b""[..], b"{\"tr", b"{\"tree\":1}", b"{\"tree\":99,\"blobs\":[]}\n", &noise(3, 3 * CHUNK_LEN)] {
        let id = net.nodes[0].put(bytes).await.unwrap().stored.id;
        assert!(net.nodes[1].swarm.open_tree(id).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_removed_tree_is_gone() {
    let net = Net::start(2, 2).await;
    let id = net.nodes[0].put(&tree(1).encode()).await.unwrap().stored.id;
    assert!(net.nodes[1].swarm.open_tree(id).await.unwrap().is_some());
    net.nodes[0].swarm.remove(id).await.unwrap();
    for node in &net.nodes {
        assert!(matches!(node.swarm.open_tree(id).await, Err(OpenError::NotFound { .. })));
    }
    assert!(matches!(net.nodes[0].swarm.open_tree(BlobId::of(b"none")).await, Err(OpenError::NotFound { .. })));
}
