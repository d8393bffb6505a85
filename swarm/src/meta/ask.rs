//! How this node finds out something about an origin: from memory, from the question's owners on the ring, from the origin itself, and
//! where that does not answer, from whoever remembers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::FuturesUnordered;
use herring_gossip::View;
use herring_http_api::client::PeerError;
use herring_http_api::peer::{MetaCall, MetaQuestion, MetaReply};
use herring_origin::Origin;
use metrics::counter;
use tokio::time::timeout;

use super::known::{Known, lifetime, millis};
use super::question::{kind, origin_of, point_of, what};
use super::word::{Refusal, Told, Word};
use crate::candidates::Candidate;
use crate::config::OBJECT_DEADLINE;
use crate::flight::Answer;
use crate::{OpenError, Swarm, Tried, metrics as m};

/// What came of asking around.
pub(crate) type Learnt = Result<Arc<Known>, Failed>;

/// Why nothing was found out, and who was asked.
#[derive(Debug, Clone)]
pub(crate) struct Failed {
    refusal: Refusal,
    tried: Tried,
}

/// Why an owner's answer is of no use.
enum Useless {
    /// It is dead, or hangs, or speaks nonsense.
    Silent(String),
    /// It does not know the origin, or another one by that name.
    Stranger,
    Refused(Refusal),
}

/// How long an origin may take where an old answer is at hand. After that it is given, and the new one comes for the next who asks.
const SLOW_ORIGIN: Duration = Duration::from_secs(5);
/// The body of an answer, once its head is here: at most a hub's document of 32 MiB.
const ANSWER_BODY: Duration = Duration::from_secs(10);

