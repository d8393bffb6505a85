//! What the nodes say of placement: all the same, and what really happens.

use std::collections::BTreeSet;

use herring_ring::Point;

use crate::door::nobody;
use crate::net::{CHUNK_LEN, Net, manifest_of, noise};

#[tokio::test]
async fn all_nodes_say_the_same_and_it_is_so() {
    let net = Net::start(4, 2).await;
    let bytes = noise(120, 8 * CHUNK_LEN + 9);
    let id = net.nodes[0].put(&bytes).await.unwrap().stored.id;
    let first = net.nodes[0].swarm.explain(id, None).await.unwrap();
    assert_eq!((first.size, first.replicas, first.chunks.len()), (bytes.len() as u64, 2, 9));
    for chunk in &first.chunks {
        assert_eq!(chunk.state, "replicated");
        assert_eq!(chunk.owners.iter().collect::<BTreeSet<_>>(), chunk.holders.iter().collect());
    }
    for node in &net.nodes {
        assert_eq!(node.swarm.explain(id, None).await.unwrap().chunks, first.chunks);
        assert_eq!(node.swarm.explain(id, Some(3)).await.unwrap().chunks, [first.chunks[3].clone()]);
        for chunk in (0..9).map(Some).chain([None]) {
            let expected = chunk.map_or(&first.manifest_owners, |chunk| &first.chunks[chunk as usize].owners);
            assert_eq!(node.swarm.owners(id, chunk).await.unwrap().owners, *expected);
        }
        assert!(node.swarm.owners(id, Some(9)).await.is_err());
    }
}

#[tokio::test]
async fn who_is_said_to_succeed_a_departed_does() {
    let net = Net::start(5, 2).await;
    let id = net.nodes[0].put(&noise(121, 20 * CHUNK_LEN)).await.unwrap().stored.id;
    let said = net.nodes[0].swarm.explain(id, None).await.unwrap().chunks;
    let manifest = manifest_of(&net.nodes[0].swarm.open_blob(id).await.unwrap());
    for gone in 0..5 {
        let name = format!("n{gone}");
        net.publish(&net.without(&[gone]));
        let asker = (gone + 1) % 5;
        for chunk in said.iter().filter(|chunk| chunk.owners.contains(&name)) {
            let point = Point::of_chunk(&manifest, chunk.index);
            let view = net.nodes[asker].swarm.view();
            let now: BTreeSet<_> = view.owners(point, 2).into_iter().map(|node| node.id.to_string()).collect();
            let departure = chunk.if_lost.iter().find(|departure| departure.node == name).unwrap();
            let stay = chunk.owners.iter().filter(|owner| **owner != name).cloned();
            assert_eq!(now, stay.chain(departure.successor.clone()).collect(), "chunk {} without {name}", chunk.index);
        }
        net.publish(&net.members());
    }
}

#[tokio::test]
async fn what_is_lost_and_who_is_silent_is_said() {
    let net = Net::start(3, 2).await;
    let id = net.nodes[0].put(&noise(122, 9 * CHUNK_LEN)).await.unwrap().stored.id;
    let one = usize::from(net.holders(id, |entry| entry.present_count() > 0).contains(&1));
    net.detour(one, nobody().await);
    let asker = (one + 1) % 3;
    let said = net.nodes[asker].swarm.explain(id, None).await.unwrap();
    assert_eq!(said.unreachable, [format!("n{one}")]);
    for chunk in &said.chunks {
        let short = chunk.owners.contains(&format!("n{one}"));
        assert_eq!(chunk.state, if short { "under-replicated" } else { "replicated" });
    }
    net.nodes[(one + 2) % 3].store.remove(&id.into()).await.unwrap();
    let said = net.nodes[asker].swarm.explain(id, None).await.unwrap();
    let lost = |chunk: &herring_http_api::types::ExplainChunk| !chunk.owners.contains(&format!("n{asker}"));
    assert!(said.chunks.iter().any(lost));
    for chunk in said.chunks.iter().filter(|chunk| lost(chunk)) {
        assert_eq!((chunk.state.as_str(), chunk.holders.len()), ("lost", 0));
    }
}
