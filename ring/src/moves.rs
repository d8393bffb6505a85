use crate::changed::{Range, ranges};
use crate::{NodeId, Point, Ring};

/// A range of points whose owners change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The last point before the range.
    pub start: Point,
    /// The last point of the range. Where it is not after `start` the range goes on over the end of the ring to its
    /// beginning; where both are the same it is the whole ring.
    pub end: Point,
    /// Who owns it from now on and did not before, in the new ring's order.
    pub gained: Vec<NodeId>,
    /// Who owned it and does no more.
    pub lost: Vec<NodeId>,
    /// All who owned it before, the first one first: where to find what lies there.
    pub previous: Vec<NodeId>,
}

impl Move {
    pub fn contains(&self, point: Point) -> bool {
        if self.start < self.end { self.start < point && point <= self.end } else { self.start < point || point <= self.end }
    }

    /// How much of the ring it is, from 0 to 1.
    pub fn share(&self) -> f64 {
        match self.end.as_u64().wrapping_sub(self.start.as_u64()) {
            0 => 1.0,
            points => points as f64 / 2f64.powi(64),
        }
    }

    fn new(range: (Point, Point), old: &Ring, new: &Ring, replicas: usize) -> Option<Self> {
        let (before, after) = (owner_ids(old, range.1, replicas), owner_ids(new, range.1, replicas));
        let without = |from: &[&NodeId], these: &[&NodeId]| -> Vec<NodeId> {
            from.iter().filter(|id| !these.contains(id)).map(|&id| id.clone()).collect()
        };
        let (gained, lost) = (without(&after, &before), without(&before, &after));
        if gained.is_empty() && lost.is_empty() {
            return None;
        }
        let previous = before.into_iter().cloned().collect();
        Some(Self { start: range.0, end: range.1, gained, lost, previous })
    }

    /// Whether `next` is this move going on.
    fn joins(&self, next: &Move) -> bool {
        self.end == next.start && self.gained == next.gained && self.lost == next.lost && self.previous == next.previous
    }
}

fn owner_ids(ring: &Ring, point: Point, replicas: usize) -> Vec<&NodeId> {
    ring.owners(point, replicas).into_iter().map(|member| &member.id).collect()
}

/// What changes hands between two rings: ranges that do not overlap, sorted by their end.
///
/// A mere change of the order of the same owners is no move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moves {
    moves: Vec<Move>,
    replicas: usize,
}

impl Moves {
    pub(crate) fn between(old: &Ring, new: &Ring, replicas: usize) -> Self {
        Self::of(ranges(old, new, replicas), old, new, replicas)
    }

    /// Those in `ranges`, which are sorted by their end and have no place of either ring inside.
    pub(crate) fn of(ranges: Vec<Range>, old: &Ring, new: &Ring, replicas: usize) -> Self {
        let mut moves: Vec<Move> = Vec::new();
        for next in ranges.into_iter().filter_map(|range| Move::new(range, old, new, replicas)) {
            match moves.last_mut() {
                Some(last) if last.joins(&next) => last.end = next.end,
                _ => moves.push(next),
            }
        }
        Self { moves, replicas }
    }

    pub fn is_empty(&self) -> bool {
        self.moves.is_empty()
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Move> {
        self.moves.iter()
    }

    /// The move that `point` is part of.
    pub fn at(&self, point: Point) -> Option<&Move> {
        let next = self.moves.partition_point(|m| m.end < point);
        // Behind the last end only the first range can lie, when it goes over the end of the ring.
        let candidate = self.moves.get(next).or(self.moves.first());
        candidate.filter(|m| m.contains(point))
    }

    pub fn contains(&self, point: Point) -> bool {
        self.at(point).is_some()
    }

    /// The ranges that `node` owns from now on and did not before.
    pub fn gained_by<'a>(&'a self, node: &'a NodeId) -> impl Iterator<Item = &'a Move> {
        self.iter().filter(move |m| m.gained.contains(node))
    }

    /// The ranges that `node` owned and does no more.
    pub fn lost_by<'a>(&'a self, node: &'a NodeId) -> impl Iterator<Item = &'a Move> {
        self.iter().filter(move |m| m.lost.contains(node))
    }

    /// How much of everything kept (the key space times the replicas) some node gains, and so has to fetch: from 0 to 1.
    pub fn fraction(&self) -> f64 {
        let copies: f64 = self.iter().map(|m| m.share() * m.gained.len() as f64).sum();
        copies / self.replicas.max(1) as f64
    }
}

impl<'a> IntoIterator for &'a Moves {
    type Item = &'a Move;
    type IntoIter = std::slice::Iter<'a, Move>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
