use std::fmt;

use clap::ValueEnum;
use serde::Serialize;

use crate::random::SplitMix64;

/// Reads of each thread at least: with fewer, threads would be done before the last has begun.
const LEAST_OF_A_THREAD: usize = 32;

/// Where the same files are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    Tmpfs,
    Backing,
    Mount,
}

impl Place {
    pub const ALL: [Self; 3] = [Self::Tmpfs, Self::Backing, Self::Mount];

    /// All three, and each run begins with another: what comes first or last is not always the same.
    pub fn rotated(run: usize) -> [Self; 3] {
        let mut places = Self::ALL;
        places.rotate_left(run % Self::ALL.len());
        places
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Tmpfs => "tmpfs",
            Self::Backing => "backing",
            Self::Mount => "mount",
        }
    }
}

/// One value of each place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Places<T> {
    pub tmpfs: T,
    pub backing: T,
    pub mount: T,
}

impl<T> Places<T> {
    pub fn of(&self, place: Place) -> &T {
        match place {
            Place::Tmpfs => &self.tmpfs,
            Place::Backing => &self.backing,
            Place::Mount => &self.mount,
        }
    }

    pub fn of_mut(&mut self, place: Place) -> &mut T {
        match place {
            Place::Tmpfs => &mut self.tmpfs,
            Place::Backing => &mut self.backing,
            Place::Mount => &mut self.mount,
        }
    }

    pub fn map<U>(&self, change: impl Fn(&T) -> U) -> Places<U> {
        Places { tmpfs: change(&self.tmpfs), backing: change(&self.backing), mount: change(&self.mount) }
    }
}

/// What is in the caches when a pass begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Everything was read before
    Hot,
    /// Nothing: the page cache was dropped, the bytes are on this node's disk
    Warm,
    /// Nothing, and the mount is that of a node that has never seen these files
    Cold,
}

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Self::Hot => "hot",
            Self::Warm => "warm",
            Self::Cold => "cold",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Which file each thread reads, in order.
pub type Deal = Vec<Vec<usize>>;

/// Random files for everyone, at least so many in all: for hot files, which may be read again and again.
pub fn at_random(files: usize, readers: usize, operations: usize, numbers: &mut SplitMix64) -> Deal {
    let share = operations.div_ceil(readers).max(LEAST_OF_A_THREAD);
    (0..readers).map(|_| (0..share).map(|_| numbers.below(files)).collect()).collect()
}

/// Each file once, dealt out in random order: a second reader would find it in the cache.
pub fn each_once(files: usize, readers: usize, numbers: &mut SplitMix64) -> Deal {
    let order = numbers.shuffled(files);
    (0..readers).map(|reader| order.iter().copied().skip(reader).step_by(readers).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_three_runs_each_place_is_first_second_and_third() {
        let runs: Vec<_> = (0..3).map(Place::rotated).collect();
        for turn in 0..3 {
            assert!(Place::ALL.iter().all(|place| runs.iter().any(|run| run[turn] == *place)), "{runs:?}");
        }
        assert_eq!(Place::rotated(3), Place::ALL);
    }

    #[test]
    fn places_keep_their_own_value() {
        let mut places = Places::default();
        Place::ALL.iter().for_each(|place| *places.of_mut(*place) = place.name().len());
        assert_eq!(places, Places { tmpfs: 5, backing: 7, mount: 5 });
        assert_eq!(*places.map(|length| length + 1).of(Place::Backing), 8);
    }

    #[test]
    fn hot_reads_are_shared_but_nobody_is_done_at_once() {
        let deal = |readers| at_random(8, readers, 4096, &mut SplitMix64::new(1));
        assert_eq!((deal(1).len(), deal(1)[0].len(), deal(64)[63].len(), deal(256)[0].len()), (1, 4096, 64, 32));
        assert_ne!(deal(2)[0], deal(2)[1]);
        assert!(deal(4).iter().flatten().all(|file| *file < 8));
    }

    #[test]
    fn each_file_is_dealt_once() {
        let deal = each_once(100, 16, &mut SplitMix64::new(1));
        let mut files = deal.concat();
        files.sort_unstable();
        assert_eq!(files, (0..100).collect::<Vec<_>>());
        assert!(deal.len() == 16 && deal.iter().all(|share| matches!(share.len(), 6 | 7)));
    }
}
