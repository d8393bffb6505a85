use std::os::unix::fs::MetadataExt;

use bytes::Bytes;

use crate::swarm::{Plan, Swarm, noise, stream, wait_until};

#[test]
fn all_nodes_killed_and_started_again_have_everything_that_was_acknowledged() {
    let mut swarm = Swarm::start(Plan::default());
    let blobs: Vec<Vec<u8>> = (0..12u64).map(|n| noise(usize::try_from(n * n * 70_001).unwrap(), n)).collect();
    let ids: Vec<_> = blobs.iter().enumerate().map(|(n, bytes)| swarm.put(n % 3, bytes)).collect();
    swarm.nodes.iter_mut().for_each(|node| node.kill());
    (0..3).for_each(|n| swarm.launch(n));
    swarm.wait_for_members(3);
    for (id, bytes) in ids.iter().zip(&blobs) {
        assert!((0..3).all(|n| swarm.get(n, *id) == *bytes), "{} bytes", bytes.len());
    }
}

#[test]
fn a_restarted_node_is_one_node_and_the_epoch_is_as_before() {
    let mut swarm = Swarm::start(Plan::default());
    let before = swarm.wait_for_members(3);
    swarm.nodes[0].kill();
    swarm.launch(0);
    assert_eq!(swarm.wait_for_members(3), before);
    swarm.nodes[0].kill();
    assert_ne!(swarm.wait_for_members(2), before);
    swarm.launch(0);
    assert_eq!(swarm.wait_for_members(3), before);
}

#[test]
fn a_node_that_has_not_met_its_swarm_yet_acknowledges_nothing_alone() {
    let mut swarm = Swarm::start(Plan::default());
    swarm.nodes[2].kill();
    swarm.launch(2);
    let mut turn = 0;
    wait_until("the first put that the restarted node takes", || {
        turn += 1;
        let body = Bytes::from(noise(100, turn));
        let put = swarm.block(async { swarm.api(2).put(None, Some(100), stream(body)).await });
        put.is_ok_and(|(stored, _)| {
            assert_eq!(stored.replicas, 2, "put {turn}");
            true
        })
    });
}

#[test]
fn what_a_node_writes_is_for_its_user_alone() {
    let swarm = Swarm::start(Plan { nodes: 1, replicas: 1, ..Plan::default() });
    swarm.put(0, &noise(9 << 20, 3));
    let mut waiting = vec![swarm.nodes[0].dir.join("data")];
    let mut seen = 0;
    while let Some(dir) = waiting.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let (path, meta) = entry.map(|entry| (entry.path(), entry.metadata().unwrap())).unwrap();
            seen += 1;
            assert_eq!(meta.mode() & 0o077, 0, "{} is {:o}", path.display(), meta.mode());
            if meta.is_dir() {
                waiting.push(path);
            }
        }
    }
    assert!(seen > 5, "only {seen} files were looked at");
}
