use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// A budget of bytes. Counted in KiB, since a semaphore counts in `u32`.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    free: Arc<Semaphore>,
    kib: u32,
}

/// A part of the budget; given back when dropped.
#[derive(Debug)]
pub(crate) struct Share(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

/// The time for waiting is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exhausted;

impl Memory {
    pub fn new(bytes: usize) -> Self {
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).max(1);
        Self { free: Arc::new(Semaphore::new(usize::try_from(kib).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS))), kib }
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
        match timeout(wait, Arc::clone(&self.free).acquire_many_owned(self.kib_of(bytes))).await {
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

    #[tokio::test]
    async fn more_than_all_is_all() {
        let memory = Memory::new(4096);
        let all = memory.take(1 << 40, Duration::ZERO).await.unwrap();
        assert!(memory.take(1, Duration::ZERO).await.is_err());
        drop(all);
        assert!(memory.take(1, Duration::ZERO).await.is_ok());
    }
}
