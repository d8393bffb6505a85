//! How many rounds news need to reach all, by a simulation: each node in its turn talks to three others, and both know afterwards what one knew.

const FAN_OUT: usize = 3;

pub fn table() {
    println!("\n| nodes | all know after rounds, p50 | p99 | seconds, p50 | p99 | half know after |");
    println!("| --: | --: | --: | --: | --: | --: |");
    for (nodes, trials) in [(10, 2_000), (100, 1_000), (1_000, 300), (3_000, 100), (10_000, 100), (100_000, 20)] {
        let mut random = fastrand::Rng::with_seed(7);
        let (mut half, mut all): (Vec<f64>, Vec<f64>) = (0..trials).map(|_| rounds(nodes, &mut random)).unzip();
        half.sort_unstable_by(f64::total_cmp);
        all.sort_unstable_by(f64::total_cmp);
        let (p50, p99) = (all[trials / 2], all[trials * 99 / 100]);
        println!("| {nodes} | {p50:.1} | {p99:.1} | {:.2} | {:.2} | {:.1} |", p50 / 5.0, p99 / 5.0, half[trials / 2]);
    }
}

/// Rounds until half of them know, and until all do. Turns come in the same order every round, as the nodes' clocks do.
fn rounds(nodes: usize, random: &mut fastrand::Rng) -> (f64, f64) {
    let mut knows = vec![false; nodes];
    knows[random.usize(..nodes)] = true;
    let (mut known, mut half) = (1, None);
    for turn in 0.. {
        let node = turn % nodes;
        for _ in 0..FAN_OUT {
            let peer = random.usize(..nodes);
            if knows[node] != knows[peer] {
                (knows[node], knows[peer]) = (true, true);
                known += 1;
            }
        }
        let passed = (turn + 1) as f64 / nodes as f64;
        if known * 2 >= nodes {
            half = half.or(Some(passed));
        }
        if known == nodes {
            return (half.unwrap_or(passed), passed);
        }
    }
    unreachable!("it spreads")
}
