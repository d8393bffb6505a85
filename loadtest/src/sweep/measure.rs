use std::ffi::{CStr, CString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, read};

use super::plan::Deal;
use crate::error::FuseError;
use crate::figures::quantile;
use crate::threads::{Start, together};

/// The files of one place, as the kernel takes their names.
pub struct Files {
    pub paths: Vec<PathBuf>,
    names: Vec<CString>,
    size: usize,
}

impl Files {
    pub fn new(paths: Vec<PathBuf>, size: usize) -> Self {
        let name = |path: &PathBuf| CString::new(path.as_os_str().as_bytes()).expect("made of digits and an existing directory");
        Self { names: paths.iter().map(name).collect(), paths, size }
    }

    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.paths.iter().map(PathBuf::as_path)
    }
}

/// How long each call took, in microseconds.
#[derive(Debug, Clone, Default)]
pub struct Times {
    pub open: Vec<f64>,
    pub read: Vec<f64>,
}

/// Of one run.
#[derive(Debug, Clone, Copy)]
pub struct Quantiles {
    pub open: [f64; 2],
    pub read: [f64; 2],
}

impl Times {
    pub fn add(&mut self, other: Self) {
        self.open.extend(other.open);
        self.read.extend(other.read);
    }

    /// p50 and p99 of each call.
    pub fn quantiles(mut self) -> Quantiles {
        let both = |times: &mut Vec<f64>| [0.5, 0.99].map(|share| quantile(times, share));
        Quantiles { open: both(&mut self.open), read: both(&mut self.read) }
    }

    fn with_capacity(count: usize) -> Self {
        Self { open: Vec::with_capacity(count), read: Vec::with_capacity(count) }
    }
}

/// One pass: a thread for each share of the deal, all beginning at once.
pub fn take(files: &Files, deal: &Deal) -> Result<Times, FuseError> {
    let (done, _) = together(deal.iter().map(|share| move |start: Start<'_>| read_share(files, share, start)))?;
    let mut all = Times::default();
    done.into_iter().for_each(|times| all.add(times));
    Ok(all)
}

fn read_share(files: &Files, share: &[usize], start: Start<'_>) -> Result<Times, FuseError> {
    // Written once, so that the pages are there.
    let mut buffer = vec![1; files.size];
    let mut times = Times::with_capacity(share.len());
    start.wait();
    for &file in share {
        let (opened, read) = read_file(&files.names[file], &mut buffer).map_err(FuseError::at(&files.paths[file]))?;
        times.open.push(opened);
        times.read.push(read);
    }
    Ok(times)
}

/// open(2), read(2) of all of it and close(2); how long the first two took.
fn read_file(name: &CStr, buffer: &mut [u8]) -> io::Result<(f64, f64)> {
    let before = Instant::now();
    let file = open(name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let opened = Instant::now();
    let mut length = read(&file, &mut *buffer)?;
    while length < buffer.len() {
        match read(&file, &mut buffer[length..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(more) => length += more,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let done = Instant::now();
    Ok(((opened - before).as_secs_f64() * 1e6, (done - opened).as_secs_f64() * 1e6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_share_is_read_and_a_short_file_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = ["a", "b"].iter().map(|name| dir.path().join(name)).collect();
        paths.iter().for_each(|path| std::fs::write(path, [0; 100]).unwrap());
        let times = take(&Files::new(paths.clone(), 100), &vec![vec![0, 1, 0], vec![1], vec![]]).unwrap();
        assert_eq!((times.open.len(), times.read.len()), (4, 4));
        let quantiles = times.quantiles();
        assert!(quantiles.open[0] > 0.0 && quantiles.open[1] >= quantiles.open[0]);
        let error = take(&Files::new(paths, 101), &vec![vec![1]]).unwrap_err();
        assert!(matches!(error, FuseError::Io { path, .. } if path.ends_with("b")));
    }
}
