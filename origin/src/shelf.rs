use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Whoever pages on after this much time reads the directory again, and sees what has been added behind the page that he has.
const LIFETIME: Duration = Duration::from_secs(60);

/// The few large directories that are being paged through, so that each is read once and not once a page. Bounded in bytes.
pub(crate) struct Shelf<T> {
    most: usize,
    /// The one used last is at the end.
    kept: Mutex<VecDeque<Kept<T>>>,
}

struct Kept<T> {
    prefix: String,
    bytes: usize,
    since: Instant,
    whole: Arc<T>,
}

impl<T> Shelf<T> {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, kept: Mutex::default() }
    }

    pub(crate) fn get(&self, prefix: &str) -> Option<Arc<T>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|one| one.prefix == prefix)?;
        let found = kept.remove(at).filter(|one| one.since.elapsed() < LIFETIME)?;
        let whole = Arc::clone(&found.whole);
        kept.push_back(found);
        Some(whole)
    }

    /// In the place of what was kept for this prefix; the longest unused go for it.
    pub(crate) fn put(&self, prefix: &str, bytes: usize, whole: Arc<T>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|one| one.prefix != prefix && one.since.elapsed() < LIFETIME);
        kept.push_back(Kept { prefix: prefix.to_owned(), bytes, since: Instant::now(), whole });
        while kept.iter().map(|one| one.bytes).sum::<usize>() > self.most {
            kept.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn holds_what_was_used_last_within_its_bytes_and_time() {
        let shelf = Shelf::new(10);
        shelf.put("a", 4, Arc::new(1));
        shelf.put("b", 4, Arc::new(2));
        assert_eq!(shelf.get("a").as_deref(), Some(&1));
        shelf.put("c", 4, Arc::new(3));
        assert_eq!([shelf.get("a"), shelf.get("b"), shelf.get("c")].map(|one| one.as_deref().copied()), [Some(1), None, Some(3)]);
        shelf.put("a", 11, Arc::new(4));
        assert!(shelf.get("a").is_none() && shelf.get("c").is_none(), "what alone is too much is not kept");
        shelf.put("d", 1, Arc::new(5));
        tokio::time::advance(LIFETIME).await;
        assert!(shelf.get("d").is_none());
    }
}
