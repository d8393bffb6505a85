//! What is kept for as long as somebody wants it, or refused.

use std::sync::Arc;
use std::time::Duration;

use herring_blob::BlobId;
use herring_http_api::types::JobState;
use herring_swarm::{PinError, Swarm};
use tokio::sync::Semaphore;

use crate::jobs::{ended, far_blob};
use crate::net::{CHUNK, CHUNK_LEN, Net, Node, Setup, noise};
use crate::peer::Fault;

const HOUR: Duration = Duration::from_secs(3600);

/// Bytes in all and here of the only pin.
fn only(swarm: &Swarm) -> (u64, u64) {
    let pins = swarm.pins();
    assert_eq!(pins.len(), 1);
    (pins[0].bytes, pins[0].bytes_here)
}

/// The job that began last has ended, and all of the blob is here.
async fn until_here(node: &Node, id: BlobId) {
    let last = node.swarm.jobs().pop().unwrap();
    assert_eq!(ended(&node.swarm, last.job).await.state, JobState::Done);
    assert!(node.store.get(&id.into()).unwrap().is_complete());
}

#[tokio::test]
async fn what_could_not_stay_beside_the_others_is_refused() {
    let mut setup = Setup::new(2, 1);
    setup.capacity = |index| if index == 1 { 100 * u64::from(CHUNK) } else { 1 << 30 };
    let net = setup.start().await;
    let [one, two] = [far_blob(&net, 1, 30 * CHUNK_LEN).await, far_blob(&net, 2, 30 * CHUNK_LEN).await];
    let (swarm, size) = (&net.nodes[1].swarm, 30 * u64::from(CHUNK));
    assert_eq!(swarm.pin(&one.to_string(), HOUR).await.unwrap().bytes, size);
    let refused = swarm.pin(&two.to_string(), HOUR).await.unwrap_err();
    let PinError::Full { needed, taken, most, .. } = refused else { panic!("{refused}") };
    assert_eq!((needed, taken), (size, size));
    assert!(most <= 45 * u64::from(CHUNK), "{most}");
    assert!(swarm.pins().len() == 1 && !swarm.pinned(&two.into()));
    swarm.pin(&one.to_string(), 2 * HOUR).await.expect("it is no other");
    swarm.unpin(&one.to_string()).await.unwrap();
    swarm.pin(&two.to_string(), HOUR).await.expect("there is room now");
}

#[tokio::test]
async fn what_is_durable_here_needs_no_room_of_pins() {
    let mut setup = Setup::new(2, 2);
    setup.capacity = |_| 100 * u64::from(CHUNK);
    let net = setup.start().await;
    let id = net.nodes[0].put(&noise(3, 60 * CHUNK_LEN)).await.unwrap().stored.id;
    let pin = net.nodes[1].swarm.pin(&id.to_string(), HOUR).await.unwrap();
    assert_eq!((pin.bytes, pin.bytes_here), (60 * u64::from(CHUNK), 60 * u64::from(CHUNK)));
    assert!(net.nodes[1].swarm.jobs().is_empty(), "all of it is here");
}

#[tokio::test]
async fn what_is_lost_is_brought_again_and_not_too_often() {
    let mut net = Net::start(2, 1).await;
    let (id, size) = (far_blob(&net, 4, 3 * CHUNK_LEN).await, 3 * u64::from(CHUNK));
    let node = &net.nodes[1];
    node.swarm.pin(&id.to_string(), HOUR).await.unwrap();
    until_here(node, id).await;
    node.swarm.sweep(HOUR).await;
    assert_eq!((only(&node.swarm), node.swarm.jobs().len()), ((size, size), 1), "nothing is missing");
    assert!(node.store.remove(&id.into()).await.unwrap());
    assert_eq!(only(&node.swarm), (size, 0));
    node.swarm.sweep(HOUR).await;
    assert_eq!(node.swarm.jobs().len(), 2);
    until_here(node, id).await;
    assert!(node.store.remove(&id.into()).await.unwrap());
    node.swarm.sweep(HOUR).await;
    assert_eq!((only(&node.swarm), node.swarm.jobs().len()), ((size, 0), 2), "twice within a minute: it waits");
    net.restart(1).await;
    let node = &net.nodes[1];
    assert_eq!(only(&node.swarm), (size, 0));
    node.swarm.sweep(HOUR).await;
    until_here(node, id).await;
    assert_eq!(only(&node.swarm), (size, size));
}

#[tokio::test]
async fn one_job_at_a_time_brings_what_a_lease_keeps() {
    let mut net = Net::start(2, 1).await;
    let id = far_blob(&net, 5, 3 * CHUNK_LEN).await;
    net.nodes[1].swarm.open_tree(id).await.unwrap();
    let gate = Arc::new(Semaphore::new(0));
    net.nodes[0].peer.set(Fault::HoldAnswer(gate.clone()));
    net.nodes[1].swarm.pin(&id.to_string(), HOUR).await.unwrap();
    net.nodes[1].swarm.pin(&id.to_string(), 2 * HOUR).await.unwrap();
    net.nodes[1].swarm.sweep(HOUR).await;
    assert_eq!(net.nodes[1].swarm.jobs().len(), 1);
    // The next run finds both the job and the lease.
    net.restart(1).await;
    let node = &net.nodes[1];
    node.swarm.resume_jobs();
    node.swarm.sweep(HOUR).await;
    assert_eq!(node.swarm.jobs().len(), 1);
    gate.add_permits(Semaphore::MAX_PERMITS / 2);
    until_here(node, id).await;
}
