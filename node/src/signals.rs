use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::{Failure, OrFail};

/// The ways in which a person or a service manager asks a program to stop: Ctrl-C, SIGTERM, or the terminal closed.
#[derive(Debug)]
pub struct Stop {
    interrupt: Signal,
    terminate: Signal,
    /// `None` where whoever started us wants it ignored, as `nohup` does.
    hangup: Option<Signal>,
}

impl Stop {
    /// From here on these signals no longer end the process by themselves.
    pub fn listen() -> Result<Self, Failure> {
        let on = |kind| signal(kind).or_fail(|| "cannot listen for signals".to_owned());
        Ok(Self {
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
            hangup: if hangup_is_ignored() { None } else { Some(on(SignalKind::hangup())?) },
        })
    }

    /// Waits for the next one. May be dropped and asked again: none gets lost.
    pub async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = next(self.hangup.as_mut()) => {}
        }
    }
}

async fn next(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

fn hangup_is_ignored() -> bool {
    ignores_hangup(&std::fs::read_to_string("/proc/self/status").unwrap_or_default())
}

/// Whether a process with this `/proc/PID/status` ignores SIGHUP, which is the first bit of the set.
fn ignores_hangup(status: &str) -> bool {
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).is_some_and(|set| set & 1 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nohup_did_is_seen() {
        assert!(ignores_hangup("Name:\therring\nSigIgn:\t0000000000001001\n"));
        assert!(!ignores_hangup("SigIgn:\t0000000000001000\n"));
        assert!(!ignores_hangup(""));
    }
}
