//! Asking the owners of a question, and the other nodes what they remember.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use herring_gossip::View;
use herring_http_api::client::PeerError;
use herring_http_api::peer::{MetaCall, MetaQuestion, MetaReply};
use herring_origin::Origin;
use tokio::time::sleep;

use super::answer::LIFE;
use super::ask::{Failed, Learnt};
use super::json;
use super::known::{Known, millis};
use super::question::{origin_of, point_of};
use super::word::{Refusal, Told, Word};
use crate::candidates::Candidate;
use crate::config::OBJECT_DEADLINE;
use crate::{Swarm, Tried};

/// Whoever can be asked.
enum Whom {
    Owner(Candidate),
    Origin,
}

/// Why an answer is of no use.
enum Useless {
    /// It was not asked, or did not take the question.
    Away(String),
    /// It hangs, or died over it, or speaks nonsense.
    Silent(String),
    /// It does not know the origin, or another one by that name.
    Stranger,
    Refused(Refusal),
}

/// What follows from an answer that is of no use.
enum Then {
    AskTheNext,
    AskTheOrigin,
    GiveUp,
}

/// The body of an answer, once its head is here: at most a hub's document of 32 MiB.
const ANSWER_BODY: Duration = Duration::from_secs(10);

impl Swarm {
    /// Asks the owners in the ring's order, which is the same on every node, so that one of them asks the origin for all; where this node's own
    /// turn as an owner comes, or last, the origin is asked from here. The next is asked when one is of no use, and as well when there is no
    /// answer for long: one node's way to the origin may be broken, and another's not. The bytes are wanted of one of them only: the next is
    /// asked for them where the one before was certainly not asked, or the origin would send them up to four times; and where it refused to answer
    /// one, all who ask hear of it, and would each fetch what the chunks' owners fetch once.
    pub(super) async fn ask_owners(&self, question: &MetaQuestion, newest: Option<Duration>, mut reading: u64) -> Learnt {
        let (mut tried, mut refusal) = (Tried::default(), Refusal::Unavailable("nobody could be asked".to_owned()));
        let Ok(origin) = self.origin(origin_of(question)) else { return Err(Failed { refusal, tried }) };
        let (began, mut asked) = (Instant::now(), Vec::new());
        let newest = newest.or_else(|| self.doubted_lately(origin, question));
        if let Some(known) = self.acceptable(origin, question, newest).await {
            return Ok(known);
        }
        let view = self.met_view().await;
        let mut whoms = self.whoms(&view, origin, question);
        let alive = AtomicBool::new(false);
        let ask = |whom, reading| self.ask_one(&view, whom, origin, question, (newest, reading), &alive);
        let (mut asking, mut pauses) = (FuturesUnordered::new(), 0);
        loop {
            if asking.is_empty() {
                let Some(whom) = whoms.pop_front() else { return Err(Failed { refusal, tried }) };
                asked.push(whom.name(origin));
                asking.push(ask(whom, std::mem::take(&mut reading)));
            }
            let was_alive = alive.load(Relaxed);
            tokio::select! {
                Some((whom, wanted, answer)) = asking.next() => {
                    let useless = match answer {
                        Ok(known) => return Ok(known),
                        Err(useless) => useless,
                    };
                    if matches!(useless, Useless::Away(_) | Useless::Stranger) {
                        reading = reading.max(wanted);
                    }
                    match self.weigh(origin, question, &whom, &useless).await {
                        Then::AskTheNext => {}
                        Then::AskTheOrigin => whoms.retain(|whom| matches!(whom, Whom::Origin)),
                        Then::GiveUp => whoms.clear(),
                    }
                    tried.note(whom.name(origin), useless.why());
                    if let Useless::Refused(why) = useless {
                        refusal = why;
                    }
                }
                () = sleep(OBJECT_DEADLINE.saturating_sub(began.elapsed())) => {
                    asked.retain(|whom| tried.0.iter().all(|attempt| attempt.whom != *whom));
                    asked.iter().for_each(|whom| tried.note(whom, "gave no answer"));
                    tried.note("this node", format_args!("gave up after {} s", OBJECT_DEADLINE.as_secs()));
                    self.0.meta.fell_ill(question);
                    return Err(Failed { refusal: Refusal::Unavailable("no answer in time".to_owned()), tried });
                }
                () = sleep(self.pause(pauses, &alive)), if !whoms.is_empty() => {
                    // Who has shown life meanwhile waits for the origin, which may take longer.
                    if alive.load(Relaxed) && !was_alive {
                        continue;
                    }
                    pauses += 1;
                    asked.extend(whoms.front().map(|whom| whom.name(origin)));
                    asking.extend(whoms.pop_front().map(|whom| ask(whom, std::mem::take(&mut reading))));
                }
            }
        }
    }

