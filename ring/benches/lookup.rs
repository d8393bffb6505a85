//! What an owner lookup costs, and a rebuild of the ring when membership changes.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use herring_ring::{Member, ORDINARY_WEIGHT, Point, Ring};

const NODES: [usize; 3] = [10, 100, 1_000];

fn members(count: usize, zones: usize) -> Vec<Member> {
    let member = |n: usize| Member {
        id: format!("node-{n}").parse().expect("a valid id"),
        weight: ORDINARY_WEIGHT,
        zone: format!("z{}", n % zones),
    };
    (0..count).map(member).collect()
}

/// Points that follow no order, so that a lookup finds the ring as cold as in life.
fn scattered(n: u64) -> Point {
    Point::from_u64(n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn owners(criterion: &mut Criterion) {
    for (name, zones) in [("three owners", 1), ("three owners in three zones", 3)] {
        let mut group = criterion.benchmark_group(name);
        for nodes in NODES {
            let ring = Ring::new(members(nodes, zones));
            let mut n = 0;
            group.bench_function(BenchmarkId::from_parameter(nodes), |bencher| {
                bencher.iter(|| {
                    n += 1;
                    black_box(ring.owners(scattered(n), 3));
                });
            });
        }
    }
}

fn build(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("build");
    group.sample_size(10);
    for nodes in NODES {
        let members = members(nodes, 1);
        group.bench_function(BenchmarkId::from_parameter(nodes), |bencher| bencher.iter(|| Ring::new(members.clone())));
    }
}

fn diff(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("diff when one joins");
    group.sample_size(10);
    for nodes in [10, 100] {
        let (old, new) = (Ring::new(members(nodes, 1)), Ring::new(members(nodes + 1, 1)));
        group.bench_function(BenchmarkId::from_parameter(nodes), |bencher| bencher.iter(|| old.diff(&new, 3)));
    }
}

criterion_group!(benches, owners, build, diff);
criterion_main!(benches);
