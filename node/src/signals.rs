use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::{Failure, OrFail};

/// The ways in which a person or a service manager asks a program to stop: Ctrl-C, SIGTERM, or the terminal closed.
#[derive(Debug)]
pub struct Stop {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Stop {
    /// From here on these signals no longer end the process by themselves.
    pub fn listen() -> Result<Self, Failure> {
        let on = |kind| signal(kind).or_fail(|| "cannot listen for signals".to_owned());
        Ok(Self {
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
            hangup: on(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one. May be dropped and asked again: none gets lost.
    pub async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}
