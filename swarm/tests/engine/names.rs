//! Names among nodes that die, come back, join and disagree.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use herring_blob::BlobId;
use herring_http_api::peer::{Ballot, NameRecord, NameState, NamedRecord, NamesCall};
use herring_ring::Point;
use herring_swarm::{Condition, NameError};

use crate::door::nobody;
use crate::net::{Net, Setup, eventually};
use crate::peer::Fault;

fn id(text: impl ToString) -> BlobId {
    BlobId::of(text.to_string().as_bytes())
}

impl Net {
    /// What this node says the name is: version and target.
    async fn name_at(&self, node: usize, name: &str) -> Result<(u64, BlobId), NameError> {
        self.nodes[node].swarm.name(name).await.map(|info| (info.version, info.target))
    }

    async fn assert_name(&self, nodes: impl IntoIterator<Item = usize>, name: &str, version: u64, target: BlobId) {
        for node in nodes {
            assert_eq!(self.name_at(node, name).await, Ok((version, target)), "{name} as node {node} sees it");
        }
    }

    async fn assert_no_name(&self, nodes: impl IntoIterator<Item = usize>, name: &str) {
        for node in nodes {
            let found = self.name_at(node, name).await;
            assert!(matches!(found, Err(NameError::NotFound { .. })), "{name} as node {node} sees it: {found:?}");
        }
    }

    async fn put_name(&self, node: usize, name: &str, target: BlobId) -> u64 {
        self.nodes[node].swarm.put_name(name, target, Condition::Always).await.unwrap().info.version
    }

    fn name_owners(&self, name: &str) -> Vec<usize> {
        let view = self.nodes[0].swarm.view();
        view.owners(Point::of_name(name), 5).into_iter().map(|node| self.index(&node.id)).collect()
    }

