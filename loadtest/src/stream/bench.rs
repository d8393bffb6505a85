use std::path::{Path, PathBuf};

use super::Pass;
use super::report::{Cell, Head, Line};
use crate::blob::TestBlob;
use crate::error::FuseError;
use crate::pages::Pages;
use crate::swarm::Swarm;

/// How a file is read.
pub type Reader = fn(&Path) -> Result<Pass, FuseError>;
/// A blob for each run, that no run had before.
pub type Fresh<'a> = &'a dyn Fn(u64) -> TestBlob;

/// One of the ways to the same bytes.
pub struct Way<'a> {
    name: &'static str,
    pass: Box<dyn Fn() -> Result<Pass, FuseError> + 'a>,
}

impl<'a> Way<'a> {
    pub fn new(name: &'static str, pass: impl Fn() -> Result<Pass, FuseError> + 'a) -> Self {
        Self { name, pass: Box::new(pass) }
    }
}

/// Takes measurements. In each run all ways are taken in turn, and each run begins with another.
pub struct Bench<'a> {
    pub swarm: &'a Swarm,
    pages: Pages,
    runs: usize,
}

/// What one way gave so far.
#[derive(Default)]
struct Seen {
    passes: Vec<Pass>,
    cpu_seconds: f64,
}

impl<'a> Bench<'a> {
    pub fn new(swarm: &'a Swarm, pages: Pages, runs: usize) -> Self {
        Self { swarm, pages, runs }
    }

    /// Where the first node's store and its mount have a blob.
    pub fn paths(&self, blob: &TestBlob) -> (PathBuf, PathBuf) {
        (self.swarm.first().backing(blob.id), self.swarm.first().file(blob.id))
    }

    /// All ways once before, then with full caches.
    pub fn hot(&self, head: &Head, ways: [Way<'_>; 2]) -> Result<Line, FuseError> {
        ways.iter().try_for_each(|way| (way.pass)().map(drop))?;
        self.compare(head, ways.each_ref().map(|way| way.name), |way, _| self.metered(|| (ways[way].pass)()))
    }

    /// With empty caches: `files` are those that the ways read.
    pub fn warm(&self, head: &Head, files: [&PathBuf; 2], ways: [Way<'_>; 2]) -> Result<Line, FuseError> {
        self.compare(head, ways.each_ref().map(|way| way.name), |way, _| {
            self.pages.drop(files.map(PathBuf::as_path))?;
            self.metered(|| (ways[way].pass)())
        })
    }

    /// At node 2, of a blob that was put into node 1 just now: there it comes from the page cache. It is verified
    /// afterwards and removed.
    pub fn cold(&self, head: &Head, ways: [(&'static str, Fresh<'_>, Reader); 2]) -> Result<Line, FuseError> {
        let second = self.swarm.second("cold reading")?;
        self.compare(head, ways.map(|(name, _, _)| name), |way, run| {
            let (_, fresh, read) = ways[way];
            let blob = fresh(run as u64);
            self.swarm.put_cold(&[blob])?;
            let file = second.file(blob.id);
            let done = self.metered(|| read(&file))?;
            blob.verify(&file)?;
            self.swarm.delete(&[blob])?;
            Ok(done)
        })
    }

    /// What can be measured only once.
    pub fn once(&self, head: &Head, way: Way<'_>) -> Result<Line, FuseError> {
        let (pass, cpu_seconds) = self.metered(|| (way.pass)())?;
        Ok(head.line(vec![Cell::new(way.name, head.unit, &[pass], cpu_seconds)]))
    }

    /// What a reader of the figures must know.
    pub fn notes(&self) -> Vec<String> {
        self.pages.note().into_iter().chain(self.swarm.note()).collect()
    }

    fn compare(
        &self,
        head: &Head,
        names: [&'static str; 2],
        take: impl Fn(usize, usize) -> Result<(Pass, f64), FuseError>,
    ) -> Result<Line, FuseError> {
        let mut seen: [Seen; 2] = Default::default();
        for run in 0..self.runs {
            for way in (0..2).map(|turn| (turn + run) % 2) {
                let (pass, cpu_seconds) = take(way, run)?;
                seen[way].passes.push(pass);
                seen[way].cpu_seconds += cpu_seconds;
            }
        }
        let cells = names.iter().zip(&seen).map(|(name, seen)| Cell::new(name, head.unit, &seen.passes, seen.cpu_seconds));
        Ok(head.line(cells.collect()))
    }

    /// A pass, and what it cost the nodes.
    fn metered(&self, pass: impl FnOnce() -> Result<Pass, FuseError>) -> Result<(Pass, f64), FuseError> {
        self.swarm.go_on()?;
        let before = self.swarm.cpu_seconds();
        pass().map(|pass| (pass, self.swarm.cpu_seconds() - before))
    }
}
