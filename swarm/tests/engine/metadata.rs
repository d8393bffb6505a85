//! What origins have: each question is asked of the origin once for the whole swarm, and what was answered outlives the origin.

mod doubts;
mod listings;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use herring_http_api::peer::MetaCall;
use herring_ring::Point;
use herring_store::Table;
use herring_swarm::{Content, Found, OpenError, Page, Source, Swarm, SwarmConfig};
use metrics::{Key, Label};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::bucket::{Bucket, Manner, SIZE};
use crate::count::Counters;
use crate::door::nobody;
use crate::net::{Net, Setup, eventually};
use crate::peer::{Fault, Peer};

const KEYS: [&str; 4] = ["a", "dir/b", "dir/c", "z"];
/// Longer than any test.
const LONG: u32 = 3600;

/// Patient with its owners, so that who asks whom is what the test causes, and not how busy the machine is.
async fn start(nodes: usize, bucket: &Bucket, ttl: u32) -> Net {
    patient(nodes, bucket, ttl).start().await
}

fn patient(nodes: usize, bucket: &Bucket, ttl: u32) -> Setup {
    Setup::new(nodes, 3).tune(|config| config.owner_patience = Duration::from_secs(60)).origin_url(&bucket.spec("o", ttl))
}

fn names(page: &Page) -> Vec<&str> {
    page.entries.iter().map(|entry| entry.name()).collect()
}

async fn list(swarm: &Swarm) -> Vec<String> {
    let page = swarm.list_page("o", "", None).await.unwrap();
    names(&page).into_iter().map(str::to_owned).collect()
}

fn version(content: &Content) -> &str {
    let Source::Object(object) = content.source() else { panic!("{content} is no object") };
    assert_eq!(content.size(), SIZE);
    &object.version
}

async fn version_of(swarm: &Swarm, key: &str) -> String {
    version(&swarm.open_object("o", key).await.unwrap()).to_owned()
}

/// One of more nodes than own it.
fn no_owner(net: &Net, key: &str) -> usize {
    let owners = net.owners(Point::of_key("o", key));
    (0..net.nodes.len()).find(|index| !owners.contains(index)).unwrap()
}

fn is_ask(call: &MetaCall) -> bool {
    matches!(call, MetaCall::Ask { .. })
}