    /// Waits until those nodes keep the name at just this version on their disks.
    async fn until_kept(&self, nodes: &[usize], name: &str, version: u64) {
        for node in nodes {
            let store = &self.nodes[*node].store;
            let kept = || {
                let record = store.records().get(herring_store::Table::Names, name).unwrap();
                record.is_some_and(|bytes| String::from_utf8(bytes).unwrap().contains(&format!("\"version\":{version},")))
            };
            eventually("the name is kept", kept).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_one_thing_everywhere() {
    let net = Net::start(4, 3).await;
    let put = net.nodes[0].swarm.put_name("models/a", id(1), Condition::Absent).await.unwrap();
    assert!(put.created && put.info.version == 1 && put.info.target == id(1));
    net.assert_name(0..4, "models/a", 1, id(1)).await;
    let put = net.nodes[1].swarm.put_name("models/a", id(2), Condition::Version(1)).await.unwrap();
    assert!(!put.created && put.info.version == 2);
    for (node, wrong) in [(2, Condition::Version(1)), (3, Condition::Absent)] {
        let refused = net.nodes[node].swarm.put_name("models/a", id(3), wrong).await;
        assert!(matches!(refused, Err(NameError::Condition { .. })), "{refused:?}");
    }
    net.assert_name(0..4, "models/a", 2, id(2)).await;
    assert_eq!(net.nodes[0].swarm.name_now("models/a").await.unwrap().version, 2);
    net.assert_no_name(0..4, "models").await;
    for wrong in ["", "/a", "a//b", "a/../b"] {
        assert!(matches!(net.nodes[0].swarm.name(wrong).await, Err(NameError::Invalid { .. })));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_name_stays_so_and_its_versions_go_on() {
    let mut net = Net::start(4, 3).await;
    let name = "gone";
    net.put_name(0, name, id(1)).await;
    let owners = net.name_owners(name);
    net.until_kept(&owners, name, 1).await;
    net.nodes[owners[0]].peer.set(Fault::Refuse);
    let (other, swarm) = (owners[1], net.nodes[owners[1]].swarm.clone());
    swarm.delete_name(name, Condition::Version(1)).await.unwrap();
    net.nodes[owners[0]].peer.set(Fault::None);
    net.assert_no_name(0..4, name).await;
    assert!(matches!(swarm.delete_name(name, Condition::Always).await, Err(NameError::NotFound { .. })));
    assert!(matches!(swarm.put_name(name, id(2), Condition::Version(2)).await, Err(NameError::Condition { .. })));
    assert!(net.nodes[other].swarm.names("", None, 10).await.unwrap().names.is_empty());
    // One that heard of the deletion dies; the one that did not is as good as any now.
    net.nodes[owners[1]].crash().await;
    let members = net.without(&[owners[1]]);
    net.publish(&members);
    let alive: Vec<usize> = (0..4).filter(|node| *node != owners[1]).collect();
    net.assert_no_name(alive.clone(), name).await;
    let put = net.nodes[owners[0]].swarm.put_name(name, id(3), Condition::Absent).await.unwrap();
    assert!(put.created && put.info.version == 3, "{put:?}");
    net.assert_name(alive, name, 3, id(3)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_an_owner_dead_names_are_read_and_changed() {
    // However few replicas chunks have.
    let mut net = Net::start(5, 2).await;
    let names: Vec<String> = (0..8).map(|n| format!("n/{n}")).collect();
    for name in &names {
        net.put_name(0, name, id(name)).await;
    }
    let dead = net.name_owners(&names[0])[0];
    net.nodes[dead].crash().await;
    let alive: Vec<usize> = (0..5).filter(|node| *node != dead).collect();
    // Before anyone took it for dead, and after.
    for version in [2, 3] {
        for name in &names {
            net.assert_name(alive.clone(), name, version - 1, id(name)).await;
            assert_eq!(net.put_name(alive[1], name, id(name)).await, version);
        }
        net.publish(&net.without(&[dead]));
    }
    for (at, name) in names.iter().enumerate() {
        net.assert_name([alive[at % 4]], name, 3, id(name)).await;
    }
    let list = net.nodes[alive[0]].swarm.names("n/", None, 100).await.unwrap();
    assert_eq!(list.names.iter().map(|info| info.name.clone()).collect::<Vec<_>>(), names);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_writers_at_once_one_wins_each_version() {
    let net = Arc::new(Net::start(4, 3).await);
    for version in 1..4u64 {
        let condition = if version == 1 { Condition::Absent } else { Condition::Version(version - 1) };
        let writers = (0..8).map(|writer: usize| {
            let net = Arc::clone(&net);
            tokio::spawn(async move {
                net.nodes[writer % 4].swarm.put_name("race", id((version, writer).0 * 100 + writer as u64), condition).await
            })
        });
        let done: Vec<_> = join_all(writers).await.into_iter().map(Result::unwrap).collect();
        let won: Vec<_> = done.iter().filter_map(|one| one.as_ref().ok()).collect();
        assert_eq!(won.len(), 1, "{done:?}");
        let lost = |one: &Result<_, NameError>| matches!(one, Ok(_) | Err(NameError::Condition { .. }));
        assert!(done.iter().all(lost), "{done:?}");
        net.assert_name(0..4, "race", version, won[0].info.target).await;
    }
    // Those who do not care come in some order, each once.
    let writers = (0..12usize).map(|writer| {
        let net = Arc::clone(&net);
        tokio::spawn(async move { net.put_name(writer % 4, "race", id(writer)).await })
    });
    let mut versions: Vec<u64> = join_all(writers).await.into_iter().map(Result::unwrap).collect();
    versions.sort_unstable();
    assert_eq!(versions, (4..16).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_away_does_not_bring_an_old_version_back() {
    let net = Net::start(3, 3).await;
    net.put_name(0, "name", id("old")).await;
    net.until_kept(&[0, 1, 2], "name", 1).await;
    // The second node is away, and what it should have heard it did not.
    let door = nobody().await;
    net.detour(1, door);
    net.put_name(0, "name", id("new")).await;
    net.until_kept(&[0, 2], "name", 2).await;
    // It is back, and it is the third that is away: the majority of those here is one of each kind.
    net.detour(2, nobody().await);
    net.assert_name([0, 1], "name", 2, id("new")).await;
    net.until_kept(&[1], "name", 2).await;
    assert_eq!(net.put_name(1, "name", id("newer")).await, 3);
    net.publish(&net.members());
    net.assert_name(0..3, "name", 3, id("newer")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_move_with_their_owners_twice_and_survive_losses_one_after_the_other() {
    // Who is missing is replaced at once, where it takes a minute.
    let mut net = Setup::new(3, 3).tune(|config| config.name_owners_stay = Duration::ZERO).start().await;
    let names: Vec<String> = (0..40).map(|n| format!("m/{n}")).collect();
    for name in &names {
        net.put_name(0, name, id(name)).await;
    }
    // So many that those who stay are most.
    for _ in 0..6 {
        net.add().await;
    }
    net.publish(&net.members());
    // Nobody waits for the move to be over.
    for name in &names {
        net.assert_name([5], name, 1, id(name)).await;
        let owners = net.name_owners(name);
        net.until_kept(&owners, name, 1).await;
    }
    assert!(names.iter().any(|name| net.name_owners(name).iter().all(|owner| *owner > 2)), "otherwise this proves little");
    let mut gone = Vec::new();
    for lost in [0, 1, 2] {
        net.nodes[lost].crash().await;
        gone.push(lost);
        net.publish(&net.without(&gone));
        for name in &names {
            let owners = net.name_owners(name);
            net.until_kept(&owners, name, 1).await;
            net.assert_name(3..9, name, 1, id(name)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_smaller_part_of_a_swarm_vouches_for_no_name_and_changes_none() {
    let net = Net::start(5, 3).await;
    let name = (0..).map(|n| format!("p/{n}")).find(|name| net.name_owners(name).contains(&4)).unwrap();
    net.put_name(0, &name, id(1)).await;
    net.until_kept(&net.name_owners(&name), &name, 1).await;
    net.publish_to(|node| node > 2, &net.without(&[0, 1, 2]));
    let small = &net.nodes[4].swarm;
    let refused = small.put_name(&name, id(2), Condition::Always).await;
    assert!(matches!(refused, Err(NameError::Minority(_))), "{refused:?}");
    assert!(matches!(small.delete_name(&name, Condition::Always).await, Err(NameError::Minority(_))));
    for read in [&name, "p/none"] {
        assert!(matches!(small.name(read).await, Err(NameError::Minority(_))), "others may have changed it");
    }
    assert!(matches!(small.names("p/", None, 10).await, Err(NameError::Minority(_))), "others may have more");
    // Who would rather have something old than nothing, on a node that never heard of it too.
    for node in [3, 4] {
        let swarm = &net.nodes[node].swarm;
        assert_eq!(swarm.name_now(&name).await.unwrap().version, 1);
        assert!(matches!(swarm.name_now("p/none").await, Err(NameError::Minority(_))));
        assert_eq!(swarm.names_now("p/", None, 10).await.unwrap().names.len(), 1);
    }
    net.publish_to(|node| node < 3, &net.without(&[3, 4]));
    assert_eq!(net.put_name(0, &name, id(2)).await, 2);
    net.publish(&net.members());
    net.assert_name(0..5, &name, 2, id(2)).await;
}

/// Before anyone is missed: who is cut off sees fewer owners, and takes those whom it sees for all of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_cut_off_a_moment_ago_changes_nothing() {
    for (nodes, cut) in [(3, 1), (4, 2), (5, 1), (5, 2), (7, 2)] {
        let mut net = Net::start(nodes, 3).await;
        net.put_name(0, "name", id("old")).await;
        let (rest, small): (Vec<usize>, Vec<usize>) = (0..nodes).partition(|node| *node < nodes - cut);
        let alone = net.nodes[nodes - 1].swarm.clone();
        let change = async |condition| alone.put_name("name", id("lost"), condition).await;
        // In its view the others go one by one, and the last of them in the middle of a change.
        for gone in 1..=rest.len() {
            net.publish_to(|node| small.contains(&node), &net.without(&rest[..gone]));
            for node in &rest {
                net.nodes[*node].peer.set(Fault::Refuse);
            }
            let refused = change(Condition::Version(1)).await;
            assert!(refused.is_err(), "{nodes} nodes, {cut} cut off, {gone} missed: {refused:?}");
            for node in &rest {
                net.nodes[*node].peer.set(Fault::None);
            }
        }
        for node in &small {
            net.nodes[*node].crash().await;
        }
        net.publish_to(|node| rest.contains(&node), &net.without(&small));
        assert_eq!(net.put_name(0, "name", id("new")).await, 2, "{nodes} nodes, {cut} cut off");
        net.assert_name(rest, "name", 2, id("new")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_no_majority_answers_a_mount_is_told_what_was_known() {
    let mut net = Net::start(3, 3).await;
    net.put_name(0, "known", id(1)).await;
    net.until_kept(&[0, 1, 2], "known", 1).await;
    net.nodes[1].crash().await;
    net.nodes[2].crash().await;
    assert!(matches!(net.nodes[0].swarm.name("known").await, Err(NameError::Unavailable { .. })));
    assert_eq!(net.nodes[0].swarm.name_now("known").await.unwrap().version, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_listed_over_all_members_page_by_page() {
    let net = Net::start(4, 1).await;
    let mut expected = Vec::new();
    for n in 0..25 {
        let name = format!("{}/{n:02}", ["a", "b"][n % 2]);
        net.put_name(n % 4, &name, id(n)).await;
        expected.push(name);
    }
    net.put_name(0, ".profiles/x", id(0)).await;
    net.nodes[0].swarm.delete_name("a/10", Condition::Always).await.unwrap();
    expected.retain(|name| name != "a/10");
    expected.sort();
    for node in &net.nodes {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = node.swarm.names("", after.as_deref(), 7).await.unwrap();
            assert!(page.names.len() <= 7);
            found.extend(page.names.into_iter().map(|info| info.name));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(found, expected);
        assert_eq!(node.swarm.names("b/", None, 100).await.unwrap().names.len(), 12);
        assert_eq!(node.swarm.names(".", None, 100).await.unwrap().names.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mount_asks_once_a_second_however_often_it_looks() {
    let net = Net::start(3, 3).await;
    net.put_name(0, "often", id(1)).await;
    let asked = |node: usize| {
        let names = net.nodes[node].peer.asked().names;
        names.iter().filter(|call| matches!(call, NamesCall::Get { .. })).count()
    };
    let looks = (0..50).map(|_| net.nodes[1].swarm.name_now("often"));
    assert!(join_all(looks).await.iter().all(|found| found.as_ref().unwrap().version == 1));
    let first = asked(0);
    // Once, where all of them begin within a second.
    assert!(first < 25, "asked {first} times");
    // What this node changed it knows.
    assert_eq!(net.put_name(1, "often", id(2)).await, 2);
    assert_eq!(net.nodes[1].swarm.name_now("often").await.unwrap().version, 2);
}

/// A record as it is handed from node to node.
fn lesson(name: impl ToString, version: u64, counter: u64) -> NamedRecord {
    let state = NameState { version, target: Some(id(version)), modified_ms: 0, changes: Vec::new() };
    let record = NameRecord { ballot: Ballot { counter, node: "another".to_owned() }, state };
    NamedRecord { name: name.to_string(), record }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_made_on_nothing_that_only_one_owner_has() {
    // Two, so that nothing is decided without the one that has it.
    let net = Net::start(2, 3).await;
    net.put_name(1, "begun", id(1)).await;
    net.until_kept(&[0, 1], "begun", 1).await;
    let begun = NamesCall::Learn { records: vec![lesson("begun", 2, 9)] };
    net.nodes[0].swarm.answer_names(begun).await.unwrap();
    net.nodes[0].peer.forget_asked();
    assert_eq!(net.put_name(1, "begun", id(3)).await, 3);
    net.until_kept(&[0], "begun", 3).await;
    let accepted: Vec<u64> = net.nodes[0].peer.asked().names.iter().filter_map(accepted_version).collect();
    assert!(accepted.starts_with(&[2]) && accepted.ends_with(&[3]), "{accepted:?}");
}

/// Where who should hear of it promised a ballot that nobody came back for, that could only be settled by a round.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_smaller_part_of_a_swarm_finishes_nothing() {
    let net = Net::start(5, 3).await;
    let promised = Ballot { counter: 50, node: "another".to_owned() };
    let begun = NamesCall::Learn { records: vec![lesson("begun", 2, 9)] };
    for node in &net.nodes[3..] {
        node.swarm.answer_names(begun.clone()).await.unwrap();
    }
    net.nodes[4].swarm.answer_names(NamesCall::Prepare { name: "begun".to_owned(), ballot: promised }).await.unwrap();
    net.nodes[3].swarm.answer_names(NamesCall::Learn { records: vec![lesson("begun", 3, 10)] }).await.unwrap();
    net.nodes[4].peer.forget_asked();
    let lessons = || net.nodes[4].peer.asked().names.iter().filter(|call| matches!(call, NamesCall::Learn { .. })).count();
    // One repair follows the other, so with the third lesson what came of the first is over.
    let again = || {
        net.publish_to(|node| node == 3, &net.without(&[0, 1, 2, 4]));
        net.publish_to(|node| node == 3, &net.without(&[0, 1, 2]));
        lessons() > 2
    };
    eventually("the smaller part hands on what it has", again).await;
    let asked = net.nodes[4].peer.asked().names;
    assert!(asked.iter().all(|call| matches!(call, NamesCall::Learn { .. })), "{asked:?}");
}

fn accepted_version(call: &NamesCall) -> Option<u64> {
    match call {
        NamesCall::Accept { record, .. } => Some(record.state.version),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_swarms_own_names_do_not_hold_up_a_list() {
    let net = Net::start(2, 1).await;
    for name in ["!first", "last"] {
        net.put_name(0, name, id(name)).await;
    }
    let hidden: Vec<_> = (0..1600).map(|n| lesson(format!(".profiles/{n:04}"), 1, 1)).collect();
    for records in hidden.chunks(400) {
        net.nodes[1].swarm.answer_names(NamesCall::Learn { records: records.to_vec() }).await.unwrap();
    }
    net.nodes[1].peer.forget_asked();
    let list = net.nodes[0].swarm.names("", None, 10).await.unwrap();
    assert_eq!(list.names.iter().map(|info| info.name.as_str()).collect::<Vec<_>>(), ["!first", "last"]);
    let lists = net.nodes[1].peer.asked().names.iter().filter(|call| matches!(call, NamesCall::List { .. })).count();
    assert!(lists <= 2, "{lists}");
    assert_eq!(net.nodes[0].swarm.names(".profiles/", None, 1000).await.unwrap().names.len(), 1000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_down_for_long_still_knows_that_there_were_others() {
    let mut net = Net::start(1, 3).await;
    assert_eq!(net.put_name(0, "name", id(1)).await, 1);
    // As its disk was left in 1970: three were here, one had been missed for half an hour.
    let seen = br#"{"n0":5400000,"gone":5400000,"lost":3600000}"#.to_vec();
    let kept = |_: Option<&[u8]>| herring_store::Change::Put(seen, ());
    net.nodes[0].store.records().update(herring_store::Table::Names, "/members".to_owned(), kept).await.unwrap();
    net.restart(0).await;
    let refused = net.nodes[0].swarm.put_name("name", id(2), Condition::Always).await;
    let Err(NameError::Minority(why)) = &refused else { panic!("{refused:?}") };
    assert_eq!((why.alive, why.known, why.missing.as_str()), (1, 3, "gone, lost"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_kept_of_names_that_never_were() {
    let net = Net::start(3, 3).await;
    let swarm = &net.nodes[0].swarm;
    for condition in [Condition::Always, Condition::Exists, Condition::Version(3)] {
        swarm.delete_name("never", condition).await.unwrap_err();
    }
    for condition in [Condition::Exists, Condition::Version(3)] {
        let refused = swarm.put_name("never", id(1), condition).await;
        assert!(matches!(refused, Err(NameError::Condition { .. })), "{refused:?}");
    }
    for node in &net.nodes {
        assert_eq!(node.store.records().get(herring_store::Table::Names, "never").unwrap(), None);
    }
    net.put_name(1, "never", id(1)).await;
    assert!(matches!(swarm.put_name("never", id(2), Condition::Version(2)).await, Err(NameError::Condition { .. })));
    assert_eq!(swarm.put_name("never", id(2), Condition::Version(1)).await.unwrap().info.version, 2);
    swarm.delete_name("never", Condition::Exists).await.unwrap();
    assert!(matches!(swarm.delete_name("never", Condition::Always).await, Err(NameError::NotFound { .. })));
}

/// A change whose client went away between its rounds still ends, and the next one is not held up by it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_goes_away_harms_nobody() {
    let net = Net::start(3, 3).await;
    for version in 1..=10u64 {
        let swarm = net.nodes[0].swarm.clone();
        let leaving = tokio::spawn(async move { swarm.put_name("left", id("left"), Condition::Always).await });
        net.nodes[1].peer.until(|asked| asked.names.iter().any(|call| matches!(call, NamesCall::Prepare { .. }))).await;
        leaving.abort();
        let _ = leaving.await;
        net.nodes[1].peer.forget_asked();
        let put = net.put_name(1, "left", id(version)).await;
        assert!(put >= version, "{put}");
        net.nodes[1].peer.forget_asked();
    }
}
