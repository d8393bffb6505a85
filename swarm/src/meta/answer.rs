//! What this node answers its peers about origins, and how it asks an origin on their behalf and its own. It never asks another owner
//! on a peer's behalf.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use herring_http_api::peer::{MetaCall, MetaQuestion, MetaReply};
use herring_origin::{ObjectInfo, Origin, OriginError};
use tokio::sync::SemaphorePermit;
use tokio::time::timeout;

use super::ask::count;
use super::json;
use super::key_of;
use super::known::{Known, Said, millis};
use super::listed::first_page_of;
use super::question::origin_of;
use super::word::{Refusal, Told, Word, word_of};
use crate::{Content, ServeError, Source, Swarm};

/// An owner shows life within this time, be it to say that it still waits. Much less than the 500 ms (`health/pace.rs`) after which an asker goes on at the earliest.
pub(super) const LIFE: Duration = Duration::from_millis(200);
/// What an origin refused so lately it is not asked again, though many ask; after that it is, whatever answer would do for the asker.
const REFUSED: Duration = Duration::from_secs(1);
/// How long a question waits for its turn with an origin: as long as another one may take.
const TURN: Duration = Duration::from_secs(60);

impl Swarm {
    /// Answers a peer: as an owner of the question, or from memory, or takes note.
    pub async fn answer_meta(&self, call: MetaCall) -> Result<MetaReply, ServeError> {
        match call {
            MetaCall::Ask { question, newest_ms, reading } => {
                self.answer_question(&question, newest_ms.map(Duration::from_millis), reading).await
            }
            MetaCall::Remembered { question } => {
                let origin = self.0.origins.get(origin_of(&question)).ok_or(ServeError::NotHere)?;
                let known = self.recall_all(origin, &question).await.ok_or(ServeError::NotHere)?;
                self.tell(origin, &question, Ok(known)).await
            }
            MetaCall::Hold { origin, ms } => {
                self.hold_origin(&origin, Duration::from_millis(ms));
                Ok(MetaReply::Held)
            }
        }
    }

    async fn answer_question(
        &self,
        question: &MetaQuestion,
        newest: Option<Duration>,
        reading: u64,
    ) -> Result<MetaReply, ServeError> {
        let origin = self.0.origins.get(origin_of(question)).ok_or(ServeError::NotHere)?;
        if let Some(known) = self.acceptable(origin, question, newest).await {
            return self.tell(origin, question, Ok(known)).await;
        }
        if let Some((at, refusal)) = self.0.meta.refusals.get(question)
            && at.elapsed() <= newest.unwrap_or(REFUSED).min(REFUSED)
        {
            return self.tell(origin, question, Err(refusal)).await;
        }
        match timeout(LIFE, self.ask_origin(question, newest, reading)).await {
            Ok(said) => self.tell(origin, question, said).await,
            Err(_) => Ok(MetaReply::Asking),
        }
    }

    /// Asks the origin, once however many wait. Who is not waited for any longer has done no harm: the answer is kept.
    pub(super) async fn ask_origin(&self, question: &MetaQuestion, newest: Option<Duration>, reading: u64) -> Said {
        if !matches!(question, MetaQuestion::Pin { .. }) {
            self.ready_origin(origin_of(question)).await.map_err(Refusal::from)?;
        }
        let (swarm, asked, began) = (self.clone(), question.clone(), Instant::now());
        let flight = || async move {
            let newest = newest.map(|newest| newest.saturating_add(began.elapsed()));
            swarm.question_origin(&asked, newest, reading).await
        };
        let said = self.0.meta.questions.join(question.clone(), flight).await;
        said.unwrap_or_else(|| Err(Refusal::Unavailable("this node is shutting down".to_owned())))
    }

    async fn question_origin(&self, question: &MetaQuestion, newest: Option<Duration>, reading: u64) -> Said {
        let origin = self.0.origins.get(origin_of(question)).ok_or_else(|| Refusal::Invalid("no such origin".to_owned()))?;
        // Another may have landed between the last look and this flight's start.
        if let Some(known) = self.acceptable(origin, question, newest).await {
            return Ok(known);
        }
        let _turn = self.turn().await?;
        let (asked, identity) = (Instant::now(), self.identity(origin, question));
        // Here and not for each who waits for it.
        count(question, "origin");
        match self.put_to_origin(origin, question, reading).await.or_else(word_of) {
            Ok(_) if identity != self.identity(origin, question) => {
                Err(Refusal::Unavailable("its commit is another one by now".to_owned()))
            }
            Ok(word) => {
                self.0.meta.refusals.remove(question);
                Ok(self.keep(origin, question, Known::new(word, asked.elapsed(), true)))
            }
            Err(refusal) => {
                if refusal.is_passing() {
                    self.0.meta.fell_ill(question);
                }
                self.0.meta.refusals.insert(question.clone(), (Instant::now(), refusal.clone()));
                Err(refusal)
            }
        }
    }

