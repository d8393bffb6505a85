use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// A budget is crowded once so many times its bytes wait for it: who then joined would wait until it was filled three times anew, 6 s of
/// a gigabit link for 256 MiB.
const CROWDED: u64 = 2;

/// A budget of bytes. Counted in KiB, since a semaphore counts in `u32`.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    free: Arc<Semaphore>,
    kib: u32,
    /// KiB.
    waiting: Arc<AtomicU64>,
}

/// A part of the budget; given back when dropped.
#[derive(Debug)]
pub(crate) struct Share(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

/// What one waits for.
struct Waiting<'a>(&'a AtomicU64, u64);

impl<'a> Waiting<'a> {
    fn new(waiting: &'a AtomicU64, kib: u32) -> Self {
        waiting.fetch_add(kib.into(), Relaxed);
        Self(waiting, kib.into())
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Relaxed);
    }
}

/// The time for waiting is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exhausted;

impl Memory {
    pub fn new(bytes: usize) -> Self {
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).max(1);
        let free = Semaphore::new(usize::try_from(kib).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS));
        Self { free: Arc::new(free), kib, waiting: Arc::default() }
    }

    /// Whether so much waits for it that who can come again later had better do so.
    pub fn is_crowded(&self) -> bool {
        self.waiting.load(Relaxed) >= CROWDED * u64::from(self.kib)
    }

    /// A share of `bytes`, if so much is free and nobody waits for it.
    pub fn take_now(&self, bytes: u64) -> Option<Arc<Share>> {
        let permit = Arc::clone(&self.free).try_acquire_many_owned(self.kib_of(bytes)).ok()?;
        Some(Arc::new(Share(permit)))
    }

    fn kib_of(&self, bytes: u64) -> u32 {
        u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).min(self.kib)
    }

    /// A share of `bytes`, or of the whole budget where that is less, first come first served.
    pub async fn take(&self, bytes: u64, wait: Duration) -> Result<Arc<Share>, Exhausted> {
        let kib = self.kib_of(bytes);
        let _waiting = Waiting::new(&self.waiting, kib);
        match timeout(wait, Arc::clone(&self.free).acquire_many_owned(kib)).await {
            // The semaphore is never closed.
            Ok(Ok(permit)) => Ok(Arc::new(Share(permit))),
            Ok(Err(_)) | Err(_) => Err(Exhausted),
        }
    }
}

impl Share {
    /// `bytes` that hold this share until the last of their clones is dropped.
    pub fn hold(this: &Arc<Self>, bytes: Bytes) -> Bytes {
        struct Held(Bytes, #[expect(dead_code, reason = "held for its drop")] Arc<Share>);
        impl AsRef<[u8]> for Held {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        Bytes::from_owner(Held(bytes, Arc::clone(this)))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use futures_util::future::join_all;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn bytes_hold_their_share_until_the_last_clone_is_gone() {
        let memory = Memory::new(4096);
        let share = memory.take(4096, Duration::ZERO).await.unwrap();
        let bytes = Share::hold(&share, Bytes::from_static(b"x"));
        drop(share);
        let clone = bytes.slice(..1);
        drop(bytes);
        assert!(memory.take(1, Duration::from_secs(1)).await.is_err());
        drop(clone);
        assert!(memory.take(4096, Duration::ZERO).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_makes_it_crowded_and_what_has_is_no_crowd() {
        let memory = Memory::new(4096);
        let all = memory.take(4096, Duration::ZERO).await.unwrap();
        assert!(!memory.is_crowded());
        let mut waiting: Vec<_> = (0..8).map(|_| Box::pin(memory.take(1024, Duration::from_secs(1)))).collect();
        for wait in &mut waiting {
            assert!(!memory.is_crowded());
            assert!(wait.as_mut().now_or_never().is_none());
        }
        assert!(memory.is_crowded());
        drop(waiting.pop());
        assert!(!memory.is_crowded(), "who has gone waits no more");
        assert!(join_all(waiting).await.iter().all(Result::is_err));
        drop(all);
        assert_eq!(memory.waiting.load(Relaxed), 0);
    }

    #[tokio::test]
    async fn more_than_all_is_all() {
        let memory = Memory::new(4096);
        let all = memory.take(1 << 40, Duration::ZERO).await.unwrap();
        assert!(memory.take(1, Duration::ZERO).await.is_err());
        drop(all);
        assert!(memory.take(1, Duration::ZERO).await.is_ok());
    }
}
