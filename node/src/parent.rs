use std::io::{Read, stdin};
use std::thread;
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};

/// What an orderly stop may take.
const GRACE: Duration = Duration::from_secs(27);

/// Stops this process once its stdin ends, which it does at the latest when the parent that holds the other end dies,
/// be it by `kill -9`.
pub fn follow() {
    thread::spawn(|| {
        wait_for_end();
        tracing::warn!("the parent is gone: stopping");
        // The signal goes through the same orderly stop as anybody else's.
        let _ = kill_process(getpid(), Signal::TERM);
        thread::sleep(GRACE);
        std::process::exit(1);
    });
}

fn wait_for_end() {
    let mut byte = [0];
    while matches!(stdin().read(&mut byte), Ok(1)) {}
}