    async fn put_to_origin(&self, origin: &Origin, question: &MetaQuestion, reading: u64) -> Result<Word, OriginError> {
        match question {
            MetaQuestion::Key { key, .. } if reading > 0 && !self.has_first(origin, question).await => {
                self.or_directory(origin, key, self.open_first(origin, key, reading).await).await
            }
            MetaQuestion::Key { key, .. } => self.or_directory(origin, key, origin.head(key).await).await,
            MetaQuestion::Page { prefix, token, .. } => self.put_page(origin, prefix, token.as_deref()).await,
            MetaQuestion::Document { path, .. } => Ok(Word::Document(origin.document(path).await?)),
            MetaQuestion::Pin { .. } => self.find_commit(origin, question).await,
        }
    }

    /// Where a bucket has both `a` and `a/b`, `a` is the object.
    async fn or_directory(
        &self,
        origin: &Origin,
        key: &str,
        object: Result<ObjectInfo, OriginError>,
    ) -> Result<Word, OriginError> {
        match object {
            Ok(info) => Ok(Word::Object(info)),
            Err(OriginError::NotFound { .. }) if self.is_directory(origin, key).await? => Ok(Word::Directory),
            Err(error) => Err(error),
        }
    }

    /// Where only a listing tells, its first page is kept: `ls` asks whether there is a directory, and then for that page, of the same owner.
    async fn is_directory(&self, origin: &Origin, key: &str) -> Result<bool, OriginError> {
        if key.is_empty() || !origin.tells_by_listing() {
            return origin.is_directory(key).await;
        }
        let (question, asked) = (first_page_of(origin.name(), key), Instant::now());
        match self.put_page(origin, key, None).await {
            Ok(page) => {
                self.keep(origin, &question, Known::new(page, asked.elapsed(), true));
                Ok(true)
            }
            Err(OriginError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn put_page(&self, origin: &Origin, prefix: &str, token: Option<&str>) -> Result<Word, OriginError> {
        Ok(Word::Page(Arc::new(origin.list(prefix, token).await?)))
    }

    /// An object's version and its first bytes in one question. They become the flights of its first chunks, whose owner this node is as it is
    /// the question's.
    async fn open_first(&self, origin: &Origin, key: &str, reading: u64) -> Result<ObjectInfo, OriginError> {
        let chunk_size = u64::from(self.0.config.chunk_size);
        let most = reading.min(Self::first_run(chunk_size)).next_multiple_of(chunk_size);
        let (info, parts) = origin.open(key, most).await?;
        if let (Some(parts), Ok(content)) = (parts, self.object_content(&info)) {
            self.receive_first(&content, most, parts);
        }
        Ok(info)
    }

    /// Whether the first bytes of the version that was there last are here, or on their way: then most likely only the version is news.
    async fn has_first(&self, origin: &Origin, question: &MetaQuestion) -> bool {
        let known = match self.recall(origin, question).await.as_ref().map(|known| &known.word) {
            Some(Word::Object(info)) => self.object_content(info).ok().map(|content| content.version()),
            _ => None,
        };
        // A peer may know a newer one.
        let asked_for = self.0.meta.asked_for.get(&hash_of(question));
        let mut versions = known.into_iter().chain(asked_for);
        versions.any(|version| self.0.store.get(&version.0).is_some_and(|entry| entry.has(0)) || self.is_brought(version, 0))
    }

    /// A peer asks this node for an object's chunk.
    pub(crate) fn note_asked(&self, content: &Content) {
        if let Source::Object(object) = content.source() {
            self.0.meta.asked_for.insert(hash_of(&key_of(&object.origin, &object.key)), content.version());
        }
    }

    /// Where the origin is being asked what is at the key, and for the first bytes with it, those will do for who asks for a chunk as well. It is not kept
    /// waiting for long.
    pub(crate) async fn await_first(&self, content: &Content, chunk: u32) {
        let Source::Object(object) = content.source() else { return };
        let (question, chunk_size) = (key_of(&object.origin, &object.key), content.geometry().chunk_size());
        let is_first = u64::from(chunk) * u64::from(chunk_size) < Self::first_run(chunk_size.into());
        if is_first && let Some(answer) = self.0.meta.questions.running(&question) {
            let _ = timeout(LIFE, answer).await;
        }
    }

    async fn tell(&self, origin: &Origin, question: &MetaQuestion, said: Said) -> Result<MetaReply, ServeError> {
        let (mut age_ms, weight) = said.as_ref().map_or((0, 0), |known| (millis(known.age()).max(1), known.word.weight()));
        if matches!(question, MetaQuestion::Pin { .. }) && self.0.meta.solitary().contains(origin.name()) {
            // Whoever else has one knows better.
            age_ms = 0;
        }
        let told = Told { origin: self.identity(origin, question), said: said.map(|known| known.word.clone()) };
        let answer = json::write(told, weight).await.map_err(ServeError::Invalid)?;
        Ok(MetaReply::Answer { answer, age_ms })
    }

    async fn turn(&self) -> Result<SemaphorePermit<'_>, Refusal> {
        let busy =
            || Refusal::Unavailable(format!("this node asks origins so much that no turn came within {} s", TURN.as_secs()));
        match timeout(TURN, self.0.meta.turns.acquire()).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) | Err(_) => Err(busy()),
        }
    }
}

fn hash_of(question: &MetaQuestion) -> u64 {
    let mut hasher = DefaultHasher::new();
    question.hash(&mut hasher);
    hasher.finish()
}
