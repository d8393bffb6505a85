//! How this node finds out something about an origin: from memory, from the question's owners on the ring, from the origin itself, and
//! where that does not answer, from whoever remembers.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use herring_http_api::peer::MetaQuestion;
use herring_origin::Origin;
use metrics::counter;
use tokio::time::{Instant, sleep, timeout};

use super::answer::LIFE;
use super::known::{Known, lifetime};
use super::question::{kind, origin_of, what};
use super::word::{Refusal, Word};
use crate::config::{OBJECT_DEADLINE, OUTAGE_PAUSE};
use crate::flight::Answer;
use crate::{OpenError, Swarm, Tried, metrics as m};

/// What came of asking around.
pub(crate) type Learnt = Result<Arc<Known>, Failed>;

/// Why nothing was found out, and who was asked.
#[derive(Debug, Clone)]
pub(crate) struct Failed {
    pub refusal: Refusal,
    pub tried: Tried,
}

impl Swarm {
    /// What an origin says to a question, or said as lately as its lifetime allows; longer ago where it does not answer.
    ///
    /// `reading`: who asks will read so many of the object's first bytes.
    pub(super) async fn enquire(&self, question: &MetaQuestion, reading: u64) -> Result<Arc<Known>, OpenError> {
        let origin = self.ready_origin(origin_of(question)).await?;
        let learnt = self.find_out(origin, question, reading).await;
        let (known, from) = learnt.map_err(|failed| failed.of(question))?;
        if from != "origin" {
            count(question, from);
        }
        match &known.word {
            Word::Nothing => Err(OpenError::NotFound { what: what(question), tried: nothing(question) }),
            Word::Unlisted(detail) => Err(OpenError::Unlisted { detail: detail.clone() }),
            _ => Ok(known),
        }
    }