impl Swarm {
    /// What an origin says to a question, or said as lately as its lifetime allows; longer ago where it does not answer.
    pub(super) async fn enquire(&self, question: &MetaQuestion) -> Result<Arc<Known>, OpenError> {
        let origin = self.ready_origin(origin_of(question)).await?;
        let learnt = self.find_out(origin, question).await;
        let (known, from) = learnt.map_err(|failed| failed.of(question))?;
        counter!(m::METADATA, "kind" => kind(question), "from" => from).increment(1);
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
            let learnt = swarm.find_out(origin, &question).await;
            match learnt.map_err(|failed| failed.of(&question))?.0.word.clone() {
                Word::Commit(commit) => Ok(commit),
                _ => Err(OpenError::NotFound { what: what(&question), tried: nothing(&question) }),
            }
        }
        .boxed()
    }

    /// An answer, and from where it came.
    async fn find_out(&self, origin: &Origin, question: &MetaQuestion) -> Result<(Arc<Known>, &'static str), Failed> {
        let meta = &self.0.meta;
        if let Some(known) = self.believed(origin, question) {
            self.renew(origin, question, &known);
            return Ok((known, "memory"));
        }
        let ill = meta.is_ill(origin.name());
        let old = match self.recall(origin, question) {
            None if ill => self.ask_who_remembers(origin, question).await,
            old => old,
        };
        if let Some(old) = old.clone().filter(|old| ill && !meta.is_doubtful(question, old)) {
            self.renew_now(question, None);
            return Ok((old, "stale"));
        }
        let failed = match self.ask_within(question, if old.is_some() { SLOW_ORIGIN } else { OBJECT_DEADLINE }).await {
            Ok(known) => return Ok((Arc::clone(&known), known.from())),
            Err(failed) if failed.refusal.is_passing() => failed,
            Err(failed) => return Err(failed),
        };
        let old = match old {
            None => self.ask_who_remembers(origin, question).await,
            old => old,
        };
        old.map(|old| (old, "stale")).ok_or(failed)
    }

    async fn ask_within(&self, question: &MetaQuestion, patience: Duration) -> Learnt {
        timeout(patience, self.ask_around(question)).await.unwrap_or_else(|_| {
            self.0.meta.fell_ill(question);
            let detail = format!("no answer within {} s", patience.as_secs());
            Err(Failed::new(Refusal::Unavailable(detail), Tried::default()))
        })
    }

    /// Joins whoever asks already. That one may have begun before something changed that this reader knows of: then only what is said from now
    /// on will do; and a third time, as an older question may have been joined once more.
    async fn ask_around(&self, question: &MetaQuestion) -> Learnt {
        let mut newest = None;
        for _ in 0..2 {
            match self.begin_asking(question, newest).await {
                Ok(Ok(known)) if self.0.meta.is_doubtful(question, &known) => newest = Some(Duration::ZERO),
                learnt => return learnt.unwrap_or_else(|_| Err(Failed::interrupted())),
            }
        }
        self.begin_asking(question, newest).await.unwrap_or_else(|_| Err(Failed::interrupted()))
    }

    /// One flight for all of this node's readers of a question. `newest`: only what the origin said within that time is news.
    fn begin_asking(&self, question: &MetaQuestion, newest: Option<Duration>) -> Answer<Learnt> {
        let (swarm, asked) = (self.clone(), question.clone());
        self.0.meta.asking.begin(question.clone(), move || async move { swarm.ask_owners(&asked, newest).await })
    }

    /// Asks for it again while the old answer is still believed, once three quarters of its time are over: who asks often never waits.
    fn renew(&self, origin: &Origin, question: &MetaQuestion, known: &Known) {
        let lifetime = lifetime(origin, question, &known.word);
        if known.word != Word::Nothing && known.age() > lifetime / 4 * 3 {
            self.renew_now(question, Some(lifetime / 2));
        }
    }

    fn renew_now(&self, question: &MetaQuestion, newest: Option<Duration>) {
        let Ok(permit) = Arc::clone(&self.0.meta.renewals).try_acquire_owned() else { return };
        let (swarm, asked) = (self.clone(), question.clone());
        // It needs nobody who waits for it.
        let _answer = self.0.meta.asking.begin(question.clone(), move || async move {
            let _renewal = permit;
            swarm.ask_owners(&asked, newest).await
        });
    }

    /// Asks the owners in the ring's order, which is the same on every node, so that one of them asks the origin for all. An owner that
    /// hangs or has hung is passed over; then, or where this node's own turn as an owner comes, the origin is asked from here.
    async fn ask_owners(&self, question: &MetaQuestion, newest: Option<Duration>) -> Learnt {
        let mut tried = Tried::default();
        let origin =
            self.origin(origin_of(question)).map_err(|error| Failed::new(Refusal::Invalid(error.to_string()), tried.clone()))?;
        let newest = newest.or_else(|| self.0.meta.doubted(question));
        if let Some(known) = self.acceptable(origin, question, newest) {
            return Ok(known);
        }
        let view = self.view();
        for owner in self.candidates(&view, point_of(origin, question)).owners {
            if self.is_me(&view, &owner) {
                break;
            }
            match self.ask_owner(&view, &owner, origin, question, newest).await {
                Ok(known) => return Ok(known),
                Err(Useless::Silent(why)) => tried.note(&owner.id, why),
                Err(Useless::Stranger) => tried.note(&owner.id, "knows another origin by that name, or none"),
                // Others may have credentials that this one lacks.
                Err(Useless::Refused(Refusal::Denied(why))) => tried.note(&owner.id, why),
                Err(Useless::Refused(Refusal::Unavailable(why))) => {
                    self.0.meta.fell_ill(question);
                    tried.note(&owner.id, &why);
                    // An origin in trouble is not asked by everyone who has an answer from before.
                    if self.recall(origin, question).is_some() {
                        return Err(Failed::new(Refusal::Unavailable(why), tried));
                    }
                    break;
                }
                Err(Useless::Refused(refusal)) => {
                    tried.note(&owner.id, refusal.detail());
                    return Err(Failed::new(refusal, tried));
                }
            }
        }
        self.ask_origin(question, newest).await.map_err(|refusal| {
            tried.note(format!("origin {}", origin.name()), refusal.detail());
            Failed::new(refusal, tried)
        })
    }

    /// An owner that waits for the origin says so within 200 ms, and is asked again: slow is not silent.
    async fn ask_owner(
        &self,
        view: &View,
        owner: &Candidate,
        origin: &Origin,
        question: &MetaQuestion,
        mut newest: Option<Duration>,
    ) -> Result<Arc<Known>, Useless> {
        let health = &self.0.meta.health;
        if view.suspect(&owner.id) || health.failed_lately(&owner.id) {
            return Err(Useless::Silent("was silent just now".to_owned()));
        }
        let (began, first) = (Instant::now(), newest.unwrap_or_default());
        while began.elapsed() < OBJECT_DEADLINE {
            let call = MetaCall::Ask { question: question.clone(), newest_ms: newest.map(millis) };
            match self.call(view, owner, &call).await? {
                MetaReply::Asking => newest = Some(first + began.elapsed()),
                MetaReply::Answer { answer, age_ms } => return self.hear(origin, question, answer, age_ms).await,
                MetaReply::Held => return Err(Useless::Silent("answered another question".to_owned())),
            }
        }
        Err(Useless::Silent(format!("had no answer within {} s", OBJECT_DEADLINE.as_secs())))
    }

    /// One question to a peer, who shows life soon or counts as silent for a while: the next question does not wait for it.
    async fn call(&self, view: &View, peer: &Candidate, call: &MetaCall) -> Result<MetaReply, Useless> {
        let patience = self.0.config.owner_patience;
        let mut question = self.0.meta.health.ask(&peer.id, patience);
        let reply = self.0.peers.meta(peer.http, call, patience, &self.ask(view, patience + ANSWER_BODY)).await;
        match reply {
            Ok(reply) => {
                question.answered();
                Ok(reply)
            }
            Err(PeerError::NotFound) => {
                question.answered();
                Err(Useless::Stranger)
            }
            Err(error) => {
                question.failed();
                tracing::debug!(peer = %peer.id, %error, "a peer did not answer a question about an origin");
                Err(Useless::Silent(error.to_string()))
            }
        }
    }

    async fn hear(&self, origin: &Origin, question: &MetaQuestion, answer: String, age_ms: u64) -> Result<Arc<Known>, Useless> {
        let age = Duration::from_millis(age_ms);
        let told: Told = read(answer).await.map_err(|error| Useless::Silent(format!("answered what cannot be: {error}")))?;
        if told.origin != self.identity(origin, question) {
            return Err(Useless::Stranger);
        }
        match told.said {
            Ok(word) if word.answers(question) => Ok(self.keep(origin, question, Known::new(word, age, false))),
            Ok(_) => Err(Useless::Silent("answered another question".to_owned())),
            Err(refusal) => Err(Useless::Refused(refusal)),
        }
    }

    /// The youngest of what the others remember, owners and those who may have been: asked all at once, within an owner's patience.
    async fn ask_who_remembers(&self, origin: &Origin, question: &MetaQuestion) -> Option<Arc<Known>> {
        let view = self.view();
        let call = MetaCall::Remembered { question: question.clone() };
        let (owners, others) = self.candidates(&view, point_of(origin, question)).peers(view.me());
        let (asked, call, identity) = (owners.into_iter().chain(others), &call, self.identity(origin, question));
        let ask = |peer: Candidate| {
            let view = &view;
            async move {
                let MetaReply::Answer { answer, age_ms } = self.call(view, &peer, call).await.ok()? else { return None };
                Some((read(answer).await.ok()?, age_ms))
            }
        };
        let mut answers: FuturesUnordered<_> = asked.map(ask).collect();
        let mut youngest: Option<(u64, Word)> = None;
        while let Some(answer) = answers.next().await {
            let Some((Told { origin: from, said: Ok(word) }, age_ms)) = answer else { continue };
            let better = youngest.as_ref().is_none_or(|(youngest, _)| age_ms < *youngest);
            if from == identity && word.answers(question) && better {
                youngest = Some((age_ms, word));
            }
        }
        let (age_ms, word) = youngest?;
        Some(self.keep_old(origin, question, word, Duration::from_millis(age_ms)))
    }
}

impl Failed {
    fn new(refusal: Refusal, tried: Tried) -> Self {
        Self { refusal, tried }
    }

    fn interrupted() -> Self {
        Self::new(Refusal::Unavailable("this node is shutting down".to_owned()), Tried::default())
    }

    fn of(self, question: &MetaQuestion) -> OpenError {
        let (what, mut tried) = (what(question), self.tried);
        match self.refusal {
            Refusal::Denied(detail) => OpenError::Denied { detail },
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

fn nothing(question: &MetaQuestion) -> Tried {
    Tried::of(format!("origin {}", origin_of(question)), "has no such thing")
}

/// JSON above this is read off the runtime's threads: 1 MiB takes about 2 ms.
const READ_INLINE: usize = 1 << 20;

async fn read(answer: String) -> Result<Told, String> {
    let is_long = answer.len() > READ_INLINE;
    let parse = move || serde_json::from_str(&answer).map_err(|error| error.to_string());
    if is_long { tokio::task::spawn_blocking(parse).await.map_err(|error| error.to_string())? } else { parse() }
}
