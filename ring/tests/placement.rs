//! What every node relies on: that all compute the same owners, for ever, and that little moves.

use std::collections::{BTreeSet, HashMap};

use herring_blob::{BlobId, ChunkDigest, ObjectRef};
use herring_ring::{MAX_WEIGHT, Member, NodeId, Point, Ring, VNODES};
use proptest::prelude::*;

fn id(name: &str) -> NodeId {
    name.parse().unwrap()
}

fn member(name: &str, weight: u32, zone: &str) -> Member {
    Member { id: id(name), weight, zone: zone.into() }
}

fn nodes(count: usize) -> Vec<Member> {
    (0..count).map(|n| member(&format!("node-{n}"), 100, "")).collect()
}

fn without(members: &[Member], gone: usize) -> Ring {
    Ring::new(members.iter().enumerate().filter(|(n, _)| *n != gone).map(|(_, m)| m.clone()))
}

fn names<'a>(owners: &[&'a Member]) -> Vec<&'a str> {
    owners.iter().map(|m| m.id.as_str()).collect()
}

/// The same points on every run, spread like real ones.
fn points(count: u32) -> impl Iterator<Item = Point> {
    (0..count).map(|n| Point::of_streamed_chunk(&ChunkDigest::from_bytes([7; 32]), n))
}

/// How many of these points each member owns first.
fn shares(ring: &Ring, count: u32) -> HashMap<NodeId, u32> {
    let mut shares = HashMap::new();
    for point in points(count) {
        *shares.entry(ring.owners(point, 1)[0].id.clone()).or_default() += 1;
    }
    shares
}

/// Exactly how much of the ring changes its first owner.
fn moved(old: &Ring, new: &Ring) -> f64 {
    old.diff(new, 1).iter().map(|m| m.share()).sum()
}

// ---- placement is a wire format -------------------------------------------------------------------------------------

#[test]
fn points_never_change() {
    let digest = ChunkDigest::of(b"herring");
    assert_eq!(Point::of_blob(&BlobId::of(b"herring")).to_string(), "1194ddf467b94708");
    assert_eq!(Point::of_streamed_chunk(&digest, 0).to_string(), "e8b523ebcd76b2a0");
    assert_eq!(Point::of_streamed_chunk(&digest, 258).to_string(), "890261a11f835c32");
    let object = ObjectRef { origin: "models".into(), key: "llama/1.bin".into(), version: "\"e\"".into(), size: 1 << 30 };
    assert_eq!(Point::of_object_chunk(&object, 3).to_string(), "7b51fdf12150225b");
    assert_eq!(Point::of_object_chunk(&object, 4).to_string(), "ddb69dd67ece5bd4");
    assert_eq!(Point::of_key("models", "llama/1.bin").to_string(), "7b51fdf12150225b");
    assert_eq!(Point::of_listing("models", "llama").to_string(), "82c2302ddc9b278e");
    assert_eq!(Point::of_name("models/llama").to_string(), "98ca546d3e0bf5fe");
}

#[test]
fn owners_never_change() {
    let ring = Ring::new([
        member("a", 100, "x"),
        member("b", 100, "x"),
        member("c", 200, "y"),
        member("d", 50, "z"),
        member("e", 0, "z"),
    ]);
    let owners: Vec<String> = ["", "herring", "mackerel", "sprat", "eel"]
        .iter()
        .map(|text| names(&ring.owners(Point::of_blob(&BlobId::of(text.as_bytes())), 3)).concat())
        .collect();
    assert_eq!(owners, ["cbd", "cad", "cdb", "acd", "cbd"]);
}

#[test]
fn epochs_never_change() {
    assert_eq!(Ring::empty().epoch().to_string(), "fc0f0b3b698c8209");
    assert_eq!(Ring::new([member("a", 100, ""), member("b", 50, "z")]).epoch().to_string(), "d6a8d38dfd6b6054");
}

#[test]
fn the_epoch_tells_members_apart_and_not_their_order() {
    let (a, b) = (member("a", 100, ""), member("b", 100, "z"));
    let epoch = Ring::new([a.clone(), b.clone()]).epoch();
    assert_eq!(epoch, Ring::new([b.clone(), a.clone()]).epoch());
    assert_eq!(serde_json::to_string(&epoch).unwrap(), format!("\"{epoch}\""));
    for other in [
        vec![a.clone()],
        vec![a.clone(), member("b", 101, "z")],
        vec![a.clone(), member("b", 100, "y")],
        vec![a, b, member("c", 0, "")],
    ] {
        assert_ne!(epoch, Ring::new(other).epoch());
    }
}

