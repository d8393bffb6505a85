//! What this node knows of origins, how old it is, and how long it is believed.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use herring_http_api::peer::MetaQuestion;
use herring_origin::{Lifetime, Origin};
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ask::Learnt;
use super::pages::Pages;
use super::question::{origin_of, weight};
use super::word::{Refusal, Word};
use crate::Content;
use crate::fetch::Version;
use crate::flight::{Answer, Flights};
use crate::health::{Health, Outages};

/// Bytes of answers that are remembered in memory.
pub(super) const MEMORY: u64 = 64 << 20;
/// What a remembered answer takes besides its texts.
const OVERHEAD: usize = 200;
/// Refusals and doubts that are remembered, each of use for seconds; and peers that differ.
const FEW: usize = 10_000;
/// Versions of objects that peers asked for.
const MANY: usize = 200_000;
/// That there is nothing is believed for this long at most: what is made there meanwhile shall be found.
pub(super) const NOTHING: Duration = Duration::from_secs(2);
/// How long an origin is taken for ill after it last failed to answer. One answer ends it earlier.
const ILL: Duration = Duration::from_secs(30);
/// Questions that are with origins at a time; more wait for their turn.
const TURNS: usize = 64;
/// Answers that are renewed at a time before their time is over.
const RENEWALS: usize = 64;

/// An answer and its age. Ages are counted by a clock that nobody sets.
#[derive(Debug)]
pub(crate) struct Known {
    pub word: Word,
    /// How old it was when it came here, counted from when the origin was asked.
    age: Duration,
    came: Instant,
    /// From the origin, and not from another node.
    first_hand: bool,
    /// How much had been written down here when this was; `None` where it was not, or by an earlier process.
    pub written: Option<u64>,
    /// From a listing: that is what is renewed.
    pub listed: bool,
    /// The opened object, shared by all who open it: it knows who reads it where.
    pub content: OnceLock<Content>,
}

impl Known {
    pub fn new(word: Word, age: Duration, first_hand: bool) -> Self {
        Self { word, age, came: Instant::now(), first_hand, written: None, listed: false, content: OnceLock::new() }
    }

    pub fn listed(word: Word, age: Duration) -> Self {
        Self { listed: true, ..Self::new(word, age, false) }
    }

    /// Since the origin was asked; at most that old is what it says.
    pub fn age(&self) -> Duration {
        self.age.saturating_add(self.came.elapsed())
    }

    /// Whether the origin said so within this time: who asked before it did, and waited, has waited for this.
    pub fn is_within(&self, time: Duration) -> bool {
        self.age() <= time || (self.first_hand && self.came.elapsed() <= time)
    }

    /// Whom it came from, as a metric's label.
    pub fn from(&self) -> &'static str {
        if self.first_hand { "origin" } else { "owner" }
    }
}

/// Whole milliseconds, as ages are told.
pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What an origin said.
pub(crate) type Said = Result<Arc<Known>, Refusal>;

/// How long such an answer is believed.
pub(super) fn lifetime(origin: &Origin, question: &MetaQuestion, word: &Word) -> Duration {
    let lifetime = match question {
        MetaQuestion::Key { key, .. } => origin.lifetime(key),
        MetaQuestion::Page { prefix, .. } => origin.lifetime(prefix),
        MetaQuestion::Document { path, .. } => origin.lifetime(path),
        MetaQuestion::Pin { .. } => Lifetime::Forever,
    };
    let believed = match lifetime {
        Lifetime::Forever => Duration::MAX,
        Lifetime::For(time) => time,
    };
    if *word == Word::Nothing { believed.min(NOTHING) } else { believed }
}

/// All that a node keeps for questions about origins.
pub(crate) struct Meta {
    pub answers: Cache<MetaQuestion, Arc<Known>, Weight>,
    /// Which versions peers asked this node for, by a hash of origin and key: who knows one from a listing never asks its owner what is at the key. Of two
    /// with one hash the last counts, which costs a HEAD.
    pub asked_for: Cache<u64, Version>,
    /// Where in them the pages of listings are.
    pub pages: Pages,
    /// The last refusal of an origin to each question, and when it came.
    pub refusals: Cache<MetaQuestion, (Instant, Refusal)>,
    /// Who was told that something changed does not believe what was said before.
    doubts: Cache<MetaQuestion, Instant>,
    /// Questions of this node's own readers.
    pub asking: Arc<Flights<MetaQuestion, Answer<Learnt>>>,
    /// Questions that are with origins, whoever asked.
    pub questions: Arc<Flights<MetaQuestion, Answer<Said>>>,
    /// Who was silent when asked about origins. Apart from what is known of givers of chunks: an owner that answers a second late, as on a
    /// machine without an idle processor, must not be passed over for chunks, or origins would be asked for them twice.
    pub health: Health,
    /// Of origins that are asked what they have.
    pub ill: Outages,
    /// The commits of the hubs' repositories, by the origins' names.
    commits: Mutex<HashMap<String, String>>,
    /// Bytes of answers that were written down, about.
    pub written: AtomicU64,
    /// Origins whose holds are passed on.
    pub followed: Mutex<HashSet<String>>,
    /// Peers that turned out to mean other origins by the same names.
    strangers: Cache<(String, String), ()>,
    /// Origins whose commit this node found out while none of the others answered.
    solitary: Mutex<HashSet<String>>,
    pub turns: Semaphore,
    pub renewals: Arc<Semaphore>,
}

