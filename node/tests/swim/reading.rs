use std::io::Read;
use std::sync::Barrier;
use std::thread;

use herring_blob::BlobId;
use herring_store::{Store, StoreConfig};
use rustix::process::Signal;

use crate::swarm::{Plan, Swarm, assert_about_once, have_fuse, is_mounted, noise};

const MIB: usize = 1 << 20;

#[test]
fn a_blob_put_into_one_node_is_read_through_the_mounts_of_the_others() {
    if !have_fuse() {
        return;
    }
    let swarm = Swarm::start(Plan { mounts: true, ..Plan::default() });
    for size in [0, 1, 4 * MIB, 4 * MIB + 1, 40 * MIB - 3] {
        let bytes = noise(size, size as u64);
        let id = swarm.put(0, &bytes);
        for node in &swarm.nodes {
            assert_eq!(std::fs::metadata(node.blob(id)).unwrap().len(), size as u64);
            assert!(std::fs::read(node.blob(id)).unwrap() == bytes, "{size} bytes through {}", node.dir.display());
        }
        assert!((0..3).all(|n| swarm.get(n, id) == bytes), "{size} bytes over HTTP");
    }
    let unknown = BlobId::of(b"nobody has this");
    assert_eq!(std::fs::metadata(swarm.nodes[1].blob(unknown)).unwrap_err().kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn a_reader_does_not_notice_that_an_owner_is_killed() {
    if !have_fuse() {
        return;
    }
    let mut swarm = Swarm::start(Plan { mounts: true, ..Plan::default() });
    let bytes = noise(96 * MIB, 7);
    let id = swarm.put(0, &bytes);
    let mut file = std::fs::File::open(swarm.nodes[2].blob(id)).unwrap();
    let mut read = vec![0; 6 * MIB];
    file.read_exact(&mut read).unwrap();
    swarm.nodes[1].kill();
    file.read_to_end(&mut read).unwrap();
    assert!(read == bytes, "the bytes are the same with an owner killed in the middle");
}

#[test]
fn readers_on_all_nodes_at_once_cost_the_origin_each_byte_once() {
    if !have_fuse() {
        return;
    }
    let origin = tempfile::tempdir().unwrap();
    let bytes = noise(64 * MIB + 5, 3);
    std::fs::create_dir(origin.path().join("deep")).unwrap();
    std::fs::write(origin.path().join("deep/model.bin"), &bytes).unwrap();
    let origins = vec![format!("files=file://{}", origin.path().display())];
    let swarm = Swarm::start(Plan { mounts: true, origins, ..Plan::default() });
    let together = Barrier::new(swarm.nodes.len());
    thread::scope(|scope| {
        for node in &swarm.nodes {
            let path = node.origin("files").join("deep/model.bin");
            let (together, bytes) = (&together, &bytes);
            scope.spawn(move || {
                together.wait();
                assert!(std::fs::read(path).unwrap() == *bytes);
            });
        }
    });
    let asked: u64 = (0..3).map(|n| swarm.metric(n, "herring_origin_bytes_total")).sum();
    assert_about_once(asked, bytes.len() as u64);
}

#[test]
fn a_terminated_node_leaves_no_mount_and_a_killed_one_is_cleared_at_its_next_start() {
    if !have_fuse() {
        return;
    }
    let mut swarm = Swarm::start(Plan { nodes: 1, replicas: 1, mounts: true, ..Plan::default() });
    let mount = swarm.nodes[0].mount();
    let id = swarm.put(0, b"still here");
    for signal in [Signal::TERM, Signal::INT] {
        assert!(is_mounted(&mount));
        assert_eq!(swarm.nodes[0].end(signal).code(), Some(0));
        assert!(!is_mounted(&mount), "{signal:?} unmounts");
        swarm.launch(0);
        swarm.wait_for_members(1);
    }
    swarm.nodes[0].kill();
    assert!(is_mounted(&mount), "kill -9 leaves a dead mount behind");
    swarm.launch(0);
    swarm.wait_for_members(1);
    assert_eq!(std::fs::read(swarm.nodes[0].blob(id)).unwrap(), b"still here");
}

#[test]
fn a_chunk_that_rots_on_an_owners_disk_is_read_from_another() {
    let mut swarm = Swarm::start(Plan::default());
    let bytes = noise(12 * MIB, 11);
    let id = swarm.put(0, &bytes);
    swarm.nodes[0].kill();
    rot(&swarm.nodes[0].dir.join("data"), id);
    swarm.launch(0);
    swarm.wait_for_members(3);
    assert!((0..3).all(|n| swarm.get(n, id) == bytes));
}

/// Flips a byte in every chunk of the blob's file.
fn rot(data_dir: &std::path::Path, id: BlobId) {
    use std::os::unix::fs::FileExt;
    drop(Store::open(StoreConfig { dir: data_dir.to_owned(), capacity: u64::MAX }).unwrap());
    let hex = id.to_string();
    let path = data_dir.join("blobs").join(&hex[..2]).join(&hex);
    let Ok(file) = std::fs::File::options().read(true).write(true).open(path) else { return };
    let mut byte = [0];
    for at in (0..file.metadata().unwrap().len()).step_by(MIB) {
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[!byte[0]], at).unwrap();
    }
}