// ---- balance and movement ---------------------------------------------------------------------------------------------

#[test]
fn the_fullest_of_64_nodes_is_within_a_tenth_of_the_mean() {
    let members = nodes(64);
    let all = Ring::empty().diff(&Ring::new(members.clone()), 1);
    let share = |m: &Member| all.gained_by(&m.id).map(|m| m.share()).sum::<f64>();
    let fullest = members.iter().map(share).fold(0.0, f64::max);
    assert!(fullest * 64.0 < 1.1, "{}", fullest * 64.0);
}

#[test]
fn one_member_of_n_moves_at_most_a_tenth_more_than_its_part() {
    for count in [2, 3, 5, 12] {
        let members = nodes(count);
        let all = Ring::new(members.clone());
        for gone in 0..count {
            let fewer = without(&members, gone);
            let (left, joined) = (moved(&all, &fewer), moved(&fewer, &all));
            assert!((left - joined).abs() < 1e-9);
            assert!(left * count as f64 <= 1.1, "{gone} of {count} moved {}", left * count as f64);
        }
    }
}

#[test]
fn a_join_gives_only_to_the_joiner() {
    let members = nodes(20);
    let (before, after) = (without(&members, 7), Ring::new(members.clone()));
    let moves = before.diff(&after, 3);
    assert!(!moves.is_empty());
    assert!(moves.iter().all(|m| m.gained == [members[7].id.clone()] && m.lost.len() == 1));
    assert!(moves.fraction() * 20.0 < 1.1, "{}", moves.fraction());
}

#[test]
fn weights_are_shares() {
    let ring = Ring::new([member("one", 100, ""), member("two", 200, ""), member("half", 50, ""), member("none", 0, "")]);
    let shares = shares(&ring, 70_000);
    assert_eq!(shares.get(&id("none")), None);
    for (name, expected) in [("one", 20_000), ("two", 40_000), ("half", 10_000)] {
        let share = shares[&id(name)];
        assert!(share.abs_diff(expected) < expected / 10, "{name}: {share}");
    }
}

#[test]
fn a_weight_beyond_the_cap_counts_as_the_cap() {
    let (absurd, largest) = (Ring::new([member("a", u32::MAX, "")]), Ring::new([member("a", MAX_WEIGHT, "")]));
    assert_eq!(absurd.members(), largest.members());
    assert_eq!(absurd.epoch(), largest.epoch());
}

#[test]
fn any_weight_but_zero_owns_something() {
    let ring = Ring::new([member("a", 100, ""), member("b", 1, "")]);
    assert!(ring.owners(Point::from_u64(1), 2).len() == 2);
    const { assert!(VNODES > 100, "a weight of 1 is to be told from 2") };
}

// ---- zones --------------------------------------------------------------------------------------------------------------

#[test]
fn replicas_lie_in_different_zones_and_the_first_met_is_first() {
    let members: Vec<Member> = (0..30).map(|n| member(&format!("node-{n}"), 100, &format!("z{}", n % 3))).collect();
    let (zoned, plain) = (Ring::new(members), Ring::new(nodes(30)));
    for point in points(2_000) {
        let owners = zoned.owners(point, 3);
        assert_eq!(owners.iter().map(|m| &m.zone).collect::<BTreeSet<_>>().len(), 3);
        assert_eq!(owners[0].id, plain.owners(point, 1)[0].id);
    }
}

#[test]
fn too_few_zones_are_filled_up_in_walk_order() {
    let zone = |n: usize| if n == 3 { "far" } else { "" };
    let members: Vec<Member> = (0..6).map(|n| member(&format!("node-{n}"), 100, zone(n))).collect();
    let (zoned, plain) = (Ring::new(members), Ring::new(nodes(6)));
    for point in points(500) {
        let (owners, walk) = (names(&zoned.owners(point, 3)), names(&plain.owners(point, 6)));
        let near: Vec<&str> = walk.iter().copied().filter(|name| *name != "node-3").collect();
        let expected = if walk[0] == "node-3" { ["node-3", near[0], near[1]] } else { [near[0], "node-3", near[1]] };
        assert_eq!(owners, expected);
    }
}

