use std::time::{Duration, Instant};

use herring_blob::ByteRange;

use super::object::Object;
use super::{Bench, OriginError, Place};

/// What is asked for first.
const FIRST: u64 = 64 << 10;
/// How long nodes that hang are news: by then they are suspected.
const NEWS: Duration = Duration::from_secs(2);
/// How long all are up before some hang again: longer than nodes remember who was silent, 3 s.
const REST: Duration = Duration::from_secs(5);
/// Directories, so that no object is read twice.
const CALM: u64 = 1;
const HALF: u64 = 3;
/// A read that the same node has done, and another one that this node has not.
const AGAIN: &str = "warm, same node";
const ELSEWHERE: &str = "warm, another node";

/// What of an object is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    First,
    Whole,
}

const PARTS: [Part; 2] = [Part::First, Part::Whole];

impl Part {
    fn range(self, object: Object) -> Option<ByteRange> {
        (self == Self::First).then(|| ByteRange::new(0, FIRST.min(object.size)))
    }

    fn directory(self, base: u64) -> u64 {
        match self {
            Self::First => base,
            Self::Whole => base + 1,
        }
    }
}

/// Times of one way to the bytes, in milliseconds.
#[derive(Debug, Clone)]
pub struct Times {
    pub way: &'static str,
    pub first: Vec<f64>,
    pub whole: Vec<f64>,
}

impl Times {
    fn new(way: &'static str) -> Self {
        Self { way, first: Vec::new(), whole: Vec::new() }
    }

    fn push(&mut self, part: Part, took: Duration) {
        let times = match part {
            Part::First => &mut self.first,
            Part::Whole => &mut self.whole,
        };
        times.push(took.as_secs_f64() * 1e3);
    }
}

/// Every object is read by oneself and once through a random node; then by that node and by another one again.
pub fn calm(bench: &mut Bench<'_>) -> Result<Vec<Times>, OriginError> {
    let mut times = ["origin, oneself", "cold, through a node", AGAIN, ELSEWHERE].map(Times::new);
    for number in 0..bench.arguments.objects as u64 {
        for part in PARTS {
            let object = bench.object(part.directory(CALM), number);
            // Whose turn is first changes.
            for turn in [number % 2, (number + 1) % 2] {
                match turn {
                    0 => times[0].push(part, bench.read_self(object, part)?),
                    _ => bench.read_through(object, part, &mut times[1..])?,
                }
            }
        }
    }
    eprintln!("loadtest: cold and warm reads done");
    Ok(times.into())
}

/// The same cold, while half of the nodes hang: as soon as they do, and when that is known.
pub fn half(bench: &mut Bench<'_>) -> Result<Vec<Times>, OriginError> {
    let mut times = ["origin, oneself", "cold, first 2 s", "cold, after 2 s"].map(Times::new);
    let rounds = bench.arguments.rounds;
    let (stopped, each) = (bench.stopped(), bench.arguments.objects.div_ceil(rounds.max(1)));
    let mut numbers = 0..;
    let mut next = |bench: &Bench<'_>, part: Part| bench.object(part.directory(HALF), numbers.next().unwrap_or_default());
    for round in 0..rounds {
        bench.swarm.ready()?;
        bench.swarm.rest(REST)?;
        let paused = bench.swarm.pause(stopped);
        let (began, mut parts) = (Instant::now(), PARTS.iter().cycle());
        while began.elapsed() < NEWS {
            let part = *parts.next().unwrap_or(&Part::First);
            let object = next(bench, part);
            times[1].push(part, bench.read_alive(object, part)?);
        }
        for part in (0..each).flat_map(|_| PARTS) {
            let object = next(bench, part);
            times[0].push(part, bench.read_self(object, part)?);
            times[2].push(part, bench.read_alive(object, part)?);
        }
        drop(paused);
        eprintln!("loadtest: round {} of {rounds} with half of the nodes stopped done", round + 1);
    }
    bench.swarm.ready()?;
    Ok(times.into())
}

impl Bench<'_> {
    fn object(&self, directory: u64, number: u64) -> Object {
        Object { directory, number, size: self.arguments.size.as_u64() }
    }

    /// Half of the nodes, or one more.
    pub fn stopped(&self) -> usize {
        self.nodes.len().div_ceil(2)
    }

    fn read_self(&mut self, object: Object, part: Part) -> Result<Duration, OriginError> {
        self.read(&self.direct.clone(), object, part)
    }

    /// Through a random node that does not hang.
    fn read_alive(&mut self, object: Object, part: Part) -> Result<Duration, OriginError> {
        let node = self.numbers.below(self.nodes.len() - self.stopped());
        self.read(&self.nodes[node].clone(), object, part)
    }

    /// Cold, again, and through another node.
    fn read_through(&mut self, object: Object, part: Part, times: &mut [Times]) -> Result<(), OriginError> {
        let order = self.numbers.shuffled(self.nodes.len());
        for (times, at) in times.iter_mut().zip([order[0], order[0], order[1]]) {
            times.push(part, self.read(&self.nodes[at].clone(), object, part)?);
        }
        Ok(())
    }

    /// One after the other, so that each is alone with the origin.
    fn read(&mut self, place: &Place, object: Object, part: Part) -> Result<Duration, OriginError> {
        self.settle()?;
        self.runtime.block_on(self.plain.get(place, object, part.range(object)))
    }
}
