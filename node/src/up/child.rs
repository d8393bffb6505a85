use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child as Process, ChildStdin, Command};

use super::layout::{Layout, Place};
use crate::error::{Failure, OrFail, tell};

/// How much of a log is looked at when its node failed.
const TAIL_BYTES: u64 = 64 << 10;
/// Of what went wrong.
const LOUD_LINES: usize = 15;
/// Where nothing did.
const QUIET_LINES: usize = 3;
/// Levels of events in which nothing went wrong.
const QUIET: [&str; 3] = ["INFO", "DEBUG", "TRACE"];

/// A node as a process of its own.
///
/// It holds the other end of our pipe as its stdin and stops when that ends, so it does not outlive us even if we are
/// killed.
#[derive(Debug)]
pub struct Child {
    pub place: Place,
    pub pid: u32,
    /// Where this run's part of the log begins.
    log_start: u64,
    process: Process,
    /// Taken out of `process`, which would close it before waiting.
    _pipe: Option<ChildStdin>,
}

impl Child {
    pub fn spawn(layout: &Layout, place: &Place, all: &[Place]) -> Result<Self, Failure> {
        let start = || format!("cannot start {}", place.id);
        std::fs::create_dir_all(&place.dir).or_fail(|| format!("cannot create {}", place.dir.display()))?;
        let cannot = || format!("cannot write {}", place.log().display());
        // What earlier runs wrote may still be needed.
        let log = File::options().create(true).append(true).open(place.log()).or_fail(cannot)?;
        let log_start = log.metadata().or_fail(cannot)?.len();
        let program = place.program().or_fail(start)?;
        let mut process = Command::new(&program[0])
            .args(&program[1..])
            .args(layout.arguments(place, all))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            // Ctrl-C goes to a terminal's whole group; it is for us to say who stops when.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .or_fail(start)?;
        let pid = process.id().expect("a child that was not waited for has an id");
        let pipe = process.stdin.take();
        Ok(Self { place: place.clone(), pid, log_start, process, _pipe: pipe })
    }

    /// Waits for its end. May be dropped and asked again.
    pub async fn ended(&mut self) -> String {
        let status = self.process.wait().await.map_or_else(|error| error.to_string(), |status| status.to_string());
        format!("{} ended by itself ({status}); its log {} says:\n{}", self.place.id, self.place.log().display(), self.tail())
    }

    /// Asks it to stop.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    pub fn signal(&self, signal: Signal) {
        // It may be gone already; its id is not given to another before we have waited for it.
        let id = self.process.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let _ = id.map(|id| kill_process(id, signal));
    }

    pub fn is_running(&self) -> bool {
        self.process.id().is_some()
    }

    pub async fn wait(&mut self) {
        let _ = self.process.wait().await;
    }

    pub async fn kill(&mut self) {
        tell(format_args!("{} did not stop in time and is killed", self.place.id));
        let _ = self.process.kill().await;
    }

    /// What its log says of what went wrong in this run, or else its last lines.
    pub fn tail(&self) -> String {
        tail(&self.place.log(), self.log_start).unwrap_or_else(|error| format!("(the log cannot be read: {error})"))
    }
}

fn tail(log: &Path, start: u64) -> std::io::Result<String> {
    let mut file = File::open(log)?;
    let from = file.metadata()?.len().saturating_sub(TAIL_BYTES);
    file.seek(SeekFrom::Start(from.max(start)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    // The first line of what was cut out of the middle is a part of one.
    let lines: Vec<&str> = text.lines().skip(usize::from(from > start)).collect();
    let loud: Vec<&str> = lines.iter().copied().filter(|line| is_loud(line)).collect();
    Ok(if loud.is_empty() { last(&lines, QUIET_LINES) } else { last(&loud, LOUD_LINES) })
}

/// Warnings and errors, and what is no event at all: a failure's sentence, a panic.
fn is_loud(line: &str) -> bool {
    !line.split_whitespace().nth(1).is_some_and(|level| QUIET.contains(&level))
}

fn last(lines: &[&str], count: usize) -> String {
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, start: usize) -> String {
        let log = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(log.path(), text).unwrap();
        tail(log.path(), start as u64).unwrap()
    }

    fn event(level: &str, n: usize) -> String {
        format!("2026-01-01T00:00:00.000000Z {level:>5} herring: event {n}\n")
    }

    #[test]
    fn where_nothing_went_wrong_the_last_lines_are_shown() {
        assert_eq!(shown("", 0), "");
        let log: String = (0..5000).map(|n| event("INFO", n)).collect();
        assert_eq!(shown(&log, 0), shown(&log[log.len() - 3 * event("INFO", 4999).len()..], 0));
        assert!(shown(&log, 0).ends_with("event 4999"));
    }

    #[test]
    fn else_what_went_wrong_is_shown_and_nothing_else() {
        let log =
            event("WARN", 1) + &event("INFO", 2) + &event("ERROR", 3) + "herring: the disk is on fire\n" + &event("DEBUG", 4);
        let lines = shown(&log, 0);
        assert_eq!(lines, (event("WARN", 1) + &event("ERROR", 3) + "herring: the disk is on fire").trim_end());
        let many: String = (0..5000).map(|n| event("WARN", n)).collect();
        assert_eq!(shown(&many, 0).lines().count(), LOUD_LINES);
    }

    #[test]
    fn earlier_runs_are_not_shown() {
        let before = event("ERROR", 1);
        assert_eq!(shown(&(before.clone() + &event("INFO", 2)), before.len()), event("INFO", 2).trim_end());
    }
}
