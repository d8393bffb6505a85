//! How much of the ring this node takes where nobody said: by its capacity, so that unlike nodes fill alike.
//!
//! A weight is chosen once, and kept beside the node's id. What follows from it is where data lies, so it does not follow the others' weights
//! later on.

use std::io::ErrorKind;
use std::path::Path;

use herring_gossip::{Gossip, NodeInfo, NodeState};
use herring_ring::{MAX_WEIGHT, ORDINARY_WEIGHT};

use crate::config::NodeConfig;
use crate::error::{Failure, OrFail};

/// The file in the data directory that keeps the weight over restarts.
const FILE: &str = "weight";

/// A weight per so many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Measure {
    weight: u32,
    bytes: u64,
}

/// The weight that this node has from its start on: the one that it was told, else the one it had. `None`: it is to [choose](settle) one.
pub fn standing(config: &NodeConfig, returns: bool) -> Result<Option<u32>, Failure> {
    if config.weight.is_some() {
        return Ok(config.weight);
    }
    let bytes = config.capacity.as_u64();
    let mut kept = load(&config.data_dir)?;
    if returns && kept.is_none() {
        // It has data of a time when all weighed the same, and goes on so: a restart moves nothing.
        let ordinary = Measure { weight: ORDINARY_WEIGHT, bytes };
        save(&config.data_dir, ordinary)?;
        kept = Some(ordinary);
    }
    Ok(kept.map(|kept| kept.of(bytes)))
}

/// Chooses this node's weight as soon as it knows who else is there, keeps it and tells it. Takes as long as the view takes to settle:
/// half a second among others, three where seeds do not answer.
pub async fn settle(gossip: &Gossip, config: &NodeConfig) -> Result<(), Failure> {
    let mut views = gossip.view();
    // A gossip that has ended tells no more: then what it told last counts.
    let _ = views.wait_for(|view| view.settled()).await;
    let view = views.borrow().clone();
    let bytes = config.capacity.as_u64();
    let weight = view.get(view.me()).map_or(ORDINARY_WEIGHT, |me| choose(me, bytes, view.members()));
    save(&config.data_dir, Measure { weight, bytes })?;
    tracing::info!(weight, capacity = %config.capacity, "this node's weight is chosen by its capacity");
    gossip.set_weight(weight).await;
    Ok(())
}

/// The weight of a node of so many `bytes`: as much per byte as those have that were there before, together. Their sums are asked
/// rather than one of them, since a small weight is rounded much. Where all start at once, one of them is the measure for all.
fn choose(me: &NodeInfo, bytes: u64, members: &[NodeInfo]) -> u32 {
    let (starting, before): (Vec<&NodeInfo>, Vec<&NodeInfo>) = members.iter().partition(|node| node.state == NodeState::Joining);
    if before.is_empty() {
        // Sorted by id, so that all who start take the same one. I am among them, and weigh 100 as yet.
        return starting.into_iter().find_map(measure).unwrap_or(Measure { weight: me.weight, bytes }).of(bytes);
    }
    // Older nodes do not tell their capacity, and weigh 100.
    before.into_iter().filter_map(measure).reduce(Measure::and).map_or(ORDINARY_WEIGHT, |others| others.of(bytes))
}

/// What a node has per byte. One that is to own nothing says nothing about that.
fn measure(node: &NodeInfo) -> Option<Measure> {
    let bytes = node.capacity.filter(|bytes| *bytes > 0 && node.weight > 0)?;
    Some(Measure { weight: node.weight, bytes })
}

impl Measure {
    fn and(self, other: Self) -> Self {
        Self { weight: self.weight.saturating_add(other.weight), bytes: self.bytes.saturating_add(other.bytes) }
    }

    /// By this measure, rounded; at least 1, since 0 would own nothing.
    fn of(self, bytes: u64) -> u32 {
        let weight = (u128::from(self.weight) * u128::from(bytes) + u128::from(self.bytes) / 2) / u128::from(self.bytes.max(1));
        u32::try_from(weight).unwrap_or(MAX_WEIGHT).clamp(1, MAX_WEIGHT)
    }
}

fn load(data_dir: &Path) -> Result<Option<Measure>, Failure> {
    let path = data_dir.join(FILE);
    let told = || format!("the node's weight in {}", path.display());
    let text = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        read => read.or_fail(told)?,
    };
    let numbers = text.split_once(' ').and_then(|(weight, bytes)| {
        let (weight, bytes) = (weight.parse().ok()?, bytes.trim().parse().ok()?);
        (weight <= MAX_WEIGHT && bytes > 0).then_some(Measure { weight, bytes })
    });
    let refused =
        || Failure::failed(format_args!("{} holds no weight and capacity: remove it, or give --weight", path.display()));
    numbers.map(Some).ok_or_else(refused)
}

