use std::sync::atomic::{AtomicU8, Ordering::Relaxed, Ordering::SeqCst};

/// Hits that are told apart.
const MOST: u8 = 3;
const HITS: u8 = 0b11;
const QUEUED: u8 = 0x80;

/// For each chunk of an entry, and for its description: how often it was hit, and whether it waits in the queue. One byte each, no lock.
pub(crate) struct Heat(Box<[AtomicU8]>);

impl Heat {
    pub fn new(chunks: u32) -> Self {
        Self((0..=chunks).map(|_| AtomicU8::new(0)).collect())
    }

    /// Any number past the last chunk's means the description.
    fn at(&self, n: u32) -> &AtomicU8 {
        &self.0[(n as usize).min(self.0.len() - 1)]
    }

    /// A hit. What is hot already is not written to, so that readers on all cores share its cache line.
    pub fn note(&self, n: u32) {
        if self.hits(n) < MOST {
            let more = |heat: u8| (heat & HITS < MOST).then(|| heat + 1);
            let _ = self.at(n).fetch_update(Relaxed, Relaxed, more);
        }
    }

    pub fn note_all(&self) {
        (0u32..).zip(&self.0).for_each(|(n, _)| self.note(n));
    }

    pub fn hits(&self, n: u32) -> u8 {
        self.at(n).load(Relaxed) & HITS
    }

    /// Takes one hit away. False where there is none.
    pub fn cool(&self, n: u32) -> bool {
        self.at(n).fetch_update(Relaxed, Relaxed, |heat| (heat & HITS > 0).then(|| heat - 1)).is_ok()
    }

    pub fn reset(&self, n: u32) {
        self.at(n).fetch_and(!HITS, Relaxed);
    }

    /// It waits in the queue from now on. False where it did already.
    pub fn set_queued(&self, n: u32) -> bool {
        self.at(n).fetch_or(QUEUED, SeqCst) & QUEUED == 0
    }

    pub fn clear_queued(&self, n: u32) {
        self.at(n).fetch_and(!QUEUED, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_stop_at_three_and_leave_the_rest_alone() {
        let heat = Heat::new(2);
        assert!(heat.set_queued(1) && !heat.set_queued(1));
        (0..5).for_each(|_| heat.note(1));
        assert_eq!((heat.hits(0), heat.hits(1), heat.hits(u32::MAX)), (0, 3, 0));
        assert!((0..3).all(|_| heat.cool(1)) && !heat.cool(1));
        assert!(!heat.set_queued(1), "it still waits");
        heat.note_all();
        heat.reset(1);
        assert_eq!((heat.hits(0), heat.hits(1), heat.hits(u32::MAX)), (1, 0, 1));
        heat.clear_queued(1);
        assert!(heat.set_queued(1) && heat.set_queued(u32::MAX));
    }
}
