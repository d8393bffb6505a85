//! What is kept of answers, in memory and in the records, and when it is taken for true.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use herring_http_api::peer::MetaQuestion;
use herring_origin::Origin;
use herring_store::Table;

use super::json::{self, INLINE};
use super::kept::Kept;
use super::known::{Known, NOTHING, lifetime, millis};
use super::word::Word;
use crate::Swarm;

impl Swarm {
    /// What is remembered, if it is young enough to be believed and nothing speaks against it.
    pub(super) async fn believed(&self, origin: &Origin, question: &MetaQuestion) -> Option<Arc<Known>> {
        let known = match self.latest(origin, question) {
            // Only what is true for ever is believed from before a restart.
            None if lifetime(origin, question, &Word::Directory) == Duration::MAX => self.recall(origin, question).await?,
            known => known?,
        };
        let is_young = known.age() < lifetime(origin, question, &known.word);
        (is_young && !self.0.meta.is_doubtful(question, &known)).then_some(known)
    }

    /// As [`believed`](Self::believed), or where it is said how new an answer must be, that.
    pub(super) async fn acceptable(
        &self,
        origin: &Origin,
        question: &MetaQuestion,
        newest: Option<Duration>,
    ) -> Option<Arc<Known>> {
        let Some(newest) = newest else { return self.believed(origin, question).await };
        let known = self.latest(origin, question)?;
        // What there is not may be made soon, however old an answer would do.
        let newest = if known.word == Word::Nothing { newest.min(NOTHING) } else { newest };
        (known.is_within(newest) && !self.0.meta.is_doubtful(question, &known)).then_some(known)
    }

    /// How long ago something changed, as long as an answer from before it could still be believed. Later it is no measure for how new an
    /// answer must be.
    pub(super) fn doubted_lately(&self, origin: &Origin, question: &MetaQuestion) -> Option<Duration> {
        self.0.meta.doubted(question).filter(|since| *since < lifetime(origin, question, &Word::Directory))
    }

    /// What is remembered, however old.
    pub(super) async fn recall(&self, origin: &Origin, question: &MetaQuestion) -> Option<Arc<Known>> {
        let own = self.recall_own(origin, question).await;
        self.latest(origin, question).or(own)
    }

    /// The same, be it from a listing of long ago.
    pub(super) async fn recall_all(&self, origin: &Origin, question: &MetaQuestion) -> Option<Arc<Known>> {
        self.recall_listing(origin, question).await;
        self.recall(origin, question).await
    }

    /// The same of the answers to this very question.
    pub(super) async fn recall_own(&self, origin: &Origin, question: &MetaQuestion) -> Option<Arc<Known>> {
        if let Some(known) = self.0.meta.answers.get(question) {
            return Some(known);
        }
        let (said_ms, word) = self.recorded(origin, question).await?;
        let age = Duration::from_millis(now_ms().saturating_sub(said_ms));
        Some(self.keep_old(origin, question, word, age))
    }

    /// The last that was written down, and when it was said.
    async fn recorded(&self, origin: &Origin, question: &MetaQuestion) -> Option<(u64, Word)> {
        let (key, identity, mut last) = (record_key(question), self.identity(origin, question), None);
        let tables = [table_of(question, &Word::Directory), table_of(question, &Word::Nothing)];
        for table in tables {
            let Ok(Some(kept)) = self.0.store.records().get(table, &key) else { continue };
            let Ok(kept) = json::read::<Kept>(kept).await else { continue };
            let (is_this, said_ms, word) = (kept.origin == identity, kept.said_ms, kept.into_word());
            if is_this && word.answers(question) && last.as_ref().is_none_or(|(last_ms, _)| said_ms > *last_ms) {
                last = Some((said_ms, word));
            }
        }
        last
    }

    /// Keeps an answer whose age was measured by clocks that may be wrong: it is not taken for young.
    pub(super) fn keep_old(&self, origin: &Origin, question: &MetaQuestion, word: Word, age: Duration) -> Arc<Known> {
        self.0.meta.remember(question, Known::new(word, age.max(origin.ttl()).max(NOTHING), false))
    }

    /// A commit that all others have as well, or will hear of.
    pub(super) fn keep_commit(&self, origin: &Origin, question: &MetaQuestion, word: Word) {
        let known = self.keep_old(origin, question, word, Duration::ZERO);
        self.write_down(origin, question, &known);
    }

    /// Keeps an answer unless there is a younger one; that is what is returned then.
    pub(super) fn keep(&self, origin: &Origin, question: &MetaQuestion, mut known: Known) -> Arc<Known> {
        let meta = &self.0.meta;
        meta.answered(origin.name(), known.age());
        let before = meta.answers.get(question);
        match before {
            Some(before) if before.age() < known.age() => return before,
            Some(before) if before.word == known.word => {
                // Those who read it go on with what they have open.
                if let Some(content) = before.content.get() {
                    let _ = known.content.set(content.clone());
                }
                known.written = before.written;
            }
            _ => {}
        }
        let (table, written) = (table_of(question, &known.word), meta.written.load(Relaxed));
        // Before a quarter of what is remembered is newer: what was written longest ago goes first, and this was said again.
        let is_recent = |at: u64| written - at < self.0.store.records().bound_of(table) / 4;
        if !known.written.is_some_and(is_recent) {
            self.write_down(origin, question, &known);
            known.written = Some(written);
        }
        meta.remember(question, known)
    }

    /// What must be the same for an answer to be about this origin. While a configuration is rolled out, two nodes may mean two origins by one
    /// name; and a repository at another commit is another one.
    pub(super) fn identity(&self, origin: &Origin, question: &MetaQuestion) -> String {
        let commit = self.0.meta.commit(origin.name()).filter(|_| !matches!(question, MetaQuestion::Pin { .. }));
        commit.map_or_else(|| origin.identity().to_owned(), |commit| format!("{}#{commit}", origin.identity()))
    }

    /// For times when the origin does not answer, and of commits for ever. May be lost: then it is asked again.
    fn write_down(&self, origin: &Origin, question: &MetaQuestion, known: &Known) {
        if matches!(question, MetaQuestion::Pin { .. }) && self.0.meta.solitary().contains(origin.name()) {
            return;
        }
        let (key, table, word) = (record_key(question), table_of(question, &known.word), known.word.clone());
        self.0.meta.written.fetch_add((key.len() + word.weight()) as u64, Relaxed);
        let (origin, said_ms) = (self.identity(origin, question), now_ms().saturating_sub(millis(known.age())));
        let records = self.0.store.records().clone();
        let write = move || match serde_json::to_vec(&Kept::new(origin, said_ms, &word)) {
            Ok(value) => records.note(table, key, value),
            Err(error) => tracing::debug!(%error, "an answer cannot be written down"),
        };
        // Nobody waits for it.
        if known.word.weight() > INLINE {
            self.0.tasks.spawn_blocking_on(write, &self.0.runtime);
        } else {
            write();
        }
    }
}

/// Where it is written down.
fn table_of(question: &MetaQuestion, word: &Word) -> Table {
    match (question, word) {
        (MetaQuestion::Pin { .. }, _) => Table::Commits,
        (_, Word::Nothing) => Table::Misses,
        _ => Table::Metadata,
    }
}

fn record_key(question: &MetaQuestion) -> String {
    serde_json::to_string(question).expect("questions are made of texts, and writing to memory does not fail")
}

fn now_ms() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    millis(since_1970)
}
