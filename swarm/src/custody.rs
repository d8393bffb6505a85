//! Replicas where they should be. Each node compares with every other owner what both own and keep (`census.rs`, `place.rs`), and offers it what it
//! lacks; the other one pulls that (`wants.rs`, `pull.rs`) at a pace of its own. What a node keeps and does not own any more it offers to all owners, and lets go once all
//! of them have it (`hand_over.rs`). What no other owner has it seeks with all nodes (`seek.rs`). So one mechanism serves nodes that come, go, come back, drain or lost a disk. `scrub.rs` reads what nobody reads.

pub(crate) mod census;
mod figures;
mod hand_over;
mod pace;
mod place;
mod pull;
mod scrub;
mod seek;
#[cfg(test)]
mod sim;
mod wants;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use herring_gossip::{NodeState, View};
use herring_ring::{Epoch, Point};
use herring_store::Description;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use self::census::{Census, KeptBlob};
use self::pace::{Pace, Turns};
use self::pull::PULLERS;
use self::seek::Lost;
use self::wants::Wants;
use crate::Swarm;

/// Between two looks where all was found in its place: each costs a small question to every other owner.
const TICK: Duration = Duration::from_secs(60);
/// After something happened that may have put something out of its place.
const SOON: Duration = Duration::from_secs(1);
/// After a look that found something out of its place: doubled each time up to the most.
const AGAIN: Duration = Duration::from_secs(2);
const MOST_AGAIN: Duration = Duration::from_secs(30);
/// A census of a million chunks takes a second of one core: it is to take at most a fiftieth of the time.
const SELDOM: u32 = 50;
/// A blob that was put so lately may still be on its way to its other owners; or as long as a ring must stay as it is, where that is less.
const FRESH: Duration = Duration::from_secs(10);

/// What a node keeps in memory about replicas.
pub(crate) struct Custodian {
    census: tokio::sync::Mutex<Option<Known>>,
    pub wants: Wants,
    pub pace: Pace,
    pub turns: Turns,
    /// Something may be out of its place.
    kick: Notify,
    /// Another node keeps something else; that may be how it stays, and is looked at when it is time anyway.
    nudge: Notify,
    /// The ring under which all was found in its place, and what was durable here then.
    placed: Mutex<Option<(Epoch, u64)>>,
    /// Held while this node says what it has, and while it lets something go: what it said under a ring holds as long as that is the ring.
    word: tokio::sync::Mutex<()>,
    /// What some other member knows of deleted blobs this node knows, too, since it started.
    met: AtomicBool,
    /// This node was asked to hand over everything. One that only says goodbye before a restart keeps what it has.
    draining: AtomicBool,
    foreign_chunks: AtomicU64,
    /// Chunks that this node owned and had not when it looked last, but for those that came since.
    gaps: AtomicU64,
    /// The ring under which what is lacking was last looked for.
    sought: Mutex<Option<Epoch>>,
    lost: Mutex<Lost>,
    /// There was no room for the last chunk that was to come.
    full: AtomicBool,
    /// Bytes that were read again.
    scrubbed: AtomicU64,
}

/// The last census.
struct Known {
    census: Arc<Census>,
    built: Instant,
    took: Duration,
}

/// How a look ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// Nothing to do before so much time has passed.
    Later(Duration),
    Placed,
    /// Something is on its way, or some did not answer.
    Open,
}

impl Custodian {
    pub fn new(rate: u64) -> Self {
        let (census, wants, kick, nudge, placed, word) = Default::default();
        let (met, draining, foreign_chunks, gaps, sought, lost, full, scrubbed) = Default::default();
        Self {
            census,
            wants,
            pace: Pace::new(rate),
            turns: Turns::default(),
            kick,
            nudge,
            placed,
            word,
            met,
            draining,
            foreign_chunks,
            gaps,
            sought,
            lost,
            full,
            scrubbed,
        }
    }

    pub fn kick(&self) {
        self.kick.notify_one();
    }

    /// A chunk that was lacking is here.
    fn came(&self) {
        let _ = self.gaps.fetch_update(Relaxed, Relaxed, |gaps| gaps.checked_sub(1));
    }

    pub fn has_met(&self) -> bool {
        self.met.load(Relaxed)
    }

    fn nudge(&self) {
        self.nudge.notify_one();
    }

    fn set_placed(&self, placed: Option<(Epoch, u64)>) {
        *self.placed.lock().unwrap_or_else(PoisonError::into_inner) = placed;
    }

