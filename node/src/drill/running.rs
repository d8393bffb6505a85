use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep, timeout};

use super::drain::drain;
use super::hands::{Hands, cannot};
use super::own::empty;
use super::scenario::Scenario;
use super::site::At;
use crate::error::{Failure, OrFail, tell};
use crate::up::{Child, Hold, Layout, Place, Record, Recorded};

/// `herring up` looks every 100 ms; a node may take 27 s to stop.
const DEADLINE: Duration = Duration::from_secs(40);
const POLL: Duration = Duration::from_millis(50);
/// A node that joined for the drill hands over what it took within this, or the swarm repairs what it took away.
const DRAIN_DEADLINE: Duration = Duration::from_secs(60);

/// The swarm of a running `herring up`. Its nodes stay its children: it is told by a [`Hold`] that one is away on purpose, and
/// starts that again itself once the hold is gone.
pub struct Running {
    dir: PathBuf,
    places: Vec<Place>,
    /// By node, of those that are away.
    holds: Vec<Option<Hold>>,
    paused: Vec<usize>,
    /// One that joined for the drill. It ends with it.
    joined: Option<Child>,
}

impl Running {
    pub fn find(dir: &Path) -> Result<Self, Failure> {
        let places: Vec<Place> = Record::load(dir)?.nodes.into_iter().map(|node| node.place).collect();
        let holds = places.iter().map(|_| None).collect();
        let running = Self { dir: dir.to_owned(), places, holds, paused: Vec::new(), joined: None };
        (0..running.places.len()).try_for_each(|node| running.process(node).map(drop))?;
        Ok(running)
    }

    fn recorded(&self, node: usize) -> Result<Recorded, Failure> {
        let id = &self.places[node].id;
        let found = Record::load(&self.dir)?.nodes.into_iter().find(|recorded| recorded.place.id == *id);
        found.ok_or_else(|| Failure::failed(format_args!("`herring up` in {} knows no {id}", self.dir.display())))
    }

    /// Its process, if it really is that: a number may have been given to another one since.
    fn process(&self, node: usize) -> Result<Pid, Failure> {
        let recorded = self.recorded(node)?;
        let pid = recorded.pid.filter(|pid| is_that(*pid, &recorded.argv)).and_then(|pid| Pid::from_raw(pid.cast_signed()));
        pid.ok_or_else(|| {
            Failure::failed(format_args!("{} of {} does not run: start `herring up` anew", recorded.place.id, self.dir.display()))
        })
    }

    fn signal(&self, node: usize, signal: Signal) -> Result<(), Failure> {
        kill_process(self.process(node)?, signal).or_fail(|| format!("cannot signal {}", self.places[node].id))
    }

    /// Ends it, and waits until `herring up` knows.
    async fn finish(&mut self, node: usize, signal: Signal) -> Result<(), Failure> {
        self.holds[node] = Some(Hold::take(&self.dir, &self.places[node].id)?);
        self.signal(node, signal)?;
        self.until(node, "end", |recorded| recorded.pid.is_none()).await
    }

    async fn until(&self, node: usize, what: &str, reached: impl Fn(&Recorded) -> bool) -> Result<(), Failure> {
        let deadline = Instant::now() + DEADLINE;
        while !reached(&self.recorded(node)?) {
            if Instant::now() > deadline {
                let (id, seconds) = (&self.places[node].id, DEADLINE.as_secs());
                return Err(Failure::failed(format_args!("after {seconds} s {id} did not {what}")));
            }
            sleep(POLL).await;
        }
        Ok(())
    }
}

/// Whether that process was started by these words.
fn is_that(pid: u32, argv: &[String]) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<_> = line.split(|byte| *byte == 0).filter(|word| !word.is_empty()).skip(1).collect();
    !words.is_empty() && words.iter().copied().eq(argv.iter().skip(1).map(String::as_bytes))
}

#[async_trait]
impl Hands for Running {
    fn nodes(&self) -> Result<Vec<At>, Failure> {
        self.places.iter().map(At::place).collect()
    }

    fn logs(&self) -> Vec<String> {
        self.places.iter().map(|place| place.log().display().to_string()).collect()
    }

    fn check(&self, scenario: Scenario) -> Result<(), Failure> {
        if scenario == Scenario::Partition { Err(cannot("cut nodes off")) } else { Ok(()) }
    }

    async fn kill(&mut self, node: usize) -> Result<(), Failure> {
        self.finish(node, Signal::KILL).await
    }

    async fn stop(&mut self, node: usize) -> Result<(), Failure> {
        self.finish(node, Signal::TERM).await
    }

    async fn start(&mut self, node: usize) -> Result<(), Failure> {
        self.holds[node] = None;
        self.until(node, "start again", |recorded| recorded.pid.is_some()).await
    }

    async fn pause(&mut self, node: usize) -> Result<(), Failure> {
        self.paused.push(node);
        self.signal(node, Signal::STOP)
    }

    async fn resume(&mut self, node: usize) -> Result<(), Failure> {
        self.paused.retain(|paused| *paused != node);
        self.signal(node, Signal::CONT)
    }

    async fn wipe(&mut self, node: usize) -> Result<(), Failure> {
        empty(&self.places[node])
    }

    async fn join(&mut self) -> Result<(), Failure> {
        let layout = Record::load(&self.dir)?.layout;
        let wider = Layout { nodes: layout.nodes + 1, mounts: false, ..layout };
        let place = wider.places()?.pop().ok_or_else(|| Failure::failed("there is no place for another node"))?;
        place.secrets.iter().try_for_each(|secrets| secrets.provide(&place.id))?;
        self.joined = Some(Child::spawn(&wider, &place, &self.places)?);
        self.places.push(place);
        self.holds.push(None);
        Ok(())
    }

    fn borrowed(&self) -> bool {
        true
    }

    async fn end(&mut self, _: bool) -> Option<PathBuf> {
        for node in std::mem::take(&mut self.paused) {
            let _ = self.signal(node, Signal::CONT);
        }
        self.holds.iter_mut().for_each(|hold| *hold = None);
        let mut joined = self.joined.take()?;
        let came = match At::place(&joined.place) {
            Ok(at) => drain(&at, DRAIN_DEADLINE).await,
            Err(failure) => failure.to_string(),
        };
        tell(format_args!("{}: {came}", joined.place.id));
        joined.terminate();
        if timeout(DEADLINE, joined.wait()).await.is_err() {
            joined.kill().await;
        }
        let dir = joined.place.dir.clone();
        let _ = std::fs::remove_dir_all(&dir);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_words() {
        let words = ["sleep", "60"].map(str::to_owned);
        let mut child = std::process::Command::new(&words[0]).arg(&words[1]).spawn().unwrap();
        // The kernel wakes us a moment before its words are there.
        let said = || std::fs::read(format!("/proc/{}/cmdline", child.id())).unwrap();
        let began = std::time::Instant::now();
        while said().is_empty() && began.elapsed().as_secs() < 20 {
            std::thread::yield_now();
        }
        let known = [&words[..], &["sleep".to_owned(), "61".to_owned()], &words[..1]].map(|words| is_that(child.id(), words));
        child.kill().and_then(|()| child.wait()).unwrap();
        assert_eq!(known, [true, false, false]);
        assert!(!is_that(u32::MAX, &[]));
    }

    #[test]
    fn where_nothing_runs_that_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let sentence = Running::find(dir.path()).err().unwrap().to_string();
        assert!(sentence.starts_with("no running `herring up` in "), "{sentence}");
    }
}
