//! Which ranges to compare when a ring gives way to another. Most of them are where they were.

use crate::ring::places;
use crate::{Member, Point, Ring};

/// The last point before a range, and the last one of it.
pub(crate) type Range = (Point, Point);

/// How many places are looked at first before one that changed: three owners are found within eight, nearly always.
const FEW: u64 = 8;

/// All ranges whose owners may differ, sorted by their end. Neither ring has a place inside of any.
///
/// One of 1,000 nodes that leaves changes 1,024 places of a million, and the owners of some three ranges before each. Looking at
/// eight before each is a hundredth of the work of looking at all.
pub(crate) fn ranges(old: &Ring, new: &Ring, replicas: usize) -> Vec<Range> {
    nearby(old, new, replicas).unwrap_or_else(|| all(old, new))
}

fn all(old: &Ring, new: &Ring) -> Vec<Range> {
    let zero = Point::from_u64(0);
    let ends = sorted(old.boundaries(zero).chain(new.boundaries(zero)).collect());
    let starts = ends.last().into_iter().chain(&ends);
    starts.copied().zip(ends.iter().copied()).collect()
}

/// Those from which a walk in either ring comes to a place that changed. `None` where that would be no less work than all of them.
fn nearby(old: &Ring, new: &Ring, replicas: usize) -> Option<Vec<Range>> {
    // Then walks end elsewhere, wherever they begin.
    if old.wanted(replicas) != new.wanted(replicas) {
        return None;
    }
    let most = (old.places() + new.places()) / 4;
    let mut ranges = Vec::new();
    for place in changed(old, new) {
        let ends = before(place, old, new, replicas, most.checked_sub(ranges.len())?)?;
        ranges.extend(ends.windows(2).map(|pair| (pair[0], pair[1])));
    }
    ranges.sort_unstable_by_key(|range| range.1);
    ranges.dedup();
    Some(ranges)
}

/// The places of members that are not the same in both.
fn changed<'a>(old: &'a Ring, new: &'a Ring) -> impl Iterator<Item = Point> + 'a {
    differing(old, new).chain(differing(new, old)).flat_map(places)
}

fn differing<'a>(these: &'a Ring, others: &'a Ring) -> impl Iterator<Item = &'a Member> {
    let same = |member: &Member| {
        let at = others.members().binary_search_by(|other| other.id.cmp(&member.id));
        at.is_ok_and(|at| others.members()[at] == *member)
    };
    these.members().iter().filter(move |member| !same(member))
}

/// Boundaries up to `place`, in the order of the ring, from one whose owners do not depend on it: none before that do.
fn before(place: Point, old: &Ring, new: &Ring, replicas: usize, most: usize) -> Option<Vec<Point>> {
    let gap = u64::MAX / u64::try_from(old.places() + new.places()).ok()?.max(1);
    let mut back = gap.saturating_mul(FEW);
    loop {
        let ends = boundaries(place, back, old, new, most)?;
        let first = *ends.first()?;
        if !depends(first, place, old, replicas) && !depends(first, place, new, replicas) {
            return Some(ends);
        }
        back = back.checked_mul(2)?;
    }
}

/// The boundaries of both rings from `back` before `place` on, with it. `None` where there are more than `most`.
fn boundaries(place: Point, back: u64, old: &Ring, new: &Ring, most: usize) -> Option<Vec<Point>> {
    let from = Point::from_u64(place.as_u64().wrapping_sub(back));
    let of = |ring: &Ring| -> Vec<Point> {
        ring.boundaries(from).take_while(|point| distance(from, *point) <= back).take(most + 1).collect()
    };
    let mut ends = [of(old), of(new)].concat();
    ends.sort_unstable_by_key(|point| distance(from, *point));
    ends.dedup();
    (ends.len() <= most).then_some(ends)
}

/// Whether a walk from `point` comes to `place`.
fn depends(point: Point, place: Point, ring: &Ring, replicas: usize) -> bool {
    let (_, behind) = ring.look(point, replicas);
    behind.is_none_or(|behind| distance(point, behind) > distance(point, place))
}

/// From one point clockwise to another.
fn distance(from: Point, to: Point) -> u64 {
    to.as_u64().wrapping_sub(from.as_u64())
}

fn sorted(mut points: Vec<Point>) -> Vec<Point> {
    points.sort_unstable();
    points.dedup();
    points
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Moves;
    use proptest::prelude::*;

    fn member(name: usize, weight: u32, zones: usize) -> Member {
        Member { id: format!("n{name}").parse().unwrap(), weight, zone: format!("z{}", name % zones) }
    }

    /// What a diff of all ranges says.
    fn full(old: &Ring, new: &Ring, replicas: usize) -> Moves {
        Moves::of(all(old, new), old, new, replicas)
    }

    #[test]
    fn few_ranges_are_looked_at_when_one_leaves() {
        let members = |count| (0..count).map(|n| member(n, 100, 1));
        let (old, new) = (Ring::new(members(40)), Ring::new(members(39)));
        let looked_at = nearby(&old, &new, 3).expect("one of forty is little").len();
        assert!(looked_at < old.places() / 3, "{looked_at} of {}", old.places());
        assert_eq!(old.diff(&new, 3), full(&old, &new, 3));
    }

    #[test]
    fn all_is_looked_at_where_all_changes() {
        let members = |zones| (0..9).map(move |n| member(n, 10, zones));
        assert_eq!(nearby(&Ring::empty(), &Ring::new(members(1)), 3), None);
        assert_eq!(nearby(&Ring::new(members(1)), &Ring::new(members(3)), 3), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_near_is_all_that_differs(
            zones in 1usize..4, weights in prop::collection::vec(1u32..9, 60..90), changed in 0usize..60, goes: bool, replicas in 1usize..4,
        ) {
            let members: Vec<Member> = weights.iter().enumerate().map(|(n, weight)| member(n, *weight, zones)).collect();
            let mut after = members.clone();
            if goes {
                after.remove(changed);
            } else {
                after[changed].weight += 1;
            }
            let (old, new) = (Ring::new(members), Ring::new(after));
            prop_assert!(zones > 1 || nearby(&old, &new, replicas).is_some());
            prop_assert_eq!(old.diff(&new, replicas), full(&old, &new, replicas));
            prop_assert_eq!(new.diff(&old, replicas), full(&new, &old, replicas));
        }
    }
}
