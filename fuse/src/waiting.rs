//! Requests that wait for the swarm: in a task each, so that the session's threads stay free.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use crate::error::FsError;
use crate::metrics;
use crate::readers::Readers;

/// How long the kernel waits for any answer.
const DEADLINE: Duration = Duration::from_secs(60);
/// After that, it is looked whether the reader still lives. Nearly all requests are answered before.
const LONG: Duration = Duration::from_millis(100);
/// Requests that wait at one time: more than the 256 read-aheads of the kernel and a thousand readers. Who waits holds no bytes yet. With all of
/// them taken, requests stay in the kernel's queue.
const MAX_IN_FLIGHT: usize = 2048;

pub(crate) struct Waiting {
    runtime: Handle,
    slots: Arc<Semaphore>,
    readers: Arc<Readers>,
}

/// A request's place among those in flight.
struct Slot(#[expect(dead_code, reason = "held, not read")] Option<OwnedSemaphorePermit>);

impl Waiting {
    pub fn new(runtime: Handle, readers: Arc<Readers>) -> Self {
        Self { runtime, slots: Arc::new(Semaphore::new(MAX_IN_FLIGHT)), readers }
    }

    /// Gives what comes of `work` to `answer`; after the deadline, or once the reader `tid` is killed, why nothing does.
    pub fn spawn<T: Send + 'static>(
        &self,
        tid: u32,
        work: impl Future<Output = Result<T, FsError>> + Send + 'static,
        answer: impl FnOnce(Result<T, FsError>) + Send + 'static,
    ) {
        let slot = self.slot();
        let readers = Arc::clone(&self.readers);
        self.runtime.spawn(async move {
            answer(patiently(work, readers.killed(tid)).await);
            drop(slot);
        });
    }

    /// Waits for those in flight where there are too many: each of them ends within its deadline.
    fn slot(&self) -> Slot {
        let permit = match Arc::clone(&self.slots).try_acquire_owned() {
            Ok(permit) => Some(permit),
            Err(_) => self.runtime.block_on(Arc::clone(&self.slots).acquire_owned()).ok(),
        };
        ::metrics::gauge!(metrics::IN_FLIGHT).increment(1.0);
        Slot(permit)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        ::metrics::gauge!(metrics::IN_FLIGHT).decrement(1.0);
    }
}

async fn patiently<T>(work: impl Future<Output = Result<T, FsError>>, killed: impl Future<Output = ()>) -> Result<T, FsError> {
    let mut work = std::pin::pin!(work);
    if let Ok(result) = timeout(LONG, &mut work).await {
        return result;
    }
    tokio::select! {
        result = work => result,
        () = killed => Err(FsError::Killed),
        () = sleep(DEADLINE - LONG) => Err(FsError::TimedOut { seconds: DEADLINE.as_secs() }),
    }
}
