use std::time::Duration;

use clap::ValueEnum;

/// What happens to the swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// A node joins
    Join,
    /// A node hands over what it owns, where it can, and stops
    Leave,
    /// A node dies by kill -9 and does not come back
    Kill,
    /// Some nodes are cut off from the others for a time: a minority, and fewer than there are replicas
    Partition,
    /// Each node in turn is stopped and started again
    RollingRestart,
    /// A node dies, and comes back with an empty disk
    DiskLoss,
    /// A node dies and comes back three times within seconds
    Flap,
    /// A node is stopped by SIGSTOP, and goes on
    Pause,
}

/// Something that is done to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    Join,
    Drain,
    Stop,
    Kill,
    Wipe,
    Start,
    Pause,
    Resume,
    Cut,
    Heal,
    Wait(Duration),
}

/// How many times a node flaps, and how long it is away and there.
const FLAPS: usize = 3;
const FLAP: Duration = Duration::from_secs(1);

impl Scenario {
    /// What is done, one after the other, and to which node of `nodes`. `hold`: how long a node is paused or cut off.
    pub fn steps(self, nodes: usize, victim: usize, hold: Duration) -> Vec<(Deed, usize)> {
        let at = |deeds: &[Deed]| deeds.iter().map(|deed| (*deed, victim)).collect::<Vec<_>>();
        match self {
            Self::Join => vec![(Deed::Join, nodes)],
            Self::Leave => at(&[Deed::Drain, Deed::Stop]),
            Self::Kill => at(&[Deed::Kill]),
            Self::Partition => at(&[Deed::Cut, Deed::Wait(hold), Deed::Heal]),
            Self::RollingRestart => (0..nodes).flat_map(|node| [(Deed::Stop, node), (Deed::Start, node)]).collect(),
            Self::DiskLoss => at(&[Deed::Kill, Deed::Wipe, Deed::Start]),
            Self::Flap => at(&[Deed::Kill, Deed::Wait(FLAP), Deed::Start, Deed::Wait(FLAP)].repeat(FLAPS)),
            Self::Pause => at(&[Deed::Pause, Deed::Wait(hold), Deed::Resume]),
        }
    }

    /// As it is written on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

impl Deed {
    /// In words, of that node or those.
    pub fn told(self, node: &str) -> String {
        match self {
            Self::Join => format!("{node} added"),
            Self::Drain => format!("{node} asked to drain"),
            Self::Stop => format!("{node} stopped"),
            Self::Kill => format!("{node} killed"),
            Self::Wipe => format!("{node} robbed of its disk"),
            Self::Start => format!("{node} started again"),
            Self::Pause => format!("{node} paused"),
            Self::Resume => format!("{node} let go on"),
            Self::Cut => format!("{node} cut off"),
            Self::Heal => format!("{node} connected again"),
            Self::Wait(time) => format!("{} s go by", time.as_secs_f64()),
        }
    }
}

/// How many nodes are cut off: a minority, so that the others go on, and fewer than there are replicas, so that those have all.
pub fn minority(nodes: usize, replicas: usize) -> usize {
    (nodes.saturating_sub(1) / 2).min(replicas.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_taken_away_comes_back_where_that_is_the_drill() {
        let hold = Duration::from_secs(5);
        for scenario in Scenario::value_variants() {
            let steps = scenario.steps(5, 3, hold);
            let count = |wanted: &[Deed]| steps.iter().filter(|(deed, _)| wanted.contains(deed)).count();
            let gone = count(&[Deed::Kill, Deed::Stop, Deed::Pause, Deed::Cut]);
            let back = count(&[Deed::Start, Deed::Resume, Deed::Heal]);
            let stays = matches!(scenario, Scenario::Join | Scenario::Leave | Scenario::Kill);
            assert!(if stays { back == 0 } else { gone == back && gone > 0 }, "{scenario:?}: {steps:?}");
        }
        assert_eq!(Scenario::Join.steps(5, 3, hold), [(Deed::Join, 5)]);
        assert_eq!(Scenario::RollingRestart.steps(5, 3, hold).len(), 10);
        assert_eq!(Scenario::RollingRestart.name(), "rolling-restart");
    }

    #[test]
    fn the_others_have_a_majority_and_every_chunk() {
        let cut = [(3, 3), (4, 2), (5, 3), (5, 2), (7, 3), (5, 1), (2, 2)].map(|(nodes, replicas)| minority(nodes, replicas));
        assert_eq!(cut, [1, 1, 2, 1, 2, 0, 0]);
    }
}
