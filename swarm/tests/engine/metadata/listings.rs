//! What a listing says of its keys, they are not asked for; and what it does not say is not made up.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use herring_http_api::types::{JobState, Prefetch, PrefetchPath};
use herring_swarm::{Found, OpenError, Swarm};
use tokio::time::sleep;

use super::{LONG, list, start, version, version_of};
use crate::bucket::{Bucket, SIZE};
use crate::jobs::ended;

const SEVEN: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];

async fn list_all(swarm: &Swarm) {
    let mut token = None;
    loop {
        token.clone_from(&swarm.list_page("o", "", token.as_deref()).await.unwrap().next);
        if token.is_none() {
            return;
        }
    }
}

/// How often each kind of question was asked.
fn asked(bucket: &Bucket) -> [usize; 3] {
    let asked = bucket.asked();
    ["LIST", "HEAD", "GET"].map(|kind| asked.iter().filter(|one| one.starts_with(kind)).count())
}

async fn prefetch(swarm: &Swarm) {
    let wanted = Prefetch { origins: vec![PrefetchPath::new("o", "")], ..Prefetch::default() };
    let job = ended(swarm, swarm.prefetch(wanted).await.unwrap()).await;
    assert_eq!((job.state, job.error, job.bytes_done), (JobState::Done, None, 7 * SIZE));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_listed_costs_one_question_each_and_that_for_its_bytes() {
    let bucket = Bucket::open(&SEVEN).await;
    let net = start(4, &bucket, LONG).await;
    let node = &net.nodes[0];
    list_all(&node.swarm).await;
    for key in SEVEN {
        let content = node.swarm.open_object("o", key).now_or_never().expect("nobody is asked").unwrap();
        assert_eq!(node.drain(&content).await.unwrap(), b"v0001");
    }
    assert_eq!(asked(&bucket), [3, 0, 7]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_answers_for_its_keys_however_many_there_are_before_it() {
    let keys: Vec<_> = (0..450).map(|key| format!("{key:03}")).collect();
    let bucket = Bucket::open(&keys.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let net = start(1, &bucket, LONG).await;
    let swarm = &net.nodes[0].swarm;
    list_all(swarm).await;
    for key in &keys {
        let found = swarm.look_up("o", key).now_or_never().expect("nobody is asked").unwrap();
        assert!(matches!(found, Found::Object(_)));
    }
    assert_eq!(asked(&bucket), [150, 0, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prefetch_asks_for_a_listing_and_for_bytes() {
    let bucket = Bucket::open(&SEVEN).await;
    let net = start(4, &bucket, LONG).await;
    prefetch(&net.nodes[0].swarm).await;
    assert_eq!(asked(&bucket), [3, 0, 7]);
}

/// As a mount goes about it: first whether there is such a directory, then what is in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_all_nodes_list_costs_one_listing() {
    let bucket = Bucket::open(&["dir/a", "dir/b", "z"]).await;
    let net = start(4, &bucket, LONG).await;
    let listing = net.nodes.iter().map(async |node| {
        assert!(matches!(node.swarm.look_up("o", "dir").await, Ok(Found::Directory)));
        node.swarm.list_page("o", "dir", None).await.unwrap().entries.len()
    });
    assert_eq!(join_all(listing).await, [2; 4]);
    assert_eq!(bucket.asked(), ["HEAD dir", "LIST dir/"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_listings_name_no_versions_they_come_with_the_bytes() {
    let bucket = Bucket::open(&SEVEN).await;
    bucket.list_no_versions();
    let net = start(4, &bucket, LONG).await;
    prefetch(&net.nodes[0].swarm).await;
    assert_eq!(asked(&bucket), [3, 0, 7]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prefetch_brings_what_is_there_now_though_it_was_listed_before() {
    let bucket = Bucket::open(&SEVEN).await;
    let net = start(4, &bucket, LONG).await;
    let node = &net.nodes[0];
    list_all(&node.swarm).await;
    SEVEN.iter().for_each(|key| bucket.put(key, 2));
    prefetch(&node.swarm).await;
    for key in SEVEN {
        let content = node.swarm.open_object("o", key).await.unwrap();
        assert_eq!((version(&content), node.drain(&content).await.unwrap().as_slice()), ("\"v2\"", &b"v0002"[..]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_listing_and_an_answer_the_younger_is_believed() {
    let bucket = Bucket::open(&SEVEN).await;
    let net = start(4, &bucket, LONG).await;
    let swarm = &net.nodes[0].swarm;
    assert_eq!(version_of(swarm, "a").await, "\"v1\"");
    bucket.put("a", 2);
    list_all(swarm).await;
    assert_eq!(version_of(swarm, "a").await, "\"v2\"");
    bucket.put("a", 3);
    swarm.forget_object("o", "a");
    assert_eq!(version_of(swarm, "a").await, "\"v3\"", "the listing is from before the doubt");
    assert_eq!(version_of(swarm, "g").await, "\"v1\"");
    assert_eq!(asked(&bucket), [3, 2, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_in_no_listing_is_asked_for() {
    let bucket = Bucket::open(&["a", "dir/b"]).await;
    let net = start(3, &bucket, LONG).await;
    let swarm = &net.nodes[0].swarm;
    assert_eq!(list(swarm).await, ["a", "dir"]);
    assert!(matches!(swarm.look_up("o", "dir").await, Ok(Found::Directory)));
    assert!(matches!(swarm.look_up("o", "new").await, Err(OpenError::NotFound { .. })));
    bucket.put("new", 1);
    while swarm.open_object("o", "new").await.is_err() {
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(bucket.asked().iter().filter(|one| *one == "LIST ").count(), 1, "{:?}", bucket.asked());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_that_were_listed_are_renewed_by_their_listing() {
    let bucket = Bucket::open(&["a", "b", "c"]).await;
    let net = start(3, &bucket, 16).await;
    let swarm = &net.nodes[0].swarm;
    list(swarm).await;
    while asked(&bucket)[0] < 2 {
        for key in ["a", "b", "c"] {
            assert_eq!(version_of(swarm, key).await, "\"v1\"");
        }
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(asked(&bucket)[1], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_for_key_by_key_is_listed_again() {
    let bucket = Bucket::open(&["a", "b", "c"]).await;
    let net = start(3, &bucket, LONG).await;
    let swarm = &net.nodes[0].swarm;
    assert_eq!(list(swarm).await, ["a", "b", "c"]);
    for missing in 0..7 {
        assert!(swarm.look_up("o", &format!("a{missing}")).await.is_err());
    }
    ["b", "c"].iter().for_each(|key| bucket.put(key, 2));
    ["b", "c"].iter().for_each(|key| swarm.forget_object("o", key));
    for key in ["b", "c"] {
        assert_eq!(version_of(swarm, key).await, "\"v2\"");
    }
    let asked = bucket.asked();
    assert_eq!(asked.iter().filter(|one| *one == "LIST ").count(), 2, "{asked:?}");
    assert!(!asked.iter().any(|one| one == "HEAD b" || one == "HEAD c"), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_node_listed_and_read_costs_the_origin_no_byte_more() {
    let bucket = Bucket::open(&SEVEN).await;
    let net = start(5, &bucket, LONG).await;
    list_all(&net.nodes[0].swarm).await;
    for node in &net.nodes {
        for key in SEVEN {
            let content = node.swarm.open_to_read("o", key, u64::MAX).await.unwrap();
            assert_eq!(node.drain(&content).await.unwrap(), b"v0001");
        }
    }
    assert_eq!(bucket.asked().iter().filter(|asked| asked.starts_with("GET")).count(), SEVEN.len(), "{:?}", bucket.asked());
}
