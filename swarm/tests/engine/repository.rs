//! A hub's repository: its revision is resolved once for the whole swarm, and for good.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use herring_ring::Point;
use herring_store::Table;
use herring_swarm::{OpenError, Source, Swarm};
use tokio::time::sleep;

use crate::door::nobody;
use crate::net::{Net, Setup};
use crate::site::{Site, response};

/// A hub of one repository with two files, at a commit that can move.
struct Hub {
    site: Site,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    commit: Mutex<char>,
    asked: Mutex<Vec<String>>,
}

impl Hub {
    async fn open(commit: char) -> Self {
        let state = Arc::new(State { commit: Mutex::new(commit), asked: Mutex::default() });
        let shared = Arc::clone(&state);
        let site = Site::open(move |_, target| {
            let answer = shared.answer(&target);
            async move { answer }.boxed()
        });
        Self { site: site.await, state }
    }

    fn move_to(&self, commit: char) {
        *self.state.commit.lock().unwrap() = commit;
    }

    /// How often what was asked for.
    fn asked(&self, what: &str) -> usize {
        self.state.asked.lock().unwrap().iter().filter(|asked| asked.contains(what)).count()
    }

    async fn net(&self, nodes: usize) -> Net {
        let patient = Setup::new(nodes, 3).tune(|config| config.owner_patience = Duration::from_secs(60));
        patient.origin_url(&format!("m=hf://org/m@main?endpoint=http://{}", self.site.addr)).start().await
    }
}

