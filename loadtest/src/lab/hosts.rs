use std::fs::File;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::error::LabError;
use super::wires::Wires;
use crate::error::FuseError;
use crate::interrupt::Interrupt;

/// Between two looks at whether all are done.
const POLL: Duration = Duration::from_millis(100);

/// Set when somebody wants an end, or when one of many has failed: the others need not go on.
#[derive(Default)]
pub struct Stop(AtomicBool);

impl Stop {
    pub fn go_on(&self) -> Result<(), LabError> {
        if self.0.load(Ordering::Relaxed) { Err(LabError::Stopped) } else { Ok(()) }
    }

    fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Does something with the network of that namespace: in a thread of its own, whose sockets and threads are there.
pub fn inside<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> Result<T, LabError> {
    thread::scope(|scope| joined(scope.spawn(|| enter(namespace).map(|()| work()))))
}

/// Does each of these jobs, each on its host as one that is there, `at_once` at the same time. The first failure ends it all.
pub fn each<J: Sync, T: Send>(
    wires: &Wires,
    interrupt: &Interrupt,
    jobs: &[(usize, J)],
    at_once: usize,
    work: impl Fn(usize, &J, &Stop) -> Result<T, LabError> + Sync,
) -> Result<Vec<T>, LabError> {
    let mut all = Vec::with_capacity(jobs.len());
    for jobs in jobs.chunks(at_once) {
        let (stop, work) = (&Stop::default(), &work);
        let begin = |(host, job): &(usize, J)| {
            let done = enter(&wires.host(*host)).and_then(|()| work(*host, job, stop));
            done.inspect_err(|_| stop.set())
        };
        let done: Vec<Result<T, LabError>> = thread::scope(|scope| {
            let threads: Vec<_> = jobs.iter().map(|job| scope.spawn(move || begin(job))).collect();
            let interrupted = wait(interrupt, stop, &threads);
            let done = threads.into_iter().map(joined).collect::<Vec<_>>();
            interrupted.map_or(done, |interrupted| vec![Err(interrupted)])
        });
        all.append(&mut first_failure(done)?);
    }
    Ok(all)
}

/// Until all are done; what ended it, if somebody did.
fn wait<T>(interrupt: &Interrupt, stop: &Stop, threads: &[ScopedJoinHandle<'_, T>]) -> Option<LabError> {
    let mut interrupted = None;
    while threads.iter().any(|thread| !thread.is_finished()) {
        if let Err(error) = interrupt.wait(POLL) {
            stop.set();
            interrupted = Some(error.into());
        }
    }
    interrupted
}

/// The first that is not another's.
fn first_failure<T>(done: Vec<Result<T, LabError>>) -> Result<Vec<T>, LabError> {
    let (good, bad): (Vec<_>, Vec<_>) = done.into_iter().partition(Result::is_ok);
    let failure = bad.into_iter().filter_map(Result::err).reduce(|first, other| match first {
        LabError::Stopped => other,
        _ => first,
    });
    failure.map_or_else(|| good.into_iter().collect(), Err)
}

/// This thread, and those that it starts from now on.
fn enter(namespace: &str) -> Result<(), LabError> {
    let path = format!("/run/netns/{namespace}");
    let file = File::open(&path).map_err(LabError::io(&path))?;
    let moved = move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network));
    moved.map_err(|error| LabError::Io { what: path, source: error.into() })
}

fn joined<T>(thread: ScopedJoinHandle<'_, Result<T, LabError>>) -> Result<T, LabError> {
    thread.join().unwrap_or(Err(FuseError::Panicked.into()))
}