// ---- properties -----------------------------------------------------------------------------------------------------------

fn some_members(most: usize) -> impl Strategy<Value = Vec<Member>> {
    let one =
        (0..12u8, 0..250u32, 0..4u8).prop_map(|(name, weight, zone)| member(&format!("n{name}"), weight, &format!("z{zone}")));
    prop::collection::vec(one, 0..most)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn order_of_arrival_decides_nothing(members in some_members(8), point: u64, seed: u64) {
        let ring = Ring::new(members);
        let mut shuffled = ring.members().to_vec();
        shuffled.sort_by_key(|m| twox_hash::XxHash3_64::oneshot_with_seed(seed, m.id.as_str().as_bytes()));
        let other = Ring::new(shuffled);
        prop_assert_eq!(ring.epoch(), other.epoch());
        prop_assert_eq!(ring.owners(Point::from_u64(point), 3), other.owners(Point::from_u64(point), 3));
    }

    #[test]
    fn owners_are_distinct_and_as_many_as_can_be(members in some_members(8), point: u64, replicas in 0usize..6) {
        let ring = Ring::new(members);
        let owners = ring.owners(Point::from_u64(point), replicas);
        let able = ring.members().iter().filter(|m| m.weight > 0);
        let zones = able.clone().map(|m| &m.zone).collect::<BTreeSet<_>>().len();
        prop_assert_eq!(owners.len(), replicas.min(able.count()));
        prop_assert_eq!(owners.iter().map(|m| &m.id).collect::<BTreeSet<_>>().len(), owners.len());
        prop_assert_eq!(owners.iter().map(|m| &m.zone).collect::<BTreeSet<_>>().len(), owners.len().min(zones));
        prop_assert!(owners.iter().all(|m| m.weight > 0));
    }

    #[test]
    fn more_replicas_keep_the_first_owner(members in some_members(8), point: u64) {
        let ring = Ring::new(members);
        let point = Point::from_u64(point);
        prop_assert_eq!(ring.owners(point, 1).first().copied(), ring.owners(point, 4).first().copied());
    }

    #[test]
    fn a_diff_agrees_with_both_rings(old in some_members(6), new in some_members(6), replicas in 1usize..4, seed: [u8; 32]) {
        let (old, new) = (Ring::new(old), Ring::new(new));
        let moves = old.diff(&new, replicas);
        let edges = moves.iter().flat_map(|m| [m.start, m.end]).take(100).collect::<Vec<_>>();
        let random = (0..200).map(|n| Point::of_streamed_chunk(&ChunkDigest::from_bytes(seed), n));
        for point in random.chain(edges).chain([Point::from_u64(0), Point::from_u64(u64::MAX)]) {
            let ids = |ring: &Ring| ring.owners(point, replicas).iter().map(|m| m.id.clone()).collect::<Vec<_>>();
            let (before, after) = (ids(&old), ids(&new));
            let sorted = |ids: &[NodeId]| ids.iter().cloned().collect::<BTreeSet<_>>();
            match moves.at(point) {
                None => prop_assert_eq!(sorted(&before), sorted(&after)),
                Some(m) => {
                    prop_assert_eq!(&m.previous, &before);
                    prop_assert_eq!(sorted(&m.gained), &sorted(&after) - &sorted(&before));
                    prop_assert_eq!(sorted(&m.lost), &sorted(&before) - &sorted(&after));
                    prop_assert!(m.gained.iter().all(|id| moves.gained_by(id).any(|g| g.contains(point))));
                }
            }
        }
        prop_assert!((0.0..=1.0 + 1e-9).contains(&moves.fraction()));
    }
}

#[test]
fn rings_at_their_ends() {
    let one = Ring::new(nodes(1));
    assert!(Ring::empty().owners(Point::from_u64(1), 3).is_empty());
    assert!(Ring::empty().diff(&Ring::empty(), 3).is_empty());
    assert!(one.diff(&one.clone(), 3).is_empty());
    let all = Ring::empty().diff(&one, 1);
    assert_eq!((all.iter().count(), all.fraction()), (1, 1.0));
    assert!(all.contains(Point::from_u64(0)) && all.contains(Point::from_u64(u64::MAX)));
    assert_eq!(one.diff(&Ring::empty(), 1).lost_by(&id("node-0")).map(|m| m.share()).sum::<f64>(), 1.0);
}