/// Written beside and renamed, so that a crash leaves all of it or none.
fn save(data_dir: &Path, Measure { weight, bytes }: Measure) -> Result<(), Failure> {
    let (path, draft) = (data_dir.join(FILE), data_dir.join(format!("{FILE}.new")));
    let written = std::fs::write(&draft, format!("{weight} {bytes}\n")).and_then(|()| std::fs::rename(&draft, &path));
    written.or_fail(|| format!("the node's weight in {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::NodeSettings;
    use proptest::prelude::*;

    const GIB: u64 = 1 << 30;

    fn node(name: usize, gib: u64) -> NodeInfo {
        NodeInfo {
            id: format!("n{name:02}").parse().unwrap(),
            http: ([127, 0, 0, 1], 7070).into(),
            zone: String::new(),
            weight: ORDINARY_WEIGHT,
            capacity: Some(gib * GIB),
            state: NodeState::Joining,
            version: "1".into(),
        }
    }

    fn ready(weight: u32, node: NodeInfo) -> NodeInfo {
        NodeInfo { weight, state: NodeState::Ready, ..node }
    }

    fn choice(me: usize, members: &[NodeInfo]) -> u32 {
        choose(&members[me], members[me].capacity.unwrap(), members)
    }

    #[test]
    fn the_first_is_ordinary_and_the_next_has_its_share() {
        assert_eq!(choice(0, &[node(0, 7)]), 100);
        let first = ready(100, node(3, 100));
        for (gib, expected) in [(100, 100), (200, 200), (25, 25), (1, 1), (0, 1), (1_000_000, 10_000)] {
            assert_eq!(choice(0, &[node(0, gib), first.clone()]), expected, "{gib} GiB");
        }
    }

    #[test]
    fn who_is_there_counts_together_and_who_says_nothing_does_not() {
        let older = NodeInfo { capacity: None, ..ready(100, node(1, 1)) };
        let idle = ready(0, node(2, 500));
        let draining = NodeInfo { state: NodeState::Draining, ..ready(10, node(3, 20)) };
        let late = node(4, 1_000);
        assert_eq!(choice(0, &[node(0, 50), older.clone(), idle.clone(), late.clone()]), 100);
        assert_eq!(choice(0, &[node(0, 50), older, idle, draining, late, ready(50, node(5, 100))]), 25);
    }

    #[test]
    fn one_that_was_told_its_weight_is_the_measure_of_those_that_start_with_it() {
        let told = NodeInfo { weight: 40, ..node(0, 10) };
        assert_eq!(choice(1, &[told, node(1, 30)]), 120);
    }

    proptest! {
        #[test]
        fn all_that_start_at_once_agree(gib in prop::collection::vec(1u64..5_000, 1..20)) {
            let members: Vec<_> = gib.iter().enumerate().map(|(n, gib)| node(n, *gib)).collect();
            for (me, gib) in gib.iter().enumerate() {
                let expected = (100.0 * *gib as f64 / members[0].capacity.unwrap() as f64 * GIB as f64).round().clamp(1.0, 10_000.0);
                prop_assert!((f64::from(choice(me, &members)) - expected).abs() <= 1.0);
            }
        }

        /// Nodes come in any order and in groups of any size; of a group, each may see those that chose before it as ready or not.
        #[test]
        fn unlike_nodes_have_the_same_weight_per_byte(
            nodes in prop::collection::vec((50u64..200, any::<bool>(), any::<bool>()), 1..20).prop_shuffle(), seed in 0usize..20,
        ) {
            let named: Vec<_> = nodes.iter().enumerate().map(|(n, node)| ((n * 7 + seed) % 20, *node)).collect();
            let mut there: Vec<NodeInfo> = Vec::new();
            for group in named.chunk_by(|_, (_, (_, together, _))| *together) {
                let mut seen = there.clone();
                seen.extend(group.iter().map(|(name, (gib, ..))| node(*name, *gib)));
                seen.sort_by(|a, b| a.id.cmp(&b.id));
                for (name, (gib, _, shows)) in group {
                    let me = seen.iter().position(|m| m.id == node(*name, 1).id).unwrap();
                    let chosen = ready(choice(me, &seen), node(*name, *gib));
                    there.push(chosen.clone());
                    if *shows {
                        seen[me] = chosen;
                    }
                }
            }
            let per_byte = |node: &NodeInfo| f64::from(node.weight) / node.capacity.unwrap() as f64;
            let (least, most) = there.iter().map(per_byte).fold((f64::MAX, 0.0), |(least, most), w| (w.min(least), w.max(most)));
            // The smallest weigh 25, of which rounding takes 2 %.
            prop_assert!(most / least < 1.08, "{there:?}");
        }
    }

    fn config(dir: &Path, gib: u64, weight: Option<u32>) -> NodeConfig {
        let (data_dir, capacity) = (Some(dir.to_owned()), Some(bytesize::ByteSize::gib(gib)));
        NodeConfig::new(NodeSettings { data_dir, capacity, weight, ..NodeSettings::default() }).unwrap()
    }

    #[test]
    fn what_was_chosen_stays_and_follows_the_capacity() {
        let dir = tempfile::tempdir().unwrap();
        let at = |gib, weight| standing(&config(dir.path(), gib, weight), false).unwrap();
        assert_eq!(at(100, None), None);
        save(dir.path(), Measure { weight: 30, bytes: 100 * GIB }).unwrap();
        assert_eq!([at(100, None), at(200, None), at(1, None)], [Some(30), Some(60), Some(1)]);
        assert_eq!([at(200, Some(0)), at(200, Some(7))], [Some(0), Some(7)]);
    }

    #[test]
    fn who_comes_back_with_data_and_no_weight_has_the_one_that_all_had() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(standing(&config(dir.path(), 100, None), true).unwrap(), Some(100));
        assert_eq!(standing(&config(dir.path(), 200, None), false).unwrap(), Some(200));
    }

    #[test]
    fn a_file_of_something_else_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "100", "a b", "10001 5", "100 0", "-1 5"] {
            std::fs::write(dir.path().join(FILE), text).unwrap();
            let told = standing(&config(dir.path(), 1, None), true).unwrap_err().to_string();
            assert!(told.contains("remove it, or give --weight"), "{told}");
        }
    }
}
