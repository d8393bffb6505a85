use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// Ready members in so many zones, seen by `n0`.
fn view(ids: impl IntoIterator<Item = usize>, zones: usize) -> View {
    let node = |index: usize| NodeInfo {
        id: format!("n{index}").parse().unwrap(),
        http: ([127, 0, 0, 1], 1000 + u16::try_from(index).unwrap()).into(),
        zone: format!("z{}", index % zones),
        weight: 100,
        capacity: None,
        state: NodeState::Ready,
        version: String::new(),
    };
    View::fixed("n0".parse().unwrap(), ids.into_iter().map(node).collect())
}

fn ids(candidates: &[Candidate]) -> Vec<NodeId> {
    candidates.iter().map(|one| one.id.clone()).collect()
}

proptest! {
    // Each case builds rings, milliseconds apiece unoptimized.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn each_node_is_asked_once_and_never_this_one(count in 1usize..16, zones in 1usize..5, replicas in 1usize..5, point: u64) {
        let view = view(0..count, zones);
        let candidates = Candidates::of(&view, Point::from_u64(point), replicas);
        prop_assert_eq!(candidates.owners.len(), replicas.min(count));
        let asked = ids(&candidates.by_nearness(&view, &Health::default(), 0));
        prop_assert_eq!(asked.iter().collect::<BTreeSet<_>>().len(), asked.len());
        prop_assert!(!asked.contains(view.me()));
        prop_assert!(asked.len() + 1 >= count.min(replicas + SUCCESSORS));
    }

    #[test]
    fn whoever_owned_it_before_others_joined_is_still_asked(
        count in 1usize..12, joined in 1usize..=SUCCESSORS, zones in 1usize..5, replicas in 1usize..5, point: u64
    ) {
        // Where zones are kept apart an owner may lie deep in the walk: only what asks everybody is sure to ask it.
        let zones = if count + joined <= replicas + SUCCESSORS { zones } else { 1 };
        let point = Point::from_u64(point);
        let before = Candidates::of(&view(0..count, zones), point, replicas);
        let after = Candidates::of(&view(0..count + joined, zones), point, replicas);
        let asked: BTreeSet<_> = ids(&after.owners).into_iter().chain(ids(&after.successors)).collect();
        prop_assert!(ids(&before.owners).iter().all(|owner| asked.contains(owner)));
    }

    #[test]
    fn whoever_owns_it_when_another_left_was_asked_before(count in 2usize..16, gone in 0usize..16, zones in 1usize..5, point: u64) {
        // At most as many as there are owners and successors, so that all are asked, whatever the zones.
        let (point, gone) = (Point::from_u64(point), gone % count);
        let before = Candidates::of(&view(0..count, zones), point, 2);
        let after = Candidates::of(&view((0..count).filter(|index| *index != gone), zones), point, 2);
        let walk: BTreeSet<_> = ids(&before.owners).into_iter().chain(ids(&before.successors)).collect();
        prop_assert!(ids(&after.owners).iter().all(|owner| walk.contains(owner)));
    }
}

#[test]
fn the_near_come_before_the_far_and_the_failed_behind_all() {
    let view = view(0..12, 3);
    let health = Health::default();
    // A point that this node does not own: its three owners are in three zones, one of them this node's.
    let candidates = (0..)
        .map(|step| Candidates::of(&view, Point::from_u64(step << 56), 3))
        .find(|candidates| !ids(&candidates.owners).contains(view.me()));
    let candidates = candidates.unwrap();
    let order = ids(&candidates.by_nearness(&view, &health, 0));
    assert_eq!(view.get(&order[0]).unwrap().zone, "z0");
    assert_eq!(order[..3].iter().collect::<BTreeSet<_>>(), ids(&candidates.owners).iter().collect());

    health.ask(&order[0], Duration::MAX).failed();
    let after = ids(&candidates.by_nearness(&view, &health, 0));
    assert_eq!((&after[..2], after.last()), (&order[1..3], Some(&order[0])));

    let _busy = health.ask(&order[1], Duration::MAX);
    assert_eq!(ids(&candidates.by_nearness(&view, &health, 0))[..2], [order[2].clone(), order[1].clone()]);
}

#[test]
fn members_outside_the_ring_are_asked_last_and_own_nothing() {
    let all = view(0..4, 1);
    let mut members = all.members().to_vec();
    members[3].state = NodeState::Draining;
    let view = View::fixed("n0".parse().unwrap(), members);
    let candidates = Candidates::of(&view, Point::from_u64(7), 3);
    assert_eq!(candidates.owners.len(), 3);
    assert_eq!(ids(&candidates.outside), ["n3".parse().unwrap()]);
    assert_eq!(candidates.by_nearness(&view, &Health::default(), 0).last().unwrap().id.to_string(), "n3");
}
