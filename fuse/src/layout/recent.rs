//! What was listed a moment ago.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use herring_swarm::{Listed, Page};

/// Pages that are remembered: more than the 10,000 names that `find` and `du` read before they ask for the first of them. The kernel takes what it lists for looked
/// up only where its reader looks at each name before the next; all others cost one question each without this.
const MOST: usize = 32;

/// The pages that were listed last, in all directories. They are mostly the swarm's own, so this holds 6 MB at most.
#[derive(Default)]
pub(crate) struct Recent {
    pages: Mutex<VecDeque<Of>>,
}

struct Of {
    origin: String,
    prefix: String,
    page: Arc<Page>,
    at: Instant,
    /// How often names had been taken back before it was asked for.
    since: u64,
}

impl Recent {
    pub fn note(&self, origin: &str, prefix: &str, page: &Arc<Page>, since: u64) {
        let mut pages = self.lock();
        pages.retain(|of| !Arc::ptr_eq(&of.page, page));
        if pages.len() == MOST {
            pages.pop_front();
        }
        pages.push_back(Of {
            origin: origin.to_owned(),
            prefix: prefix.to_owned(),
            page: Arc::clone(page),
            at: Instant::now(),
            since,
        });
    }

    /// What `name` was in a directory, if it was listed within `ttl` and no name was taken back since then.
    pub fn find(&self, origin: &str, prefix: &str, name: &str, since: u64, ttl: Duration) -> Option<Listed> {
        let pages = self.lock();
        let good = pages
            .iter()
            .rev()
            .filter(|of| of.since == since && of.at.elapsed() < ttl && of.origin == origin && of.prefix == prefix);
        let found: Vec<&Listed> = good.filter_map(|of| of.find(name)).collect();
        // Of an object and a directory of one name the object is what a lookup finds; they need not be in one page.
        let object = found.iter().find(|one| matches!(one, Listed::Object { .. }));
        object.or(found.first()).map(|one| (*one).clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Of>> {
        // No operation leaves it half done, so one that panicked did no harm.
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Of {
    /// The last of that name: the directory comes before the object.
    fn find(&self, name: &str) -> Option<&Listed> {
        let entries = &self.page.entries;
        let end = entries.partition_point(|one| one.name() <= name);
        entries[..end].last().filter(|one| one.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn directory(name: &str) -> Listed {
        Listed::Directory { name: name.into() }
    }

    fn object(name: &str) -> Listed {
        Listed::Object { name: name.into(), size: 1, modified: std::time::UNIX_EPOCH, version: None }
    }

    fn page(entries: &[Listed]) -> Arc<Page> {
        Arc::new(Page { entries: entries.to_vec(), next: None })
    }

    #[test]
    fn what_was_listed_is_found_for_as_long_as_it_holds() {
        let recent = Recent::default();
        recent.note("o", "p", &page(&[directory("a"), object("a"), object("b"), directory("c")]), 1);
        recent.note("o", "p", &page(&[object("c")]), 1);
        for (name, found) in
            [("a", Some(object("a"))), ("b", Some(object("b"))), ("c", Some(object("c"))), ("d", None), ("", None)]
        {
            assert_eq!(recent.find("o", "p", name, 1, LONG), found, "{name}");
        }
        assert_eq!(recent.find("o", "other", "a", 1, LONG), None);
        assert_eq!(recent.find("other", "p", "a", 1, LONG), None);
        assert_eq!(recent.find("o", "p", "a", 2, LONG), None, "a name was taken back since");
        assert_eq!(recent.find("o", "p", "a", 1, Duration::ZERO), None);
    }

    #[test]
    fn few_pages_are_kept() {
        let recent = Recent::default();
        for n in 0..100 {
            recent.note("o", "p", &page(&[object(&n.to_string())]), 0);
        }
        assert_eq!(recent.lock().len(), MOST);
        assert!(recent.find("o", "p", "99", 0, LONG).is_some() && recent.find("o", "p", "0", 0, LONG).is_none());
    }
}
