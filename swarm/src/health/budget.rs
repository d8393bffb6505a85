use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use metrics::counter;

use crate::metrics as m;

/// What may be asked only because something else takes long: one question for every twenty that are asked anyway. Without a bound, a swarm that
/// is slow because it has too much to do would get twice as much to do.
#[derive(Debug)]
pub(super) struct Budget(AtomicU32);

/// Questions that pay for one more: 5 %.
pub(super) const PRICE: u32 = 20;
/// How many may be saved up, so that the first that find a peer silent need not wait.
pub(super) const BURST: u32 = 8;

impl Default for Budget {
    fn default() -> Self {
        Self(AtomicU32::new(BURST * PRICE))
    }
}

impl Budget {
    pub fn earn(&self) {
        let _ = self.0.fetch_update(Relaxed, Relaxed, |saved| (saved < BURST * PRICE).then_some(saved + 1));
    }

    pub fn spend(&self) -> bool {
        let paid = self.0.fetch_update(Relaxed, Relaxed, |saved| saved.checked_sub(PRICE)).is_ok();
        if !paid {
            counter!(m::HEDGES_DENIED).increment(1);
        }
        paid
    }
}
