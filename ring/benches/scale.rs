//! What a ring costs and how even it is, from 10 to 10,000 nodes: the tables of docs/scale.md.
//!
//! `cargo bench -p herring-ring --bench scale [-- NODES…]`; all of it takes two minutes and 1.5 GB.

use std::hint::black_box;
use std::time::{Duration, Instant};

use herring_ring::{Member, Point, Ring};

const NODES: [usize; 5] = [10, 100, 1_000, 3_000, 10_000];
const REPLICAS: usize = 3;
const MILLION: u64 = 1_000_000;
/// Of a node, three times, so that chance adds 1 % to what is seen of its share.
const POINTS_PER_NODE: u64 = 2_000;
const TICK: Duration = Duration::from_millis(4);
/// For trying again.
const ENOUGH: Duration = Duration::from_secs(3);
const LOOKUPS: u64 = 200_000;

fn main() {
    let asked: Vec<usize> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let nodes = if asked.is_empty() { NODES.to_vec() } else { asked };
    for (title, zones, weight) in [
        ("one zone, 1024 virtual nodes each", 1, 100),
        ("three zones, 1024 virtual nodes each", 3, 100),
        ("one zone, 256 virtual nodes each", 1, 25),
    ] {
        println!("\n{title}\n");
        println!(
            "| nodes | build | memory | fullest/mean, 10⁶ points | fullest/mean | join moves × N | leave moves × N | diff of a join | of a leave | lookup p50 / p99 | two views p50 / p99 | two views' memory |"
        );
        println!("| --: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: |");
        for count in &nodes {
            println!("{}", row(*count, zones, weight));
        }
    }
}

fn members(count: usize, zones: usize, weight: u32) -> Vec<Member> {
    let member =
        |n: usize| Member { id: format!("n-{n:012x}").parse().expect("a valid id"), weight, zone: format!("z{}", n % zones) };
    (0..count).map(member).collect()
}

fn row(count: usize, zones: usize, weight: u32) -> String {
    let start = resident();
    let ring = Ring::new(members(count, zones, weight));
    let one = resident() - start;
    let larger = Ring::new(members(count + 1, zones, weight));
    let two = resident() - start;
    let build = best(|| Ring::new(members(count, zones, weight))).1;
    let (joined, join) = best(|| ring.diff(&larger, REPLICAS));
    let (left, leave) = best(|| larger.diff(&ring, REPLICAS));
    let (seen, fullest) = (fullest(&ring, MILLION), fullest(&ring, MILLION.max(POINTS_PER_NODE * count as u64)));
    let (lookup, both) = (lookups(&[&ring]), lookups(&[&ring, &larger]));
    // What is ideal: each of the N + 1 has its part.
    let ideal = (count + 1) as f64;
    let (joined, left) = (joined.fraction() * ideal, left.fraction() * ideal);
    format!(
        "| {count} | {} | {one:.1} MB | {seen:.3} | {fullest:.3} | {joined:.3} | {left:.3} | {} | {} | {lookup} | {both} | {two:.1} MB |",
        short(build),
        short(join),
        short(leave)
    )
}

/// What the fullest node owns of the replicas, against the mean, by so many random points.
fn fullest(ring: &Ring, points: u64) -> f64 {
    let mut owned = vec![0u32; ring.members().len()];
    let first = ring.members().as_ptr();
    for point in random().take(usize::try_from(points).expect("64 bits")) {
        for owner in ring.owners(point, REPLICAS) {
            // Owners are lent from the members, so that their place says which one it is.
            let at = (std::ptr::from_ref(owner).addr() - first.addr()) / size_of::<Member>();
            owned[at] += 1;
        }
    }
    let most = owned.iter().max().copied().unwrap_or_default();
    f64::from(most) * owned.len() as f64 / (points * REPLICAS as u64) as f64
}

/// The median and the 99th percentile of lookups, by turns in these rings.
fn lookups(rings: &[&Ring]) -> String {
    let mut took: Vec<Duration> = (0..LOOKUPS)
        .zip(random())
        .zip(rings.iter().cycle())
        .map(|((_, point), ring)| timed(|| black_box(ring.owners(point, REPLICAS)).len()).1)
        .collect();
    took.sort_unstable();
    format!("{} / {}", short(took[took.len() / 2]), short(took[took.len() * 99 / 100]))
}

/// The same points on every run.
fn random() -> impl Iterator<Item = Point> {
    (0u64..).map(|n| {
        let mixed = (n ^ (n >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Point::from_u64(mixed ^ (mixed >> 31))
    })
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let done = work();
    (done, start.elapsed())
}

/// The least time that it takes, of some tries: others may use the machine too.
fn best<T>(work: impl Fn() -> T) -> (T, Duration) {
    let start = Instant::now();
    let mut best = worked(&work);
    for _ in 1..20 {
        if start.elapsed() > ENOUGH {
            break;
        }
        let again = worked(&work);
        best = if again.1 < best.1 { again } else { best };
    }
    best
}

/// With the time that this thread was on a core; the kernel counts that by ticks, so what is short is simply timed.
fn worked<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let before = on_core();
    let (done, took) = timed(work);
    let worked = on_core().saturating_sub(before);
    (done, if worked > 10 * TICK { worked } else { took })
}

fn on_core() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    Duration::from_nanos(text.split(' ').next().and_then(|ns| ns.parse().ok()).expect("nanoseconds"))
}

/// Memory of this process, in MB.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("every process has one");
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number of kB");
    kib * 1024.0 / 1e6
}

fn short(took: Duration) -> String {
    let micros = took.as_secs_f64() * 1e6;
    match micros {
        m if m < 1e3 => format!("{m:.2} µs"),
        m if m < 1e6 => format!("{:.1} ms", m / 1e3),
        m => format!("{:.2} s", m / 1e6),
    }
}
