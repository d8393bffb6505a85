use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{PoisonError, RwLock};
use std::thread::Builder;
use std::time::{Duration, Instant};

use crate::error::FuseError;

/// A reading thread calls a few functions and keeps its buffers on the heap.
const STACK: usize = 128 << 10;

/// What a thread prepares before, it does not count.
pub struct Start<'a> {
    /// Nothing is sent: its end tells that this thread is ready, or has given up.
    waiting: SyncSender<()>,
    gate: &'a RwLock<()>,
}

impl Start<'_> {
    /// Waits until all are ready.
    pub fn wait(self) {
        drop(self.waiting);
        drop(self.gate.read().unwrap_or_else(PoisonError::into_inner));
    }
}

/// A thread for each of `work`, all beginning at once; what each gave, and how long all took together.
pub fn together<T, W>(work: impl IntoIterator<Item = W>) -> Result<(Vec<T>, Duration), FuseError>
where
    T: Send,
    W: FnOnce(Start<'_>) -> Result<T, FuseError> + Send,
{
    let gate = &RwLock::new(());
    std::thread::scope(|scope| {
        // Not a barrier: where a thread cannot be started, the others would wait for it.
        let closed = gate.write().unwrap_or_else(PoisonError::into_inner);
        let (waiting, ready) = sync_channel(0);
        let mut threads = Vec::new();
        for work in work {
            let start = Start { waiting: waiting.clone(), gate };
            let thread = Builder::new().stack_size(STACK).spawn_scoped(scope, || work(start));
            threads.push(thread.map_err(FuseError::at(Path::new("a reading thread")))?);
        }
        drop(waiting);
        let _ = ready.recv();
        let began = Instant::now();
        drop(closed);
        let done = threads.into_iter().map(|thread| thread.join().map_err(|_| FuseError::Panicked)?);
        done.collect::<Result<Vec<T>, FuseError>>().map(|done| (done, began.elapsed()))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn nobody_begins_before_all_are_ready() {
        let ready = AtomicUsize::new(0);
        let work = (0..8).map(|_| {
            |start: Start<'_>| {
                ready.fetch_add(1, Ordering::SeqCst);
                start.wait();
                Ok(ready.load(Ordering::SeqCst))
            }
        });
        assert_eq!(together(work).unwrap().0, [8; 8]);
    }

    #[test]
    fn one_that_fails_before_the_start_holds_nobody_up() {
        let work = (0..4).map(|thread| {
            move |start: Start<'_>| {
                if thread == 2 {
                    return Err(FuseError::OneNode("this"));
                }
                start.wait();
                Ok(())
            }
        });
        assert!(matches!(together(work), Err(FuseError::OneNode(_))));
    }
}
