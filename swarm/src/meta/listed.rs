//! What listings say of the keys in them, which is what a question for each of them would say: `ls` and `cat *` cost an origin one listing, and
//! what was listed is known when the origin is gone.

use std::sync::Arc;
use std::time::Duration;

use herring_blob::ObjectRef;
use herring_http_api::peer::MetaQuestion;
use herring_origin::{Listed, ObjectInfo, Origin, Page};

use super::ask::Learnt;
use super::known::{Known, lifetime};
use super::word::Word;
use crate::Swarm;

/// Pages of one directory that are brought back to memory for a key at most, where it is not known which it is on: 100,000 keys.
const PAGES: usize = 100;

impl Swarm {
    /// The youngest of what is in memory about it, be it from the listing that it is in.
    pub(super) fn latest(&self, origin: &Origin, question: &MetaQuestion) -> Option<Arc<Known>> {
        let own = self.0.meta.answers.get(question);
        let Some((_, age, word)) = self.listed(question) else { return own };
        if own.as_ref().is_some_and(|own| own.age() <= age) {
            return own;
        }
        let known = Known::listed(word, age);
        Some(match own {
            Some(_) => self.keep(origin, question, known),
            // Its listing is remembered and written down already.
            None => Arc::new(known),
        })
    }

    /// The page that a question about a key can be answered from, its age and the answer.
    pub(super) fn listed(&self, question: &MetaQuestion) -> Option<(MetaQuestion, Duration, Word)> {
        let MetaQuestion::Key { origin, key } = question else { return None };
        self.0.meta.pages.of(origin, directory(key), name(key)).into_iter().find_map(|asked| {
            let known = self.0.meta.answers.get(&asked)?;
            let Word::Page(page) = &known.word else { return None };
            let word = word(origin, key, find(page, name(key))?)?;
            Some((asked, known.age(), word))
        })
    }

    /// Lists again what a key is in that is only looked at, where many of its page were asked for one by one: they were forgotten, or it is too long ago.
    /// `None` where that tells nothing of the key.
    pub(super) async fn list_again(&self, origin: &Origin, question: &MetaQuestion, patience: Duration) -> Option<Learnt> {
        let MetaQuestion::Key { origin: of, key } = question else { return None };
        if lifetime(origin, question, &Word::Directory).is_zero() {
            return None;
        }
        let page = self.0.meta.pages.missed(of, directory(key), name(key))?;
        if self.believed(origin, &page).await.is_some() {
            return None;
        }
        match self.ask_within(&page, patience, 0).await {
            Err(failed) if failed.refusal.is_passing() => Some(Err(failed)),
            _ => self.believed(origin, question).await.map(Ok),
        }
    }

    /// Brings back to memory what was written down of the listing that a key is in.
    pub(super) async fn recall_listing(&self, origin: &Origin, question: &MetaQuestion) {
        let MetaQuestion::Key { origin: of, key } = question else { return };
        for asked in self.0.meta.pages.of(of, directory(key), name(key)) {
            self.recall_own(origin, &asked).await;
        }
        if self.listed(question).is_some() {
            return;
        }
        let mut next = Some(first_page(of, key));
        for _ in 0..PAGES {
            let Some(asked) = next else { return };
            let Some(known) = self.recall_own(origin, &asked).await else { return };
            let Word::Page(page) = &known.word else { return };
            next = page_behind(asked, page, key).filter(|_| find(page, name(key)).is_none());
        }
    }
}

fn directory(key: &str) -> &str {
    key.rsplit_once('/').map_or("", |(directory, _)| directory)
}

fn name(key: &str) -> &str {
    key.rsplit_once('/').map_or(key, |(_, name)| name)
}

/// The listing that a key is in if it is anywhere.
pub(super) fn first_page(origin: &str, key: &str) -> MetaQuestion {
    first_page_of(origin, directory(key))
}

pub(super) fn first_page_of(origin: &str, prefix: &str) -> MetaQuestion {
    MetaQuestion::Page { origin: origin.to_owned(), prefix: prefix.to_owned(), token: None }
}

/// Where to look next for a key that is not on this page. Pages follow each other in order, nearly: what is missed is asked for.
fn page_behind(asked: MetaQuestion, page: &Page, key: &str) -> Option<MetaQuestion> {
    let MetaQuestion::Page { origin, prefix, .. } = asked else { return None };
    let is_behind = page.entries.last().is_none_or(|last| last.name() < name(key));
    let token = page.next.clone().filter(|_| is_behind)?;
    Some(MetaQuestion::Page { origin, prefix, token: Some(token) })
}

/// The last of that name: the directory comes before the object.
fn find<'a>(page: &'a Page, name: &str) -> Option<&'a Listed> {
    let end = page.entries.partition_point(|entry| entry.name() <= name);
    page.entries[..end].last().filter(|entry| entry.name() == name)
}

/// Nothing where the listing names no version, or one that does not tell two contents apart.
fn word(origin: &str, key: &str, entry: &Listed) -> Option<Word> {
    let Listed::Object { size, modified, version, .. } = entry else { return Some(Word::Directory) };
    let version = version.clone().filter(|version| !version.starts_with("W/"))?;
    let object = ObjectRef { origin: origin.to_owned(), key: key.to_owned(), version, size: *size };
    Some(Word::Object(ObjectInfo { object, modified: *modified }))
}
