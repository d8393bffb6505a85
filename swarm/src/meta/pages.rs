//! On which page of a listing a name is, without walking there from the first: a walk of 1,000 pages for each of a million keys takes minutes.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use herring_http_api::peer::MetaQuestion;
use herring_origin::Page;

/// So many are kept before it is looked for the first time which of them are of use: the pages of ten million keys.
const FEW: usize = 10_000;
/// Keys of a page that are asked for one by one before all of it is asked for again.
const MISSES: u8 = 8;

/// The pages that were remembered. Pages follow each other in order, nearly: what is missed is asked for.
#[derive(Default)]
pub(crate) struct Pages(Mutex<Index>);

#[derive(Default)]
struct Index {
    /// By origin, directory and the first name on the page.
    noted: BTreeMap<At, Noted>,
    /// With how many it was last looked which of them are of use.
    used: usize,
}

/// Origin, directory and name.
type At = (String, String, String);

struct Noted {
    token: Option<String>,
    /// Names on it, or behind it, that were not remembered when they were asked for.
    misses: u8,
}

impl Pages {
    /// Notes a page in the place of those that began within it. `is_kept`: whether a page is still remembered; at most as many others are noted.
    pub fn note(&self, question: &MetaQuestion, page: &Page, is_kept: impl Fn(&MetaQuestion) -> bool) {
        let MetaQuestion::Page { origin, prefix, token } = question else { return };
        let (Some(first), Some(last)) = (page.entries.first(), page.entries.last()) else { return };
        // A peer's page may be in no order.
        if first.name() > last.name() {
            return;
        }
        let at = |name: &str| (origin.clone(), prefix.clone(), name.to_owned());
        let index = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let within: Vec<_> = index.noted.range(at(first.name())..at(last.name())).map(|(at, _)| at.clone()).collect();
        within.iter().for_each(|at| drop(index.noted.remove(at)));
        index.noted.insert(at(first.name()), Noted { token: token.clone(), misses: 0 });
        if index.noted.len() > FEW.max(2 * index.used) {
            index.noted.retain(|at, noted| is_kept(&page_at(at, noted)));
            index.used = index.noted.len();
        }
    }

    /// The pages that a name in a directory may be on, the first first: an object that is a directory as well may end one page and begin the next.
    pub fn of(&self, origin: &str, directory: &str, name: &str) -> Vec<MetaQuestion> {
        let at = |name: &str| (origin.to_owned(), directory.to_owned(), name.to_owned());
        let index = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut until = index.noted.range(at("")..=at(name)).rev();
        let last = until.next();
        let before = until.next().filter(|_| last.is_some_and(|((.., first), _)| first == name));
        before.into_iter().chain(last).map(|(at, noted)| page_at(at, noted)).collect()
    }

    /// What is remembered does not tell of a name. The page that it may be on, where others of it were missed as well: one question for all of them.
    pub fn missed(&self, origin: &str, directory: &str, name: &str) -> Option<MetaQuestion> {
        let at = |name: &str| (origin.to_owned(), directory.to_owned(), name.to_owned());
        let mut index = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, noted) = index.noted.range_mut(at("")..=at(name)).next_back()?;
        noted.misses += 1;
        if noted.misses < MISSES {
            return None;
        }
        noted.misses = 0;
        Some(page_at(at, noted))
    }
}

fn page_at((origin, prefix, _): &At, noted: &Noted) -> MetaQuestion {
    MetaQuestion::Page { origin: origin.clone(), prefix: prefix.clone(), token: noted.token.clone() }
}

#[cfg(test)]
mod tests {
    use herring_origin::Listed;

    use super::*;

    fn asked(token: usize) -> MetaQuestion {
        let token = (token > 0).then(|| token.to_string());
        MetaQuestion::Page { origin: "o".into(), prefix: "d".into(), token }
    }

    fn page(names: &[String]) -> Page {
        Page { entries: names.iter().map(|name| Listed::Directory { name: name.clone() }).collect(), next: None }
    }

    fn name(index: usize) -> String {
        format!("{index:07}")
    }

    #[test]
    fn a_name_is_found_on_one_of_a_thousand_pages() {
        let pages = Pages::default();
        (0..1000).for_each(|at| pages.note(&asked(at), &page(&[name(10 * at), name(10 * at + 9)]), |_| true));
        for index in 0..10_000 {
            let boundary = index % 10 == 0 && index > 0;
            let wanted: Vec<_> = (index / 10 - usize::from(boundary)..=index / 10).map(asked).collect();
            assert_eq!(pages.of("o", "d", &name(index)), wanted);
        }
        assert_eq!(pages.of("o", "d", "z"), [asked(999)]);
        assert_eq!((pages.of("o", "c", "z"), pages.of("o", "e", "z"), pages.of("o", "d", "")), (vec![], vec![], vec![]));
    }

    #[test]
    fn a_page_takes_the_place_of_those_that_began_within_it() {
        let pages = Pages::default();
        pages.note(&asked(1), &page(&[name(3), name(5)]), |_| true);
        pages.note(&asked(2), &page(&[name(5), name(9)]), |_| true);
        pages.note(&asked(0), &page(&[name(2), name(5)]), |_| true);
        assert_eq!(pages.of("o", "d", &name(4)), [asked(0)]);
        assert_eq!(pages.of("o", "d", &name(5)), [asked(0), asked(2)]);
    }

    #[test]
    fn a_page_of_which_many_are_missed_is_asked_for_again() {
        let pages = Pages::default();
        (0..2).for_each(|at| pages.note(&asked(at), &page(&[name(10 * at), name(10 * at + 9)]), |_| true));
        for round in 0..3 {
            let missed: Vec<_> = (0..MISSES as usize).map(|index| pages.missed("o", "d", &name(10 + index))).collect();
            assert_eq!(missed.iter().flatten().collect::<Vec<_>>(), [&asked(1)], "{round}");
        }
        assert!((0..MISSES - 1).all(|_| pages.missed("o", "d", &name(3)).is_none()));
        pages.note(&asked(0), &page(&[name(0), name(9)]), |_| true);
        assert_eq!(pages.missed("o", "d", &name(3)), None, "it was just listed");
        assert_eq!(pages.missed("o", "other", &name(3)), None);
    }

    #[test]
    fn a_page_in_no_order_is_not_noted() {
        let pages = Pages::default();
        pages.note(&asked(0), &page(&[name(5), name(3)]), |_| true);
        assert!(pages.of("o", "d", "z").is_empty());
    }

    #[test]
    fn what_is_not_remembered_any_more_is_not_noted_for_ever() {
        let pages = Pages::default();
        for at in 0..10 * FEW {
            pages.note(&asked(at), &page(&[name(at)]), |question| *question == asked(at));
            assert!(pages.0.lock().unwrap().noted.len() <= FEW);
        }
        assert_eq!(pages.of("o", "d", "z"), [asked(10 * FEW - 1)]);
    }
}
