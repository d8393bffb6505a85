use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child as Process, ChildStdin, Command};

use super::layout::{Layout, Place};
use crate::error::{Failure, OrFail, tell};

/// How much of a log is shown when its node failed.
const TAIL_BYTES: u64 = 16 << 10;
const TAIL_LINES: usize = 15;

/// A node as a process of its own.
///
/// It holds the other end of our pipe as its stdin and stops when that ends, so it does not outlive us even if we are
/// killed.
#[derive(Debug)]
pub struct Child {
    pub place: Place,
    pub pid: u32,
    process: Process,
    /// Taken out of `process`, which would close it before waiting.
    _pipe: Option<ChildStdin>,
}

impl Child {
    pub fn spawn(layout: &Layout, place: &Place, all: &[Place]) -> Result<Self, Failure> {
        let start = || format!("cannot start {}", place.id);
        std::fs::create_dir_all(&place.dir).or_fail(|| format!("cannot create {}", place.dir.display()))?;
        let log = File::create(place.log()).or_fail(|| format!("cannot write {}", place.log().display()))?;
        let mut process = Command::new(std::env::current_exe().or_fail(start)?)
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
        Ok(Self { place: place.clone(), pid, process, _pipe: pipe })
    }

    /// Waits for its end. May be dropped and asked again.
    pub async fn ended(&mut self) -> String {
        let status = self.process.wait().await.map_or_else(|error| error.to_string(), |status| status.to_string());
        format!(
            "{} ended by itself ({status}); its log {} ends with:\n{}",
            self.place.id,
            self.place.log().display(),
            self.tail()
        )
    }

    /// Asks it to stop.
    pub fn terminate(&self) {
        // It may be gone already; its id is not given to another before we have waited for it.
        let id = self.process.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let _ = id.map(|id| kill_process(id, Signal::TERM));
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

    /// The last lines of its log.
    pub fn tail(&self) -> String {
        tail(&self.place.log()).unwrap_or_else(|error| format!("(the log cannot be read: {error})"))
    }
}

fn tail(log: &Path) -> std::io::Result<String> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    Ok(lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_a_log_is_shown() {
        let log = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(tail(log.path()).unwrap(), "");
        let lines: Vec<String> = (0..5000).map(|n| format!("line {n}")).collect();
        std::fs::write(log.path(), lines.join("\n")).unwrap();
        let shown = tail(log.path()).unwrap();
        assert_eq!(shown.lines().count(), TAIL_LINES);
        assert!(shown.ends_with("line 4999"));
    }
}
