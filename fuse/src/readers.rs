//! Who waits, and whether they still live.
//!
//! A request that this process has taken is waited for by its reader come what may: the kernel tells a signal by INTERRUPT,
//! which fuser does not pass on. So who has waited for long is looked at in `/proc`.

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use tokio::sync::{Notify, oneshot};

/// How often those who wait are looked at: about 20 us each. So a killed reader stays for 0.1 to 0.2 s.
const LOOK: Duration = Duration::from_millis(100);
/// SIGKILL in the masks of `/proc/PID/status`. The kernel makes every fatal signal into this one, for all threads of the process.
const SIGKILL: u64 = 1 << 8;

/// The readers that have waited for long, by thread id. Bounded by the requests that may be in flight.
#[derive(Default)]
pub(crate) struct Readers {
    waiting: Mutex<HashMap<u32, Vec<oneshot::Sender<()>>>>,
    more: Notify,
}

impl Readers {
    /// Ends when the reader `tid` is killed. Never, where there is no such number: a reader in a pid namespace that is not ours.
    pub async fn killed(&self, tid: u32) {
        let (sender, receiver) = oneshot::channel();
        if tid != 0 {
            self.lock().entry(tid).or_default().push(sender);
            self.more.notify_one();
            if receiver.await.is_ok() {
                return;
            }
        }
        std::future::pending().await
    }

    /// Looks after all of them for as long as it is polled.
    pub async fn watch(&self) {
        loop {
            if self.tids().is_empty() {
                self.more.notified().await;
            }
            tokio::time::sleep(LOOK).await;
            for tid in self.tids().into_iter().filter(|tid| is_killed(*tid)) {
                let waiting = self.lock().remove(&tid);
                for one in waiting.into_iter().flatten() {
                    // Else it was answered in the meantime.
                    let _ = one.send(());
                }
            }
        }
    }

    /// Those who still wait.
    fn tids(&self) -> Vec<u32> {
        let mut waiting = self.lock();
        waiting.retain(|_, requests| {
            requests.retain(|request| !request.is_closed());
            !requests.is_empty()
        });
        waiting.keys().copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Vec<oneshot::Sender<()>>>> {
        // No operation leaves the map half done, so one that panicked did no harm.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a thread was told to die, or is gone: of a read-ahead, which nobody need wait for.
fn is_killed(tid: u32) -> bool {
    match fs::read_to_string(format!("/proc/{tid}/status")) {
        Ok(status) => has_sigkill(&status),
        // Where /proc hides other users' processes, it says the same.
        Err(error) if error.kind() == ErrorKind::NotFound => is_gone(tid),
        Err(error) => error.raw_os_error() == Some(Errno::SRCH.raw_os_error()),
    }
}

fn is_gone(tid: u32) -> bool {
    let pid = i32::try_from(tid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid) == Err(Errno::SRCH))
}

fn has_sigkill(status: &str) -> bool {
    let masks = status.lines().filter_map(|line| line.strip_prefix("SigPnd:").or_else(|| line.strip_prefix("ShdPnd:")));
    masks.filter_map(|mask| u64::from_str_radix(mask.trim(), 16).ok()).any(|mask| mask & SIGKILL != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pending_sigkill_is_seen() {
        let status = |thread: &str, process: &str| {
            format!("Name:\tcat\nSigPnd:\t{thread}\nShdPnd:\t{process}\nSigBlk:\tffffffffffffffff\n")
        };
        assert!(!has_sigkill(&status("0000000000000000", "0000000000000002")));
        assert!(has_sigkill(&status("0000000000000100", "0000000000000000")));
        assert!(has_sigkill(&status("0000000000000000", "0000000000000102")));
    }

    #[test]
    fn who_lives_is_not_killed_and_who_is_gone_is() {
        assert!(!is_killed(std::process::id()));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert!(is_killed(child.id()));
    }
}