fn asks(peer: &Peer) -> usize {
    peer.asked().metas.iter().filter(|call| is_ask(call)).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_list_at_once_and_the_origin_is_asked_once() {
    let bucket = Bucket::open(&KEYS).await;
    let net = start(8, &bucket, LONG).await;
    let lists = (0..24).map(|turn| list(&net.nodes[turn % 8].swarm));
    for listed in join_all(lists).await {
        assert_eq!(listed, ["a", "dir", "z"]);
    }
    assert_eq!(bucket.asked(), ["LIST "]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_waits_for_a_slow_origin_shows_life_and_is_waited_for() {
    let bucket = Bucket::open(&KEYS).await;
    let gate = Arc::new(Semaphore::new(0));
    bucket.set(Manner::Hold(Arc::clone(&gate)));
    let net = start(4, &bucket, 0).await;
    let first = net.owners(Point::of_key("o", "a"))[0];
    let (owner, others) = (&net.nodes[first].peer, net.nodes.iter().enumerate().filter(|(index, _)| *index != first));
    let opening = join_all(others.map(|(_, node)| version_of(&node.swarm, "a")));
    let for_the_first_time = |call: &&MetaCall| matches!(call, MetaCall::Ask { newest_ms: None | Some(0), .. });
    let release = async {
        // Three nodes ask, are told to ask again, and ask again.
        owner.until(|asked| asked.metas.iter().filter(for_the_first_time).count() == 3 && asked.metas.len() >= 7).await;
        gate.add_permits(100);
    };
    let (versions, ()) = tokio::join!(opening, release);
    assert_eq!(versions, ["\"v1\""; 3]);
    assert_eq!(bucket.asked(), ["HEAD a"], "though nothing is believed: who waits for an answer shares it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_an_object_or_a_directory_and_each_is_asked_for_once() {
    let bucket = Bucket::open(&KEYS).await;
    let net = start(3, &bucket, LONG).await;
    for node in &net.nodes {
        assert!(matches!(node.swarm.look_up("o", "a").await, Ok(Found::Object(content)) if version(&content) == "\"v1\""));
        assert!(matches!(node.swarm.look_up("o", "dir").await, Ok(Found::Directory)));
        assert!(matches!(node.swarm.look_up("o", "").await, Ok(Found::Directory)));
        assert!(matches!(node.swarm.open_object("o", "dir").await, Err(OpenError::NotFound { .. })));
        assert!(matches!(node.swarm.look_up("o", "../a").await, Err(OpenError::InvalidKey { .. })));
        assert!(matches!(node.swarm.look_up("unknown", "a").await, Err(OpenError::NoOrigin { .. })));
    }
    assert_eq!(bucket.asked(), ["HEAD a", "HEAD dir", "LIST dir/"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_follow_each_other() {
    let bucket = Bucket::open(&["a", "b", "c", "d", "e", "f", "g"]).await;
    let net = start(3, &bucket, LONG).await;
    for node in &net.nodes {
        let (mut all, mut token) = (Vec::new(), None);
        loop {
            let page = node.swarm.list_page("o", "", token.as_deref()).await.unwrap();
            all.extend(names(&page).into_iter().map(str::to_owned));
            token.clone_from(&page.next);
            if token.is_none() {
                break;
            }
        }
        assert_eq!(all.concat(), "abcdefg");
    }
    assert_eq!(bucket.asked(), ["LIST "; 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_is_asked_for_once_and_found_soon_after_it_is_made() {
    let bucket = Bucket::open(&KEYS).await;
    let net = start(4, &bucket, LONG).await;
    let missing = join_all(net.nodes.iter().map(|node| node.swarm.look_up("o", "new"))).await;
    assert!(missing.iter().all(|found| matches!(found, Err(OpenError::NotFound { .. }))));
    // Who hears the answer only when it is 2 s old asks again.
    assert!(bucket.asked().starts_with(&["HEAD new".into(), "LIST new/".into()]));
    bucket.put("new", 1);
    for node in &net.nodes {
        while node.swarm.open_object("o", "new").await.is_err() {
            sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_believed_for_its_time_and_not_when_something_changed() {
    let bucket = Bucket::open(&KEYS).await;
    let net = start(4, &bucket, LONG).await;
    assert_eq!(version_of(&net.nodes[0].swarm, "a").await, "\"v1\"");
    bucket.put("a", 2);
    for node in &net.nodes {
        assert_eq!(version_of(&node.swarm, "a").await, "\"v1\"");
    }
    let first = bucket.asked().len();
    for (asked, node) in (first + 1..).zip(&net.nodes) {
        node.swarm.forget_object("o", "a");
        assert_eq!(version_of(&node.swarm, "a").await, "\"v2\"", "neither its own memory nor the owner's");
        assert_eq!(bucket.asked().len(), asked);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_renewed_before_its_time_is_over() {
    let bucket = Bucket::open(&KEYS).await;
    // A quarter of that is between the renewal and its end.
    let net = start(3, &bucket, 16).await;
    let swarm = &net.nodes[0].swarm;
    assert_eq!(version_of(swarm, "a").await, "\"v1\"");
    bucket.put("a", 2);
    loop {
        let opened = swarm.open_object("o", "a").now_or_never().expect("nobody waits while the old answer is believed");
        // In this order: what was opened before the origin was asked is old.
        if bucket.asked().len() > 1 {
            break;
        }
        assert_eq!(version(&opened.unwrap()), "\"v1\"");
        sleep(Duration::from_millis(1)).await;
    }
    while version_of(swarm, "a").await != "\"v2\"" {
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(bucket.asked().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_owner_is_passed_by_and_the_next_asks_for_all() {
    let bucket = Bucket::open(&KEYS).await;
    let net = start(6, &bucket, LONG).await;
    let owner = net.owners(Point::of_key("o", ""))[0];
    net.detour(owner, nobody().await);
    let living = net.nodes.iter().enumerate().filter(|(index, _)| *index != owner);
    for listed in join_all(living.map(|(_, node)| list(&node.swarm))).await {
        assert_eq!(listed, ["a", "dir", "z"]);
    }
    assert_eq!(bucket.asked(), ["LIST "]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hanging_owners_are_passed_by_and_not_waited_for_each_time() {
    let bucket = Bucket::open(&[]).await;
    let net = patient(4, &bucket, LONG).tune(|config| config.owner_patience = Duration::from_millis(100)).start().await;
    let reader = &net.nodes[0].swarm;
    net.nodes[1..].iter().for_each(|node| node.peer.set(Fault::Hang));
    let keys: Vec<String> = (0..200).map(|n| format!("k{n}")).collect();
    for key in &keys {
        bucket.put(key, 1);
        assert_eq!(version_of(reader, key).await, "\"v1\"");
    }
    let waits: usize = net.nodes[1..].iter().map(|node| asks(&node.peer)).sum();
    assert!((1..50).contains(&waits), "{waits} questions to nodes that hang, for {} keys", keys.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_is_not_let_in_does_not_keep_out_the_others() {
    let bucket = Bucket::open(&KEYS).await;
    let net = start(6, &bucket, LONG).await;
    let owners = net.owners(Point::of_key("o", "a"));
    let reader = (0..6).find(|index| !owners.contains(index)).unwrap();
    bucket.set(Manner::Deny(2));
    assert_eq!(version_of(&net.nodes[reader].swarm, "a").await, "\"v1\"");
    assert_eq!(bucket.asked(), ["HEAD a"; 3], "two owners are not let in, the third is");
    bucket.set(Manner::Deny(1));
    let owner = net.owners(Point::of_key("o", "dir/b"))[0];
    assert_eq!(version_of(&net.nodes[owner].swarm, "dir/b").await, "\"v1\"", "it asks the other owners");
    bucket.set(Manner::Deny(usize::MAX));
    assert!(matches!(net.nodes[reader].swarm.open_object("o", "z").await, Err(OpenError::Denied { .. })));
    let (owner, refused) = (net.owners(Point::of_key("o", "dir/c"))[0], nobody().await);
    net.detour(owner, refused);
    let away = &net.nodes[owner].info.id;
    let reader = (0..6).find(|index| !net.owners(Point::of_key("o", "dir/c")).contains(index)).unwrap();
    let denied = net.nodes[reader].swarm.open_object("o", "dir/c").await.unwrap_err();
    assert!(matches!(&denied, OpenError::Denied { detail } if detail.contains(&format!("{away} cannot be reached"))), "{denied}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_learnt_outlives_the_origin_on_all_nodes() {
    let bucket = Bucket::open(&KEYS).await;
    let net = start(6, &bucket, 0).await;
    let first = &net.nodes[0].swarm;
    assert_eq!(list(first).await, ["a", "dir", "z"]);
    assert_eq!(version_of(first, "a").await, "\"v1\"");
    assert!(matches!(first.look_up("o", "new").await, Err(OpenError::NotFound { .. })));
    bucket.close();
    for node in &net.nodes {
        assert_eq!(list(&node.swarm).await, ["a", "dir", "z"]);
        for key in ["a", "z"] {
            assert_eq!(version_of(&node.swarm, key).await, "\"v1\"", "though nobody asked for z but in a listing");
        }
        assert!(matches!(node.swarm.look_up("o", "dir").await, Ok(Found::Directory)));
        assert!(
            matches!(node.swarm.look_up("o", "new").await, Err(OpenError::NotFound { .. })),
            "programs look for what is not there"
        );
        assert!(!node.swarm.origin_answers("o"));
    }
    assert!(matches!(first.look_up("o", "dir/b").await, Err(OpenError::Unavailable { .. })), "nobody ever asked for it");
    first.forget_object("o", "a");
    assert_eq!(version_of(first, "a").await, "\"v1\"", "doubtful is better than nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_answer_is_given_where_the_origin_hangs() {
    let bucket = Bucket::open(&KEYS).await;
    let net = patient(4, &bucket, 0).tune(|config| config.slow_origin = Duration::from_millis(50)).start().await;
    assert_eq!(version_of(&net.nodes[0].swarm, "a").await, "\"v1\"");
    bucket.set(Manner::Hold(Arc::new(Semaphore::new(0))));
    for _ in 0..3 {
        assert_eq!(version_of(&net.nodes[0].swarm, "a").await, "\"v1\"");
    }
    assert!(!net.nodes[0].swarm.origin_answers("o"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_whose_way_to_the_origin_is_broken_keeps_nobody_waiting() {
    let bucket = Bucket::open(&KEYS).await;
    let soon = |config: &mut SwarmConfig| {
        (config.slow_origin, config.owner_patience) = (Duration::from_millis(50), Duration::from_secs(2));
    };
    let net = patient(6, &bucket, LONG).tune(soon).start().await;
    bucket.set(Manner::HoldFirst);
    for listed in join_all(net.nodes.iter().map(|node| list(&node.swarm))).await {
        assert_eq!(listed, ["a", "dir", "z"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_that_recovers_is_believed_again() {
    let bucket = Bucket::open(&KEYS).await;
    let net = start(3, &bucket, 0).await;
    let swarm = &net.nodes[0].swarm;
    assert_eq!(version_of(swarm, "a").await, "\"v1\"");
    bucket.set(Manner::Ill);
    bucket.put("a", 2);
    assert_eq!(version_of(swarm, "a").await, "\"v1\"");
    bucket.set(Manner::Well);
    while version_of(swarm, "a").await != "\"v2\"" {
        sleep(Duration::from_millis(5)).await;
    }
    assert!(swarm.origin_answers("o"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_learnt_outlives_a_restart_of_all_nodes_too() {
    let bucket = Bucket::open(&KEYS).await;
    let mut net = start(3, &bucket, LONG).await;
    for node in &net.nodes {
        assert_eq!(list(&node.swarm).await, ["a", "dir", "z"]);
        assert_eq!(version_of(&node.swarm, "a").await, "\"v1\"");
        assert!(matches!(node.swarm.look_up("o", "new").await, Err(OpenError::NotFound { .. })));
    }
    bucket.close();
    for index in 0..3 {
        net.restart(index).await;
    }
    for node in &net.nodes {
        assert_eq!(list(&node.swarm).await, ["a", "dir", "z"]);
        assert_eq!(version_of(&node.swarm, "z").await, "\"v1\"", "from the listing that was written down");
        assert_eq!(version_of(&node.swarm, "a").await, "\"v1\"");
        assert!(matches!(node.swarm.look_up("o", "new").await, Err(OpenError::NotFound { .. })), "programs look for it again");
        assert!(!node.swarm.origin_answers("o"), "what was written down is not taken for new");
    }
}

/// Though it was written down before all else, and there is room for few.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_again_is_remembered_longest() {
    let bucket = Bucket::open(&KEYS).await;
    let mut net = start(1, &bucket, 0).await;
    let node = &net.nodes[0];
    node.store.records().bound(Table::Metadata, 20_000);
    for n in 0..100 {
        assert_eq!(list(&node.swarm).await, ["a", "dir", "z"]);
        bucket.put(&format!("dir/{n}"), 1);
        version_of(&node.swarm, &format!("dir/{n}")).await;
    }
    bucket.close();
    net.restart(0).await;
    let swarm = &net.nodes[0].swarm;
    assert_eq!(list(swarm).await, ["a", "dir", "z"]);
    assert!(matches!(swarm.look_up("o", "dir/0").await, Err(OpenError::Unavailable { .. })), "there was no room for this");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_that_keeps_one_object_to_itself_is_well() {
    let keys: Vec<String> = (0..20).map(|n| format!("k{n}")).collect();
    let bucket = Bucket::open(&keys.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let net = Setup::new(6, 1).origin_url(&bucket.spec("o", LONG)).start().await;
    let own: Vec<&String> = keys.iter().filter(|key| net.owners(Point::of_key("o", key)) == [0]).take(2).collect();
    let node = &net.nodes[0];
    let open = async |key: &str| node.swarm.open_object("o", key).await.unwrap();
    let (denied, given) = (open(own[0]).await, open(own[1]).await);
    bucket.set(Manner::Deny(usize::MAX));
    assert!(node.drain(&denied).await.is_err());
    bucket.set(Manner::Well);
    net.nodes.iter().for_each(|node| node.peer.forget_asked());
    assert_eq!(node.drain(&given).await.unwrap(), b"v0001");
    // Three may have owned it before the ring was as it is. All others are asked only where an origin fails.
    let asked = net.nodes.iter().filter(|node| !node.peer.asked().objects.is_empty()).count();
    assert!(asked <= 3, "{asked} were asked before an origin that is well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_that_wants_to_be_left_alone_is_by_all_nodes() {
    let bucket = Bucket::open(&KEYS).await;
    let net = start(4, &bucket, LONG).await;
    bucket.set(Manner::Busy(1));
    assert_eq!(version_of(&net.nodes[0].swarm, "a").await, "\"v1\"");
    let owner = net.owners(Point::of_key("o", "a"))[0];
    for (index, node) in net.nodes.iter().enumerate().filter(|(index, _)| *index != owner) {
        node.peer
            .until(|asked| asked.metas.iter().any(|call| matches!(call, MetaCall::Hold { origin, .. } if origin == "o")))
            .await;
        assert_ne!(index, owner);
    }
    assert_eq!(bucket.asked(), ["HEAD a"; 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_see_other_members_still_answer_each_other() {
    let bucket = Bucket::open(&KEYS).await;
    let net = start(4, &bucket, LONG).await;
    let owner = net.owners(Point::of_key("o", ""))[0];
    // All but the owner have not heard of it yet: they choose another owner, who does not know that it is one.
    net.publish_to(|index| index != owner, &net.without(&[owner]));
    for listed in join_all(net.nodes.iter().map(|node| list(&node.swarm))).await {
        assert_eq!(listed, ["a", "dir", "z"]);
    }
    assert_eq!(bucket.asked(), ["LIST "; 2], "once by those who agree");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_ends_what_waits_for_an_origin() {
    let bucket = Bucket::open(&KEYS).await;
    bucket.set(Manner::Hold(Arc::new(Semaphore::new(0))));
    let net = start(1, &bucket, LONG).await;
    let swarm = net.nodes[0].swarm.clone();
    let (opened, ()) = tokio::join!(swarm.open_object("o", "a"), async {
        bucket.until_asked(1).await;
        net.nodes[0].swarm.shutdown().await;
    });
    assert!(matches!(opened, Err(OpenError::Unavailable { .. })), "{opened:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_what_is_here_only_the_version_is_asked_for() {
    let bucket = Bucket::open(&KEYS).await;
    let net = start(4, &bucket, 0).await;
    let (owner, reader) = (&net.nodes[net.owners(Point::of_key("o", "a"))[0]], &net.nodes[no_owner(&net, "a")]);
    let open = async || reader.swarm.open_to_read("o", "a", SIZE).await.unwrap();
    let content = open().await;
    assert_eq!(reader.drain(&content).await.unwrap(), b"v0001");
    eventually("the owner keeps it", || owner.store.get(&content.id()).is_some_and(|entry| entry.has(0))).await;
    assert_eq!(open().await.id(), content.id());
    assert_eq!(bucket.asked(), ["GET a", "HEAD a"]);

    let told = async || reader.swarm.open_version("o", "a", "\"v1\"").await.unwrap();
    assert_eq!(told().now_or_never().expect("nobody is asked for what was just told").id(), content.id());
    bucket.put("a", 2);
    reader.swarm.forget_object("o", "a");
    let content = told().await;
    assert_eq!(version(&content), "\"v2\"", "something speaks against it");
    assert_eq!(reader.drain(&content).await.unwrap(), b"v0002");
    assert_eq!(bucket.asked(), ["GET a", "HEAD a", "HEAD a", "GET a"]);
}

/// However many are asked because the first takes long, or keeps its answer to itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_all_who_are_asked_one_fetches_the_bytes() {
    for silent in [false, true] {
        let bucket = Bucket::open(&KEYS).await;
        let soon = |config: &mut SwarmConfig| {
            config.slow_origin = Duration::from_millis(50);
            config.owner_patience = Duration::from_millis(if silent { 100 } else { 2000 });
        };
        let net = patient(6, &bucket, LONG).tune(soon).start().await;
        let (gate, held) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let reader = &net.nodes[no_owner(&net, "a")];
        let owners = net.owners(Point::of_key("o", "a"));
        if silent {
            owners.iter().for_each(|owner| net.nodes[*owner].peer.set(Fault::HoldAnswer(Arc::clone(&held))));
        } else {
            bucket.set(Manner::Hold(Arc::clone(&gate)));
        }
        let release = async {
            // Three owners and the reader itself.
            bucket.until_asked(if silent { 0 } else { 4 }).await;
            gate.add_permits(100);
        };
        let (content, ()) = tokio::join!(reader.swarm.open_to_read("o", "a", SIZE), release);
        held.add_permits(100);
        // Who is taken for silent on a busy machine may not even have heard the question.
        let fetched = bucket.asked().iter().filter(|asked| *asked == "GET a").count();
        assert!(fetched == 1 || (silent && fetched == 0), "{:?}, silent: {silent}", bucket.asked());
        assert_eq!(reader.drain(&content.unwrap()).await.unwrap(), b"v0001");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_first_try_fails_one_fetches_the_bytes_too() {
    // Fewer questions than the owner's four tries take, and all nine of them (GET, HEAD, ANY, then HEAD and ANY): then all hear that it was refused.
    for failures in [2, 9] {
        let bucket = Bucket::open(&KEYS).await;
        bucket.set(Manner::Fail(failures));
        let net = start(6, &bucket, LONG).await;
        let read = net.nodes.iter().map(async |node| {
            let content = node.swarm.open_to_read("o", "a", SIZE).await.unwrap();
            node.drain(&content).await.unwrap()
        });
        assert!(join_all(read).await.iter().all(|read| read == b"v0001"));
        let fetched = bucket.asked().iter().filter(|asked| *asked == "GET a").count();
        // Once in vain; and once more for who heard of that only when it was a second old.
        assert!((2..=3).contains(&fetched), "{:?}", bucket.asked());
    }
}

/// On one thread, where counters of its own count for all of the test.
#[tokio::test]
async fn a_question_to_the_origin_is_counted_once_however_many_wait() {
    let counters = Counters::default();
    let _counting = metrics::set_default_local_recorder(&counters);
    let bucket = Bucket::open(&KEYS).await;
    let net = start(1, &bucket, LONG).await;
    for _ in 0..2 {
        join_all((0..50).map(|_| list(&net.nodes[0].swarm))).await;
    }
    let count = |from: &'static str| {
        let labels = vec![Label::new("kind", "page"), Label::new("from", from)];
        counters.get(&Key::from_parts("herring_swarm_metadata_total", labels))
    };
    assert_eq!(bucket.asked(), ["LIST "]);
    assert_eq!((count("origin"), count("memory")), (1, 50), "the first fifty wait for one question");
}