impl State {
    fn answer(&self, target: &str) -> String {
        self.asked.lock().unwrap().push(target.to_owned());
        if target.contains("/revision/main") && *self.commit.lock().unwrap() == '-' {
            return response("404 Not Found", "", "");
        }
        if target.contains("/revision/main") {
            return response("200 OK", "", &format!(r#"{{"sha":"{}"}}"#, hex(*self.commit.lock().unwrap())));
        }
        if let Some((_, file)) = target.split_once("/resolve/") {
            // Only ever asked by HEAD, which tells the length of what GET would give.
            return format!("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nETag: \"{}\"\r\nConnection: close\r\n\r\n", &file[..40]);
        }
        let Some((_, commit)) = target.split_once("/tree/") else { return response("404 Not Found", "", "") };
        let file = |path: &str| format!(r#"{{"type":"file","path":"{path}","size":3,"oid":"{commit}"}}"#);
        response("200 OK", "", &format!("[{},{}]", file("a"), file("b")))
    }
}

/// A commit is 40 hexadecimal digits.
fn hex(digit: char) -> String {
    digit.to_string().repeat(40)
}

async fn version(swarm: &Swarm, key: &str) -> String {
    let content = swarm.open_object("m", key).await.unwrap_or_else(|error| panic!("{key}: {error}"));
    let Source::Object(object) = content.source() else { panic!("{content} is no object") };
    object.version.clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revision_is_pinned_once_for_all_and_for_good() {
    let hub = Hub::open('a').await;
    let mut net = hub.net(4).await;
    let opened = join_all(net.nodes.iter().map(|node| version(&node.swarm, "a"))).await;
    assert_eq!(opened, [hex('a'), hex('a'), hex('a'), hex('a')]);
    let opened = join_all(net.nodes.iter().map(|node| version(&node.swarm, "b"))).await;
    assert_eq!(opened, [hex('a'), hex('a'), hex('a'), hex('a')]);
    assert_eq!((hub.asked("/revision/"), hub.asked("/tree/"), hub.asked("/resolve/")), (1, 1, 1));
    assert!(matches!(net.nodes[0].swarm.open_object("m", "c").await, Err(OpenError::NotFound { .. })));

    hub.move_to('b');
    net.add().await;
    net.publish(&net.members());
    assert_eq!(version(&net.nodes[4].swarm, "a").await, hex('a'), "who comes later is told the same commit");
    hub.site.close();
    for index in 0..5 {
        net.restart(index).await;
    }
    for node in &net.nodes[..4] {
        for key in ["a", "b"] {
            assert_eq!(version(&node.swarm, key).await, hex('a'), "and it outlives restarts");
        }
    }
    assert_eq!(hub.asked("/revision/"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revision_that_does_not_exist_is_named() {
    let hub = Hub::open('a').await;
    let net = Setup::new(1, 1).origin_url(&format!("m=hf://org/m@none?endpoint=http://{}", hub.site.addr)).start().await;
    let swarm = &net.nodes[0].swarm;
    for error in [swarm.open_object("m", "a").await.err(), swarm.list_page("m", "", None).await.err()] {
        let error = error.unwrap();
        assert!(matches!(error, OpenError::NotFound { .. }) && error.to_string().contains("hf://org/m@none"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_met_nobody_yet_waits_for_the_others_commit() {
    let hub = Hub::open('a').await;
    let mut net = hub.net(3).await;
    assert_eq!(version(&net.nodes[0].swarm, "a").await, hex('a'));
    hub.move_to('b');
    net.add().await;
    net.seclude(3);
    let swarm = &net.nodes[3].swarm;
    let mut opening = std::pin::pin!(version(swarm, "a"));
    for _ in 0..100 {
        assert!(opening.as_mut().now_or_never().is_none(), "it would take itself for the owner");
        tokio::task::yield_now().await;
    }
    net.publish(&net.members());
    assert_eq!(opening.await, hex('a'));
    assert_eq!(hub.asked("/revision/"), 1);
}

/// Whoever becomes the owner of the question asks what the others know.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_owner_takes_over_the_commit_of_the_others() {
    let hub = Hub::open('a').await;
    let mut net = hub.net(2).await;
    assert_eq!(version(&net.nodes[0].swarm, "a").await, hex('a'));
    hub.move_to('b');
    let first = |net: &Net| net.owners(Point::of_key("m", ""))[0];
    while first(&net) < 2 {
        net.add().await;
        net.publish(&net.members());
    }
    assert_eq!(version(&net.nodes[first(&net)].swarm, "a").await, hex('a'));
    assert_eq!(hub.asked("/revision/"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_cut_off_follows_the_others() {
    let hub = Hub::open('a').await;
    let mut net = hub.net(3).await;
    for node in &net.nodes {
        assert_eq!(version(&node.swarm, "a").await, hex('a'));
    }
    hub.move_to('b');
    net.add().await;
    let mut members = net.members();
    let away = nobody().await;
    members[..3].iter_mut().for_each(|node| node.http = away);
    net.publish_to(|index| index == 3, &members);
    let cut_off = &net.nodes[3].swarm;
    assert_eq!(version(cut_off, "a").await, hex('b'), "nobody tells it");
    net.publish(&net.members());
    while version(cut_off, "a").await != hex('a') {
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(version(cut_off, "b").await, hex('a'));
    hub.site.close();
    net.restart(3).await;
    assert_eq!(version(&net.nodes[3].swarm, "a").await, hex('a'), "and has written it down");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_listing_takes_a_commits_place_in_the_records() {
    let hub = Hub::open('a').await;
    let mut net = hub.net(1).await;
    let node = &net.nodes[0];
    node.store.records().bound(Table::Metadata, 0);
    for key in ["a", "b"] {
        assert_eq!(version(&node.swarm, key).await, hex('a'));
    }
    hub.move_to('b');
    net.restart(0).await;
    assert_eq!(version(&net.nodes[0].swarm, "a").await, hex('a'));
    assert_eq!(hub.asked("/revision/"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revision_that_is_made_later_is_found() {
    let hub = Hub::open('-').await;
    let net = hub.net(3).await;
    for node in &net.nodes {
        assert!(node.swarm.open_object("m", "a").await.is_err());
    }
    hub.move_to('a');
    for node in &net.nodes {
        while node.swarm.open_object("m", "a").await.is_err() {
            sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(version(&node.swarm, "a").await, hex('a'));
    }
}