    fn placed(&self) -> Option<(Epoch, u64)> {
        *self.placed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Swarm {
    /// Begins to keep replicas where they should be, until the shutdown.
    pub fn keep_custody(&self) {
        let until_stopped = |work: futures_util::future::BoxFuture<'static, ()>| {
            self.0.tasks.spawn(self.0.stop.clone().run_until_cancelled_owned(work));
        };
        until_stopped(Box::pin(self.clone().look_after()));
        for _ in 0..PULLERS {
            until_stopped(Box::pin(self.clone().pull_all()));
        }
        until_stopped(Box::pin(self.clone().scrub_all()));
        until_stopped(Box::pin(self.clone().look_for_all_files()));
    }

    /// Looks whether all is in its place: when something happened, and from time to time.
    async fn look_after(self) {
        let mut changes = self.0.store.durable_changes();
        let (mut due, mut not_before, mut pause, mut last) = (Instant::now() + SOON, Instant::now(), AGAIN, Instant::now());
        let mut nudged = false;
        loop {
            tokio::select! {
                () = sleep_until(due) => {}
                // The store lives as long as this does.
                _ = changes.changed() => {
                    due = due.min(Instant::now() + self.fresh() + SOON).max(not_before);
                    continue;
                }
                () = self.0.custody.nudge.notified() => {
                    due = due.min(last + pause).max(not_before);
                    nudged = true;
                    continue;
                }
                () = self.0.custody.kick.notified() => {
                    due = due.min(Instant::now() + SOON).max(not_before);
                    pause = AGAIN;
                    continue;
                }
            }
            let look = self.look().await;
            let (took, fresh) = self.last_census().await;
            let wait = match look {
                Look::Later(wait) => wait,
                Look::Placed if fresh => self.fresh() + SOON,
                Look::Placed => TICK,
                Look::Open => pause,
            };
            // Where somebody finds a difference and this node none, that may be how it stays.
            let in_vain = std::mem::take(&mut nudged) || look == Look::Open;
            pause = if in_vain { (pause * 2).min(MOST_AGAIN) } else { AGAIN };
            last = Instant::now();
            not_before = last + SOON.max(took * SELDOM);
            due = (last + wait).max(not_before);
        }
    }

    /// How long the last census took, and whether it left out what was put lately.
    async fn last_census(&self) -> (Duration, bool) {
        let known = self.0.custody.census.lock().await;
        known.as_ref().map_or((Duration::ZERO, false), |known| (known.took, known.census.fresh > 0))
    }

    async fn look(&self) -> Look {
        let view = self.view();
        if !view.settled() || view.ring().members().is_empty() {
            return Look::Later(SOON);
        }
        let met = self.meet(&view).await;
        if let Some(wait) = self.unsettled(&view) {
            return Look::Later(wait);
        }
        let census = self.census(&view).await;
        let placed = self.place_all(&view, &census).await;
        let handed = self.hand_over(&view, &census).await;
        let whole = self.seek(&view, &census).await;
        if whole && self.0.custody.gaps.load(Relaxed) == 0 {
            self.0.custody.full.store(false, Relaxed);
        }
        let all = met && placed && handed && whole && self.0.custody.wants.is_empty();
        let known = (view.epoch(), census.generation);
        self.0.custody.set_placed((all && census.fresh == 0).then_some(known));
        if all { Look::Placed } else { Look::Open }
    }

    /// This node is to hand over everything, or not any more. That it leaves the ring is for others to say.
    pub fn drain(&self, away: bool) {
        self.0.custody.draining.store(away, Relaxed);
        self.0.custody.kick();
    }

    /// How long the ring must still stay as it is before anything moves: a node that restarts is back by then. Who drains does not wait.
    fn unsettled(&self, view: &View) -> Option<Duration> {
        let leaves = view.get(view.me()).is_some_and(|me| me.state == NodeState::Draining);
        let draining = leaves && self.0.custody.draining.load(Relaxed);
        let left = self.0.config.rebalance_after.saturating_sub(self.ring_age());
        (!draining && !left.is_zero()).then_some(left)
    }

    /// Counts changes of what is durable here.
    fn generation(&self) -> u64 {
        *self.0.store.durable_changes().borrow()
    }

    fn fresh(&self) -> Duration {
        FRESH.min(self.0.config.rebalance_after)
    }

    /// What this node keeps under this ring; counted anew where that changed, but not all the time.
    async fn census(&self, view: &View) -> Arc<Census> {
        let mut known = self.0.custody.census.lock().await;
        let generation = self.generation();
        if let Some(known) = known.as_ref().filter(|known| known.census.epoch() == view.epoch()) {
            let lately = known.built.elapsed() < (known.took * SELDOM).max(SOON);
            if lately || (known.census.generation == generation && known.census.fresh == 0) {
                return Arc::clone(&known.census);
            }
        }
        let (swarm, ring, me, replicas) = (self.clone(), view.ring().clone(), view.me().clone(), self.replicas());
        let begun = Instant::now();
        let fresh = self.fresh();
        let count = move || Census::new(kept(&swarm, fresh), &ring, &me, replicas).at(generation);
        let Ok(counted) = tokio::task::spawn_blocking(count).await else {
            // The runtime ends: nobody needs the right answer any more.
            return Arc::new(Census::new([], view.ring(), view.me(), self.replicas()));
        };
        let census = Arc::new(counted);
        self.0.custody.foreign_chunks.store(census.foreign_chunks() as u64, Relaxed);
        *known = Some(Known { census: Arc::clone(&census), built: Instant::now(), took: begun.elapsed() });
        census
    }
}

/// What is durable on this node's disk, and not false.
fn kept(swarm: &Swarm, fresh: Duration) -> impl Iterator<Item = KeptBlob> {
    let now = SystemTime::now();
    swarm.0.store.blobs().into_iter().filter_map(move |entry| {
        let Description::Blob(manifest) = entry.description() else { return None };
        if swarm.0.proofs.is_false(manifest) {
            return None;
        }
        let chunks: Vec<u32> = (0..entry.geometry().chunk_count()).filter(|chunk| entry.is_durable(*chunk)).collect();
        let of = Arc::clone(manifest);
        (entry.is_kept() || !chunks.is_empty()).then(|| KeptBlob {
            id: manifest.id(),
            replicas: entry.replicas(),
            count: entry.geometry().chunk_count(),
            point: Box::new(move |chunk| Point::of_chunk(&of, chunk)),
            chunks,
            fresh: now.duration_since(entry.modified()).is_ok_and(|age| age < fresh),
        })
    })
}