    /// The commit of a hub's repository. Boxed, as each other question begins with this one.
    pub(super) fn learn_commit(&self, origin: &Origin) -> BoxFuture<'static, Result<String, OpenError>> {
        let (swarm, question) = (self.clone(), MetaQuestion::Pin { origin: origin.name().to_owned() });
        async move {
            let origin = swarm.origin(origin_of(&question))?;
            let learnt = swarm.find_out(origin, &question, 0).await;
            match learnt.map_err(|failed| failed.of(&question))?.0.word.clone() {
                Word::Commit(commit) => Ok(commit),
                _ => {
                    let what = format!("the repository or the revision of {}", origin.identity());
                    Err(OpenError::NotFound { what, tried: nothing(&question) })
                }
            }
        }
        .boxed()
    }

    /// An answer, and from where it came.
    async fn find_out(
        &self,
        origin: &Origin,
        question: &MetaQuestion,
        reading: u64,
    ) -> Result<(Arc<Known>, &'static str), Failed> {
        let meta = &self.0.meta;
        if let Some(known) = self.believed(origin, question).await {
            self.renew(origin, question, &known);
            return Ok((known, "memory"));
        }
        let ill = meta.is_ill(origin.name());
        let old = if ill { self.remembered(origin, question).await } else { self.recall(origin, question).await };
        if let Some(old) = old.clone().filter(|old| ill && !meta.is_doubtful(question, old)) {
            self.renew_now(question, None);
            return Ok((old, "stale"));
        }
        // Who asks gives up before that, and says whom it asked.
        let patience = if old.is_some() { self.0.config.slow_origin } else { OBJECT_DEADLINE + LIFE };
        let began = Instant::now();
        let mut listed = if reading == 0 { self.list_again(origin, question, patience).await } else { None };
        loop {
            let learnt = match listed.take() {
                Some(learnt) => learnt,
                None => self.ask_within(question, patience, reading).await,
            };
            let failed = match learnt {
                Ok(known) => return Ok((Arc::clone(&known), known.from())),
                Err(failed) if failed.refusal.is_passing() => failed,
                Err(failed) => return Err(failed),
            };
            if let Some(old) = self.remembered(origin, question).await {
                return Ok((old, "stale"));
            }
            match failed.refusal {
                Refusal::Unavailable(_) if meta.ill.may_be_over_soon(origin.name(), began, self.0.config.outage) => {
                    sleep(OUTAGE_PAUSE).await
                }
                _ => return Err(failed),
            }
        }
    }

    /// What was said before: what this node remembers, but that there was nothing only where nobody remembers something.
    async fn remembered(&self, origin: &Origin, question: &MetaQuestion) -> Option<Arc<Known>> {
        match self.recall_all(origin, question).await {
            Some(known) if known.word != Word::Nothing => Some(known),
            own => self.ask_who_remembers(origin, question).await.or(own),
        }
    }

    pub(super) async fn ask_within(&self, question: &MetaQuestion, patience: Duration, reading: u64) -> Learnt {
        timeout(patience, self.ask_around(question, reading)).await.unwrap_or_else(|_| {
            self.0.meta.fell_ill(question);
            let why = format!("had no answer within {} ms", patience.as_millis());
            Err(Failed { tried: Tried::of("this node", &why), refusal: Refusal::Unavailable(why) })
        })
    }

    /// Joins whoever asks already. That one may have begun before something changed that this reader knows of: then only what is said from now
    /// on will do; and a third time, as an older question may have been joined once more.
    async fn ask_around(&self, question: &MetaQuestion, reading: u64) -> Learnt {
        let mut newest = None;
        for _ in 0..2 {
            match self.begin_asking(question, newest, reading).await {
                Ok(Ok(known)) if self.0.meta.is_doubtful(question, &known) => newest = Some(Duration::ZERO),
                learnt => return learnt.unwrap_or_else(|_| Err(Failed::interrupted())),
            }
        }
        self.begin_asking(question, newest, reading).await.unwrap_or_else(|_| Err(Failed::interrupted()))
    }

    /// One flight for all of this node's readers of a question. `newest`: only what the origin said within that time is news.
    fn begin_asking(&self, question: &MetaQuestion, newest: Option<Duration>, reading: u64) -> Answer<Learnt> {
        let (swarm, asked) = (self.clone(), question.clone());
        self.0.meta.asking.begin(question.clone(), move || async move { swarm.ask_owners(&asked, newest, reading).await })
    }

    /// Asks for it again while the old answer is still believed, once three quarters of its time are over: who asks often never waits.
    fn renew(&self, origin: &Origin, question: &MetaQuestion, known: &Known) {
        let lifetime = lifetime(origin, question, &known.word);
        if known.word != Word::Nothing && known.age() > lifetime / 4 * 3 {
            // One listing for all that was found in it.
            let page = self.listed(question).filter(|_| known.listed).map(|(page, ..)| page);
            self.renew_now(page.as_ref().unwrap_or(question), Some(lifetime / 2));
        }
    }

    fn renew_now(&self, question: &MetaQuestion, newest: Option<Duration>) {
        let Ok(permit) = Arc::clone(&self.0.meta.renewals).try_acquire_owned() else { return };
        let (swarm, asked) = (self.clone(), question.clone());
        // It needs nobody who waits for it.
        let _answer = self.0.meta.asking.begin(question.clone(), move || async move {
            let _renewal = permit;
            swarm.ask_owners(&asked, newest, 0).await
        });
    }
}

impl Failed {
    fn interrupted() -> Self {
        Self { refusal: Refusal::Unavailable("this node is shutting down".to_owned()), tried: Tried::default() }
    }

    fn of(self, question: &MetaQuestion) -> OpenError {
        let (what, mut tried) = (what(question), self.tried);
        match self.refusal {
            Refusal::Denied(detail) => OpenError::Denied { detail: with_tried(&detail, &tried) },
            Refusal::Invalid(detail) => OpenError::InvalidKey { detail },
            Refusal::Busy(detail) | Refusal::Unavailable(detail) => {
                if tried.0.is_empty() {
                    tried.note(format!("origin {}", origin_of(question)), detail);
                }
                OpenError::Unavailable { what, tried }
            }
        }
    }
}

/// Who else was asked, where they said something else.
fn with_tried(detail: &str, tried: &Tried) -> String {
    let others = tried.0.iter().filter(|attempt| attempt.outcome != detail).cloned().collect::<Vec<_>>();
    if others.is_empty() { detail.to_owned() } else { format!("{detail}; asked as well: {}", Tried(others)) }
}

/// `from`: where the answer to one reader came from; `origin` is counted for each question that was put to one, however many wait for it.
pub(super) fn count(question: &MetaQuestion, from: &'static str) {
    counter!(m::METADATA, "kind" => kind(question), "from" => from).increment(1);
}

fn nothing(question: &MetaQuestion) -> Tried {
    Tried::of(format!("origin {}", origin_of(question)), "has no such thing")
}