    /// How long before the next is asked as well: long where somebody waits for the origin, and while nobody has shown life the time in which they
    /// should have, the first of them the longest.
    fn pause(&self, pauses: u32, alive: &AtomicBool) -> Duration {
        match (alive.load(Relaxed), pauses) {
            (true, _) => self.0.config.slow_origin,
            (false, 0) => self.owner_patience(),
            (false, _) => self.owner_patience() / 3,
        }
    }

    fn whoms(&self, view: &View, origin: &Origin, question: &MetaQuestion) -> VecDeque<Whom> {
        let owners = self.candidates(view, point_of(origin, question)).owners;
        let whom = |owner| if self.is_me(view, &owner) { Whom::Origin } else { Whom::Owner(owner) };
        let mut whoms: VecDeque<Whom> = owners.into_iter().map(whom).collect();
        if !whoms.iter().any(|whom| matches!(whom, Whom::Origin)) {
            whoms.push_back(Whom::Origin);
        }
        whoms
    }

    /// Who was asked, for how many of the first bytes, and what it said.
    async fn ask_one(
        &self,
        view: &View,
        whom: Whom,
        origin: &Origin,
        question: &MetaQuestion,
        (newest, reading): (Option<Duration>, u64),
        alive: &AtomicBool,
    ) -> (Whom, u64, Result<Arc<Known>, Useless>) {
        if matches!(whom, Whom::Origin) {
            // From here it is the origin that is waited for.
            alive.store(true, Relaxed);
        }
        let answer = match &whom {
            Whom::Owner(owner) => self.ask_owner(view, owner, origin, question, (newest, reading), alive).await,
            Whom::Origin => self.ask_origin(question, newest, reading).await.map_err(Useless::Refused),
        };
        (whom, reading, answer)
    }

    async fn weigh(&self, origin: &Origin, question: &MetaQuestion, whom: &Whom, useless: &Useless) -> Then {
        if let (Useless::Stranger, Whom::Owner(owner)) = (useless, whom) {
            self.0.meta.note_stranger(owner.id.as_str(), origin.name());
        }
        match useless {
            // Others may have credentials that this one lacks.
            Useless::Away(_) | Useless::Silent(_) | Useless::Stranger | Useless::Refused(Refusal::Denied(_)) => Then::AskTheNext,
            Useless::Refused(Refusal::Unavailable(_)) => {
                self.0.meta.fell_ill(question);
                match whom {
                    // An origin in trouble is not asked by everyone who has an answer from before.
                    _ if self.recall(origin, question).await.is_some() => Then::GiveUp,
                    Whom::Owner(_) => Then::AskTheOrigin,
                    Whom::Origin => Then::AskTheNext,
                }
            }
            Useless::Refused(Refusal::Busy(_) | Refusal::Invalid(_)) => Then::GiveUp,
        }
    }

    /// An owner that waits for the origin says so within 200 ms, and is asked again: slow is not silent.
    async fn ask_owner(
        &self,
        view: &View,
        owner: &Candidate,
        origin: &Origin,
        question: &MetaQuestion,
        (mut newest, reading): (Option<Duration>, u64),
        alive: &AtomicBool,
    ) -> Result<Arc<Known>, Useless> {
        let health = &self.0.meta.health;
        if view.suspect(&owner.id) || health.failed_lately(&owner.id) {
            return Err(Useless::Away("was silent just now".to_owned()));
        }
        let (began, first) = (Instant::now(), newest.unwrap_or_default());
        while began.elapsed() < OBJECT_DEADLINE {
            let call = MetaCall::Ask { question: question.clone(), newest_ms: newest.map(millis), reading };
            match self.call(view, owner, &call).await? {
                MetaReply::Asking => {
                    alive.store(true, Relaxed);
                    newest = Some(first + began.elapsed());
                }
                MetaReply::Answer { answer, age_ms } => return self.hear(origin, question, answer, age_ms).await,
                MetaReply::Held => return Err(Useless::Silent("answered another question".to_owned())),
            }
        }
        Err(Useless::Silent(format!("had no answer within {} s", OBJECT_DEADLINE.as_secs())))
    }

