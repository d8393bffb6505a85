use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use crate::error::FuseError;

/// For the runtime to see a signal that came.
const GLANCE: Duration = Duration::from_millis(1);

/// Ctrl-C or SIGTERM: from its making on they end the measurement in good order, so that nothing is left behind.
pub struct Interrupt {
    runtime: Runtime,
    asked: Arc<AtomicBool>,
}

impl Interrupt {
    pub fn new() -> Result<Self, FuseError> {
        let failed = FuseError::at(Path::new("signals"));
        let runtime = Builder::new_current_thread().enable_all().build();
        let watched = runtime.and_then(|runtime| runtime.block_on(async { watch() }).map(|asked| Self { runtime, asked }));
        watched.map_err(failed)
    }

    /// Does something asynchronous.
    pub fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Fails where somebody wants an end. Takes a millisecond, so it is for between passes.
    pub fn go_on(&self) -> Result<(), FuseError> {
        self.wait(GLANCE)
    }

    /// Waits, and fails where somebody wants an end.
    pub fn wait(&self, duration: Duration) -> Result<(), FuseError> {
        self.block_on(async { sleep(duration).await });
        if self.asked.load(Ordering::Relaxed) { Err(FuseError::Interrupted) } else { Ok(()) }
    }
}

/// The task ends with its runtime.
fn watch() -> io::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let seen = flag.clone();
    tokio::spawn(async move {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        seen.store(true, Ordering::Relaxed);
    });
    Ok(flag)
}
