use std::collections::BTreeSet;

use crate::lab::LabError;
use crate::random::SplitMix64;

/// A chunk of one of the blobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Piece {
    pub blob: usize,
    pub chunk: u32,
}

/// What each node has never read, in random order, so that nothing is fetched ahead of what is read next.
pub struct Deal {
    /// By the node's number, less 1.
    cold: Vec<Vec<Piece>>,
}

impl Deal {
    /// `held`: who has each piece already.
    pub fn new(nodes: usize, held: &[(Piece, BTreeSet<usize>)], seed: u64) -> Self {
        let cold = (1..=nodes).map(|node| {
            let cold: Vec<Piece> = held.iter().filter(|(_, holders)| !holders.contains(&node)).map(|(piece, _)| *piece).collect();
            let order = SplitMix64::derived(seed, &[node as u64]).shuffled(cold.len());
            order.into_iter().map(|at| cold[at]).collect()
        });
        Self { cold: cold.collect() }
    }

    /// `count` pieces for a reader at that node, which nobody reads there again.
    pub fn take(&mut self, node: usize, count: usize) -> Result<Vec<Piece>, LabError> {
        let cold = &mut self.cold[node - 1];
        if cold.len() < count {
            return Err(LabError::Broken { host: node, detail: "it has read everything: take fewer --reads".into() });
        }
        Ok(cold.split_off(cold.len() - count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_reads_what_it_does_not_have_and_everything_once() {
        let piece = |chunk| Piece { blob: 0, chunk };
        let held: Vec<_> = (0..30).map(|chunk| (piece(chunk), BTreeSet::from([1 + chunk as usize % 3]))).collect();
        let mut deal = Deal::new(3, &held, 7);
        let mut read = [deal.take(2, 15).unwrap(), deal.take(2, 5).unwrap()].concat();
        assert!(deal.take(2, 1).is_err() && deal.take(3, 20).is_ok());
        assert!(!read.is_sorted(), "neighbours would be fetched ahead");
        read.sort_unstable();
        assert_eq!(read, (0..30).filter(|chunk| chunk % 3 != 1).map(piece).collect::<Vec<_>>());
    }
}