    /// One question to a peer, who shows life soon or counts as silent for a while: the next question does not wait for it.
    async fn call(&self, view: &View, peer: &Candidate, call: &MetaCall) -> Result<MetaReply, Useless> {
        let (patience, asked) = (self.owner_patience(), Instant::now());
        let mut question = self.0.meta.health.ask(&peer.id, patience);
        let reply = self.0.peers.meta(peer.http, call, patience, &self.ask(view, patience + ANSWER_BODY)).await;
        match reply {
            Ok(reply) => {
                question.answered();
                // What took as long as an owner waits for its origin says nothing about the owner.
                if asked.elapsed() < LIFE {
                    self.0.health.began(asked.elapsed());
                }
                Ok(reply)
            }
            Err(PeerError::NotFound) => {
                question.answered();
                Err(Useless::Stranger)
            }
            Err(error) => {
                question.failed();
                tracing::debug!(peer = %peer.id, %error, "a peer did not answer a question about an origin");
                let why = error.to_string();
                Err(match error {
                    PeerError::Connect(_) | PeerError::Refused { .. } => Useless::Away(why),
                    _ => Useless::Silent(why),
                })
            }
        }
    }

    async fn hear(&self, origin: &Origin, question: &MetaQuestion, answer: String, age_ms: u64) -> Result<Arc<Known>, Useless> {
        let age = Duration::from_millis(age_ms);
        let told: Told =
            json::read(answer).await.map_err(|error| Useless::Silent(format!("answered what cannot be: {error}")))?;
        if told.origin != self.identity(origin, question) {
            return Err(Useless::Stranger);
        }
        match told.said {
            Ok(word) if word.answers(question) => Ok(self.keep(origin, question, Known::new(word, age, false))),
            Ok(_) => Err(Useless::Silent("answered another question".to_owned())),
            Err(refusal) => Err(Useless::Refused(refusal)),
        }
    }

    /// The youngest of what the others remember, owners and those who may have been: asked all at once, within an owner's patience. That there
    /// was nothing counts last: who never looked again says so of what all others have read.
    pub(super) async fn ask_who_remembers(&self, origin: &Origin, question: &MetaQuestion) -> Option<Arc<Known>> {
        let (answers, _) = self.ask_what_others_remember(origin, question).await;
        let (age_ms, word) = answers.into_iter().min_by_key(|(age_ms, word)| (*word == Word::Nothing, *age_ms))?;
        Some(self.keep_old(origin, question, word, Duration::from_millis(age_ms)))
    }

    /// What they remember, each with its age in milliseconds, and whether any of them said anything, be it that it remembers nothing.
    pub(super) async fn ask_what_others_remember(&self, origin: &Origin, question: &MetaQuestion) -> (Vec<(u64, Word)>, bool) {
        let (view, identity) = (self.view(), self.identity(origin, question));
        let (owners, others) = self.candidates(&view, point_of(origin, question)).peers(view.me());
        let (call, view) = (&MetaCall::Remembered { question: question.clone() }, &view);
        let ask = async |peer: Candidate| match self.call(view, &peer, call).await {
            Ok(MetaReply::Answer { answer, age_ms }) => {
                (read_word(answer, &identity, question).await.map(|word| (age_ms, word)), true)
            }
            Ok(_) | Err(Useless::Stranger) => (None, true),
            Err(_) => (None, false),
        };
        let answers: FuturesUnordered<_> = owners.into_iter().chain(others).map(ask).collect();
        let answers: Vec<(Option<(u64, Word)>, bool)> = answers.collect().await;
        let heard = answers.iter().any(|(_, heard)| *heard);
        (answers.into_iter().filter_map(|(answer, _)| answer).collect(), heard)
    }
}

async fn read_word(answer: String, identity: &str, question: &MetaQuestion) -> Option<Word> {
    let Told { origin, said } = json::read(answer).await.ok()?;
    said.ok().filter(|word| origin == identity && word.answers(question))
}

impl Whom {
    fn name(&self, origin: &Origin) -> String {
        match self {
            Self::Owner(owner) => owner.id.to_string(),
            Self::Origin => format!("origin {}", origin.name()),
        }
    }
}

impl Useless {
    fn why(&self) -> &str {
        match self {
            Self::Away(why) | Self::Silent(why) => why,
            Self::Stranger => "knows another origin by that name, or none",
            Self::Refused(refusal) => refusal.detail(),
        }
    }
}
