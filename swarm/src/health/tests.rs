use herring_gossip::{NodeInfo, NodeState};
use proptest::prelude::*;

use super::breaker::{Breaker, LONGEST};
use super::budget::{BURST, PRICE};
use super::pace::SHORTEST;
use super::peer::{Peer, Told};
use super::*;

const MOST: Duration = Duration::from_millis(500);

fn id(name: &str) -> NodeId {
    name.parse().unwrap()
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// An answer that kept its asker waiting for so long.
fn answer(health: &Health, peer: &NodeId, took: Duration) {
    let mut question = health.ask(peer, Duration::MAX);
    question.began(took);
    question.answered();
}

/// `count` peers that answered 20 times each, within 2 ms.
fn swarm(count: usize) -> (Health, Vec<NodeId>) {
    let (health, peers) = (Health::default(), (0..count).map(|index| id(&format!("n{index}"))).collect::<Vec<_>>());
    for peer in peers.iter().cycle().take(20 * count) {
        answer(&health, peer, ms(2));
    }
    (health, peers)
}

/// As if so much time had passed since it was tripped.
fn pass(health: &Health, peer: &NodeId, time: Duration) {
    health.peers().with(peer, |peer| peer.breaker.pass(time));
}

#[test]
fn the_failed_come_last_and_an_answer_redeems() {
    let (health, good, bad) = (Health::default(), id("good"), id("bad"));
    let asking = health.ask(&good, Duration::MAX);
    health.ask(&bad, Duration::MAX).failed();
    assert!(health.standing(&good) < health.standing(&bad));
    assert!(health.is_open(&bad) && health.failed_lately(&bad));
    health.ask(&bad, Duration::MAX).answered();
    assert!(health.standing(&bad) < health.standing(&good), "the good one is busy");
    drop(asking);
    assert_eq!(health.standing(&good).waiting, 0);
    assert!(!health.failed_lately(&good), "nobody lost patience");
}

#[test]
fn what_was_asked_before_a_failure_redeems_nobody() {
    let (health, peer) = (Health::default(), id("n1"));
    let mut before = health.ask(&peer, Duration::MAX);
    health.ask(&peer, Duration::MAX).failed();
    before.answered();
    assert!(health.is_open(&peer));
}

#[test]
fn where_peers_are_quick_silence_is_noticed_soon() {
    let (health, most) = (Health::default(), Duration::from_secs(1));
    assert_eq!(health.patience(SHORTEST, most), most, "nothing is known yet");
    for _ in 0..20 {
        health.began(ms(1));
    }
    assert_eq!(health.patience(SHORTEST, most), SHORTEST);
    health.began(ms(200));
    assert_eq!(health.patience(SHORTEST, most), ms(800));
    assert_eq!(health.patience(SHORTEST, ms(30)), ms(30));
}

#[test]
fn who_is_not_waited_for_any_longer_failed() {
    let (health, slow) = (Health::default(), id("slow"));
    let mut question = health.ask(&slow, Duration::ZERO);
    question.as_if_asked(SHORTEST);
    question.answered();
    drop(question);
    assert!(!health.failed_lately(&slow));
    let mut question = health.ask(&slow, Duration::ZERO);
    question.as_if_asked(SHORTEST);
    drop(question);
    assert!(health.failed_lately(&slow));
}

#[test]
fn losing_once_by_a_little_is_no_failure() {
    let (health, peers) = swarm(4);
    let mut question = health.ask(&peers[0], ms(5));
    question.as_if_asked(ms(10));
    drop(question);
    assert!(!health.is_open(&peers[0]));
}

#[test]
fn who_says_nothing_to_anybody_is_passed_by_soon_though_each_waits_a_little_only() {
    let (health, peers) = swarm(4);
    let questions: Vec<_> = (0..8).map(|_| health.ask(&peers[0], ms(5))).collect();
    for (index, mut question) in (1..).zip(questions) {
        health.peers().with(&peers[0], |peer| peer.silent_since = Some(Instant::now() - ms(12) * index));
        question.as_if_asked(ms(10));
        drop(question);
    }
    assert!(health.is_open(&peers[0]) && !health.failed_lately(&peers[0]));
    assert!(peers[1..].iter().all(|peer| !health.is_open(peer)));
}

#[test]
fn while_nobody_asks_it_a_peer_is_not_silent() {
    let (mut peer, begun) = (Peer::default(), Instant::now());
    peer.asked(begun);
    peer.left(begun + ms(10));
    let later = begun + Duration::from_secs(3600);
    peer.asked(later);
    peer.asked(later + ms(5));
    assert_eq!(peer.silence(ms(7), later + ms(8)), ms(18), "it answered neither then nor now");
    peer.heard();
    assert_eq!(peer.silence(ms(7), later + ms(8)), ms(7));
}

#[test]
fn another_is_asked_after_what_this_one_takes_at_its_slowest() {
    let (health, peers) = swarm(4);
    assert_eq!(health.hedge_after(&peers[0], MOST), SOONEST, "a millisecond or two is nothing");
    for step in 1..=20 {
        answer(&health, &peers[0], ms(step));
    }
    // Of its 32 last answers the second slowest.
    assert_eq!(health.hedge_after(&peers[0], MOST), ms(19));
    assert_eq!(health.hedge_after(&peers[0], ms(10)), ms(10), "at most what is said");
    assert_eq!(health.hedge_after(&peers[1], MOST), SOONEST, "that is the one's own affair");
}

#[test]
fn who_is_quicker_than_all_is_not_hurried() {
    let (health, peers) = swarm(1);
    for name in ["a", "b", "c"] {
        (0..20).for_each(|_| answer(&health, &id(name), ms(30)));
    }
    assert_eq!(health.hedge_after(&peers[0], MOST), ms(60));
}

#[test]
fn of_whom_little_is_known_the_others_tell() {
    let (health, new) = (Health::default(), id("new"));
    assert_eq!(health.hedge_after(&new, MOST), MOST, "nothing is known of anybody");
    for name in ["a", "b", "c"] {
        (0..20).for_each(|_| answer(&health, &id(name), ms(20)));
    }
    assert_eq!(health.hedge_after(&new, MOST), ms(40));
    (0..19).for_each(|_| answer(&health, &new, ms(1)));
    assert_eq!(health.hedge_after(&new, MOST), ms(40), "19 are too few");
    answer(&health, &new, ms(60));
    assert_eq!(health.hedge_after(&new, MOST), ms(40), "twice the usual 20 ms; one of 20 does not count");
}

#[test]
fn far_slower_than_the_others_is_passed_by_and_waited_for_no_longer_than_they() {
    let (health, peers) = swarm(4);
    answer(&health, &peers[0], ms(200));
    assert!(!health.is_open(&peers[0]), "once is chance");
    answer(&health, &peers[0], ms(200));
    assert!(health.is_open(&peers[0]));
    assert!(!health.failed_lately(&peers[0]), "it did answer");
    assert!(peers[1..].iter().all(|well| health.standing(well) < health.standing(&peers[0])));
    assert_eq!(health.hedge_after(&peers[0], MOST), SOONEST);
}

#[test]
fn a_little_slower_or_slow_with_all_the_others_is_well() {
    let (health, peers) = swarm(4);
    (0..20).for_each(|_| answer(&health, &peers[0], ms(50)));
    assert!(!health.is_open(&peers[0]), "25 times as long, but not by more than 50 ms");
    for peer in peers.iter().cycle().take(80) {
        answer(&health, peer, ms(20));
    }
    (0..20).for_each(|_| answer(&health, &peers[1], ms(190)));
    assert!(!health.is_open(&peers[1]), "by 170 ms, but not ten times as long");
}

#[test]
fn the_far_are_not_taken_for_ill() {
    let (health, peers) = swarm(4);
    let member = |(index, id): (usize, &NodeId)| NodeInfo {
        id: id.clone(),
        http: ([127, 0, 0, 1], 1).into(),
        zone: if index < 3 { "near" } else { "far" }.to_owned(),
        weight: 100,
        capacity: None,
        state: NodeState::Ready,
        version: String::new(),
    };
    let members: Vec<_> = peers.iter().enumerate().map(member).collect();
    health.view_changed(&View::fixed(peers[0].clone(), members.clone()));
    (0..20).for_each(|_| answer(&health, &peers[3], ms(150)));
    assert!(!health.is_open(&peers[3]));
    assert_eq!(health.hedge_after(&peers[3], MOST), ms(300));
    (0..3).for_each(|_| answer(&health, &peers[2], ms(150)));
    assert!(health.is_open(&peers[2]), "among the near it is ill");
    health.view_changed(&View::fixed(peers[0].clone(), members[..2].to_vec()));
    assert!(!health.is_open(&peers[2]), "who left is forgotten");
}

#[test]
fn when_its_time_is_over_one_question_at_a_time_tries_it() {
    let (health, peers) = swarm(3);
    (0..3).for_each(|_| answer(&health, &peers[0], ms(200)));
    pass(&health, &peers[0], SHUNNED);
    assert!(!health.is_open(&peers[0]));
    assert!(health.standing(&peers[0]) < health.standing(&peers[1]), "or nobody would ever try it");
    let mut probe = health.ask(&peers[0], Duration::MAX);
    assert!(health.is_open(&peers[0]), "the others pass it by");
    probe.began(ms(200));
    probe.answered();
    drop(probe);
    assert!(health.is_open(&peers[0]), "as slow as before");
    pass(&health, &peers[0], SHUNNED);
    assert!(health.is_open(&peers[0]), "for longer this time");
    pass(&health, &peers[0], SHUNNED);
    let mut probe = health.ask(&peers[0], Duration::MAX);
    probe.began(ms(2));
    probe.answered();
    drop(probe);
    assert_eq!(health.standing(&peers[0]).turn, Turn::Well);
    answer(&health, &peers[0], ms(200));
    assert!(!health.is_open(&peers[0]), "what it took before does not count any more");
}

#[test]
fn a_trial_that_is_lost_is_no_proof_and_one_that_is_broken_off_changes_nothing() {
    let (health, peers) = swarm(3);
    (0..3).for_each(|_| answer(&health, &peers[0], ms(200)));
    pass(&health, &peers[0], SHUNNED);
    drop(health.ask(&peers[0], Duration::MAX));
    assert_eq!(health.standing(&peers[0]).turn, Turn::Probe);
    let mut probe = health.ask(&peers[0], ms(5));
    probe.as_if_asked(ms(6));
    drop(probe);
    assert_eq!(health.standing(&peers[0]).turn, Turn::PassedBy);
}

#[test]
fn load_is_what_was_asked_and_what_was_told_of_late() {
    let (health, peer, now) = (Health::default(), id("n1"), Instant::now());
    let asked = [health.ask(&peer, MOST), health.ask(&peer, MOST)];
    assert_eq!(health.load(&peer), 2 * QUESTION);
    drop(asked);
    assert_eq!(health.load(&peer), 0);
    health.ask(&peer, MOST).told(u64::MAX);
    assert!(health.load(&peer) > 0);
    let told = Told::new(8 << 20, now);
    assert_eq!([0, 500, 750, 1000, 9000].map(|later| told.left(now + ms(later)) >> 20), [8, 4, 2, 0, 0]);
}

proptest! {
    #[test]
    fn hedges_stay_within_their_budget(steps: Vec<bool>) {
        let (health, peer) = (Health::default(), id("n1"));
        let (mut asked, mut hedged, mut denied) = (0, 0, 0);
        for ask in steps.into_iter().flat_map(|ask| if ask { vec![true; 7] } else { vec![false] }) {
            match ask {
                true => { health.ask(&peer, MOST).given_up(); asked += 1; }
                false if health.may_hedge() => hedged += 1,
                false => denied += 1,
            }
            prop_assert!(hedged <= BURST + asked / PRICE);
            prop_assert!(denied == 0 || hedged >= BURST.min(hedged + denied));
        }
    }

    /// Whatever happens to it, it is passed by for at least 3 s and at most 30 after the last, and a time in which many fail is one.
    #[test]
    fn a_breaker_is_open_for_a_while_and_never_for_good(gaps in proptest::collection::vec(0u64..40_000, 1..40)) {
        let (mut breaker, mut now, mut last) = (Breaker::default(), Instant::now(), None::<u64>);
        for gap in gaps {
            now += ms(gap);
            let open = breaker.is_open(now);
            let once_more = breaker.trip(Why::Failed, now);
            prop_assert_eq!(once_more, !open);
            let closes = (0..=31_000).step_by(500).find(|after| !breaker.is_open(now + ms(*after))).unwrap();
            prop_assert!(ms(closes) >= SHUNNED && ms(closes) <= LONGEST + ms(500));
            prop_assert!(once_more || last.is_none_or(|last| closes <= last), "what was under way makes it no longer");
            last = Some(closes);
        }
    }
}
