use std::fs::File;
use std::hint::black_box;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use crate::error::FuseError;
use crate::mapping::Mapping;
use crate::random::SplitMix64;
use crate::threads::{Start, together};

/// What one pass over a file or a directory did.
#[derive(Debug, Clone, Copy)]
pub struct Pass {
    pub bytes: u64,
    pub operations: u64,
    /// From before the open to after the last byte.
    pub seconds: f64,
}

/// Reads of `size` bytes each, at random multiples of it.
#[derive(Debug, Clone, Copy)]
pub struct Scatter {
    pub size: usize,
    pub threads: usize,
    /// Of all threads together.
    pub operations: usize,
    pub seed: u64,
}

/// From the first byte to the last with reads of `piece` bytes.
pub fn sequential(path: &Path, piece: usize) -> Result<Pass, FuseError> {
    // Not zeroed pages of the kernel: those would fault within the pass.
    let mut buffer = vec![1; piece];
    timed(path, || {
        let mut file = File::open(path)?;
        let (mut bytes, mut operations) = (0, 0);
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok((bytes, operations)),
                more => (bytes, operations) = (bytes + more as u64, operations + 1),
            }
        }
    })
}

/// A byte of each page, in order, through a mapping.
pub fn mapped(path: &Path) -> Result<Pass, FuseError> {
    timed(path, || {
        let mapping = Mapping::of(&File::open(path)?)?;
        mapping.touch();
        Ok((mapping.bytes().len() as u64, 1))
    })
}

/// One read, in a file that is not open yet.
pub fn single(path: &Path, offset: u64, size: usize) -> Result<Pass, FuseError> {
    let mut buffer = vec![1; size];
    timed(path, || {
        File::open(path)?.read_exact_at(&mut buffer, offset)?;
        Ok((size as u64, 1))
    })
}

/// What `ls -l` does: all names, and the attributes of each.
pub fn list(dir: &Path) -> Result<Pass, FuseError> {
    timed(dir, || {
        let lengths = std::fs::read_dir(dir)?.map(|entry| Ok(entry?.metadata()?.len()));
        let lengths = lengths.collect::<io::Result<Vec<u64>>>()?;
        Ok((lengths.iter().sum(), lengths.len() as u64))
    })
}

/// Random reads from several threads, each with the file open for itself. Opening is not counted.
pub fn scattered(path: &Path, length: u64, scatter: Scatter) -> Result<Pass, FuseError> {
    let places = usize::try_from(length / scatter.size as u64).unwrap_or(usize::MAX);
    let share = scatter.operations / scatter.threads;
    let reader = |thread: usize| {
        let mut numbers = SplitMix64::derived(scatter.seed, &[thread as u64]);
        let offsets: Vec<u64> = (0..share).map(|_| (numbers.below(places) * scatter.size) as u64).collect();
        move |start: Start<'_>| read_each(path, scatter.size, &offsets, start)
    };
    let (_, took) = together((0..scatter.threads).map(reader))?;
    let operations = (share * scatter.threads) as u64;
    Ok(Pass { bytes: operations * scatter.size as u64, operations, seconds: took.as_secs_f64() })
}

fn read_each(path: &Path, size: usize, offsets: &[u64], start: Start<'_>) -> Result<(), FuseError> {
    let mut buffer = vec![1; size];
    let file = File::open(path).map_err(FuseError::at(path))?;
    start.wait();
    let read = offsets.iter().try_for_each(|offset| file.read_exact_at(&mut buffer, *offset));
    black_box(&buffer);
    read.map_err(FuseError::at(path))
}

fn timed(path: &Path, pass: impl FnOnce() -> io::Result<(u64, u64)>) -> Result<Pass, FuseError> {
    let began = Instant::now();
    let (bytes, operations) = pass().map_err(FuseError::at(path))?;
    Ok(Pass { bytes, operations, seconds: began.elapsed().as_secs_f64() })
}
