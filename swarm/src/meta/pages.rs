//! On which page of a listing a name is, without walking there from the first: a walk of 1,000 pages for each of a million keys takes minutes.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use herring_http_api::peer::MetaQuestion;
use herring_origin::Page;

/// So many are kept before it is looked for the first time which of them are of use.
const FEW: usize = 1000;

/// The pages that were remembered. Pages follow each other in order, nearly: what is missed is asked for.
#[derive(Default)]
pub(crate) struct Pages(Mutex<Index>);

#[derive(Default)]
struct Index {
    /// The tokens of pages by origin, directory and the first name on the page.
    tokens: BTreeMap<(String, String, String), Option<String>>,
    /// With how many it was last looked which of them are of use.
    used: usize,
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
        let within: Vec<_> = index.tokens.range(at(first.name())..at(last.name())).map(|(at, _)| at.clone()).collect();
        within.iter().for_each(|at| drop(index.tokens.remove(at)));
        index.tokens.insert(at(first.name()), token.clone());
        if index.tokens.len() > FEW.max(2 * index.used) {
            index.tokens.retain(|at, token| is_kept(&page_at(at, token)));
            index.used = index.tokens.len();
        }
    }

    /// The pages that a name in a directory may be on, the first first: an object that is a directory as well may end one page and begin the next.
    pub fn of(&self, origin: &str, directory: &str, name: &str) -> Vec<MetaQuestion> {
        let at = |name: &str| (origin.to_owned(), directory.to_owned(), name.to_owned());
        let index = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut until = index.tokens.range(at("")..=at(name)).rev();
        let last = until.next();
        let before = until.next().filter(|_| last.is_some_and(|((.., first), _)| first == name));
        before.into_iter().chain(last).map(|(at, token)| page_at(at, token)).collect()
    }
}

fn page_at((origin, prefix, _): &(String, String, String), token: &Option<String>) -> MetaQuestion {
    MetaQuestion::Page { origin: origin.clone(), prefix: prefix.clone(), token: token.clone() }
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
            assert!(pages.0.lock().unwrap().tokens.len() <= FEW);
        }
        assert_eq!(pages.of("o", "d", "z"), [asked(10 * FEW - 1)]);
    }
}