#[derive(Debug, Clone)]
pub(crate) struct Weight;

impl Weighter<MetaQuestion, Arc<Known>> for Weight {
    fn weight(&self, question: &MetaQuestion, known: &Arc<Known>) -> u64 {
        // Twice: a question stands in its answer too.
        (OVERHEAD + 2 * weight(question) + known.word.weight()) as u64
    }
}

impl Meta {
    pub fn new(tasks: &TaskTracker, stop: &CancellationToken) -> Self {
        Self {
            answers: answers(),
            asked_for: Cache::new(MANY),
            pages: Pages::default(),
            refusals: Cache::new(FEW),
            doubts: Cache::new(FEW),
            asking: Flights::new(tasks.clone(), stop.clone()),
            questions: Flights::new(tasks.clone(), stop.clone()),
            health: Health::default(),
            ill: Outages::default(),
            commits: Mutex::default(),
            written: AtomicU64::default(),
            followed: Mutex::default(),
            strangers: Cache::new(FEW),
            solitary: Mutex::default(),
            turns: Semaphore::new(TURNS),
            renewals: Arc::new(Semaphore::new(RENEWALS)),
        }
    }

    pub fn remember(&self, question: &MetaQuestion, known: Known) -> Arc<Known> {
        let known = Arc::new(known);
        self.answers.insert(question.clone(), Arc::clone(&known));
        if let Word::Page(page) = &known.word {
            self.pages.note(question, page, |page| self.answers.peek(page).is_some());
        }
        known
    }

    /// What was found in a listing and is opened is remembered by itself, to be shared by all who open it. What is only looked at is not: at 1 kB each,
    /// 50,000 of them would take the place of the listing.
    pub fn note_opened(&self, question: &MetaQuestion, known: &Arc<Known>) {
        if known.listed && self.answers.peek(question).is_none() {
            self.answers.insert(question.clone(), Arc::clone(known));
        }
    }

    pub fn commit(&self, origin: &str) -> Option<String> {
        self.commits.lock().unwrap_or_else(PoisonError::into_inner).get(origin).cloned()
    }

    pub fn set_commit(&self, origin: &str, commit: String) {
        self.commits.lock().unwrap_or_else(PoisonError::into_inner).insert(origin.to_owned(), commit);
    }

    pub fn solitary(&self) -> MutexGuard<'_, HashSet<String>> {
        self.solitary.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Said once of each: it costs the origin more, and every reader a question.
    pub fn note_stranger(&self, peer: &str, origin: &str) {
        let stranger = (peer.to_owned(), origin.to_owned());
        if self.strangers.get(&stranger).is_none() {
            self.strangers.insert(stranger, ());
            tracing::warn!(peer, origin, "a peer has another origin by this name, or none: give all nodes the same --origin");
        }
    }

    pub fn doubt(&self, question: MetaQuestion) {
        self.doubts.insert(question, Instant::now());
    }

    /// How long ago the last reason to doubt came.
    pub fn doubted(&self, question: &MetaQuestion) -> Option<Duration> {
        self.doubts.get(question).map(|at| at.elapsed())
    }

    /// Whether there came a reason to doubt it after it was asked for.
    pub fn is_doubtful(&self, question: &MetaQuestion, known: &Known) -> bool {
        self.doubted(question).is_some_and(|since| known.age() > since)
    }

    pub fn fell_ill(&self, question: &MetaQuestion) {
        self.ill.failed(origin_of(question));
    }

    pub fn is_ill(&self, origin: &str) -> bool {
        self.ill.failed_within(origin, ILL)
    }

    /// An answer of this age came: it shows that the origin is well, if it is young enough.
    pub fn answered(&self, origin: &str, age: Duration) {
        self.ill.answered(origin, age);
    }
}

/// Two shards only: a shard takes nothing that is larger than itself, and a document may have 32 MiB.
fn answers() -> Cache<MetaQuestion, Arc<Known>, Weight> {
    let options = OptionsBuilder::new().estimated_items_capacity(FEW).weight_capacity(MEMORY).shards(2).build();
    let options = options.expect("both capacities are given");
    Cache::with_options(options, Weight, DefaultHashBuilder::default(), DefaultLifecycle::default())
}
