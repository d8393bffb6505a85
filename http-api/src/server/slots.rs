//! Who may stay connected. Connections cost whoever opens them next to nothing, so when all places are taken the one that has done nothing for
//! longest makes room: a newcomer always has the time in which all others come to be older than it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::counter;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Connections that were ended by this node, by `why`: `idle` made room for another, `resets` asked again and again and never waited.
const ENDED: &str = "herring_http_connections_ended_total";

/// Requests that a connection may give up before their answer began, beyond those that were answered. Each can have begun work that goes on. Far
/// more than a client has in flight, 256.
const MAX_GIVEN_UP: u32 = 1024;

/// The places of a server: as many for nodes, which showed a certificate, as for all others, so that nobody else can keep them out.
pub(super) struct Slots {
    others: Arc<Room>,
    nodes: Arc<Room>,
}

struct Room {
    free: Arc<Semaphore>,
    idle: Mutex<Idle>,
    /// A connection became idle.
    stirred: Notify,
}

/// Connections without a request under way, in the order in which they last did something.
#[derive(Default)]
struct Idle {
    next: u64,
    since: BTreeMap<u64, Arc<Seat>>,
}

struct Seat {
    cut: CancellationToken,
    state: Mutex<State>,
}

struct State {
    room: Arc<Room>,
    slot: Option<OwnedSemaphorePermit>,
    under_way: usize,
    /// Its number among the idle.
    idle: Option<u64>,
    given_up: u32,
}

/// A connection's place, until this is dropped.
pub(super) struct Place(Arc<Seat>);

/// What a connection does tells its place by this.
#[derive(Clone)]
pub(super) struct Doings(Arc<Seat>);

/// A request under way, to the end of its answer.
pub(super) struct Asking {
    seat: Arc<Seat>,
    answered: bool,
}

impl Slots {
    pub(super) fn new(most: usize) -> Self {
        Self { others: Room::new(most), nodes: Room::new(most) }
    }

    /// A place for a new connection, whose `cut` is cancelled when it must leave, at the latest with `all`. Waits while each of the others has a
    /// request under way.
    pub(super) async fn enter(&self, all: &CancellationToken) -> Place {
        let slot = self.others.take().await;
        let state = State { room: Arc::clone(&self.others), slot: Some(slot), under_way: 0, idle: None, given_up: 0 };
        let seat = Arc::new(Seat { cut: all.child_token(), state: Mutex::new(state) });
        seat.lock().rest(&seat);
        Place(seat)
    }

    /// Gives a node's connection one of the nodes' places. It keeps the one it has where those are taken by busy ones.
    pub(super) async fn know_as_node(&self, place: &Place) {
        let Some(slot) = self.nodes.take_now().await else { return };
        let mut state = place.0.lock();
        state.stir();
        (state.room, state.slot) = (Arc::clone(&self.nodes), Some(slot));
        state.rest(&place.0);
    }
}

impl Room {
    fn new(most: usize) -> Arc<Self> {
        let free = Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
        Arc::new(Self { free, idle: Mutex::default(), stirred: Notify::new() })
    }

    async fn take(&self) -> OwnedSemaphorePermit {
        loop {
            if let Some(slot) = self.take_now().await {
                return slot;
            }
            tokio::select! {
                slot = Arc::clone(&self.free).acquire_owned() => return slot.expect("the semaphore is never closed"),
                () = self.stirred.notified() => {}
            }
        }
    }

    /// A free place, or that of an idle connection once it is gone: it ends when it is next polled, which is soon.
    async fn take_now(&self) -> Option<OwnedSemaphorePermit> {
        match Arc::clone(&self.free).try_acquire_owned() {
            Ok(slot) => Some(slot),
            Err(_) if self.evict() => Arc::clone(&self.free).acquire_owned().await.ok(),
            Err(_) => None,
        }
    }

    fn evict(&self) -> bool {
        // Its own lock is taken without this one: it takes them in the other order.
        while let Some((_, seat)) = { self.lock().since.pop_first() } {
            if seat.leave() {
                return true;
            }
        }
        false
    }

    fn lock(&self) -> MutexGuard<'_, Idle> {
        // Each change is whole.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// False where it just began something.
    fn leave(&self) -> bool {
        let idle = self.lock().under_way == 0;
        if idle {
            counter!(ENDED, "why" => "idle").increment(1);
            self.cut.cancel();
        }
        idle
    }

    fn end(self: &Arc<Self>, answered: bool) {
        let mut state = self.lock();
        state.under_way -= 1;
        if state.under_way == 0 {
            state.rest(self);
        }
        state.given_up = if answered { state.given_up.saturating_sub(1) } else { state.given_up + 1 };
        if state.given_up > MAX_GIVEN_UP {
            counter!(ENDED, "why" => "resets").increment(1);
            self.cut.cancel();
        }
    }
}

impl State {
    /// Is idle from now on.
    fn rest(&mut self, seat: &Arc<Seat>) {
        let mut idle = self.room.lock();
        idle.next += 1;
        let number = idle.next;
        idle.since.insert(number, Arc::clone(seat));
        self.idle = Some(number);
        drop(idle);
        self.room.stirred.notify_one();
    }

    fn stir(&mut self) {
        if let Some(number) = self.idle.take() {
            self.room.lock().since.remove(&number);
        }
    }
}

impl Place {
    pub(super) fn cut(&self) -> CancellationToken {
        self.0.cut.clone()
    }

    pub(super) fn doings(&self) -> Doings {
        Doings(Arc::clone(&self.0))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.stir();
        // A request may outlive its connection for a moment; it must not be found idle then.
        state.under_way += 1;
        state.slot = None;
    }
}

impl Doings {
    /// A request is under way until what this returns is dropped.
    pub(super) fn ask(&self) -> Asking {
        let mut state = self.0.lock();
        state.stir();
        state.under_way += 1;
        Asking { seat: Arc::clone(&self.0), answered: false }
    }

    /// The client took what it had let wait: of those that are idle it is the last to go.
    pub(super) fn took(&self) {
        let mut state = self.0.lock();
        if state.idle.is_some() {
            state.stir();
            state.rest(&self.0);
        }
    }
}

impl Asking {
    /// Its answer begins.
    pub(super) fn answered(&mut self) {
        self.answered = true;
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.seat.end(self.answered);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn enter(slots: &Slots) -> Option<Place> {
        slots.enter(&CancellationToken::new()).now_or_never()
    }

    #[test]
    fn the_one_that_did_nothing_for_longest_makes_room() {
        let slots = Slots::new(3);
        let mut places: Vec<_> = (0..3).map(|_| enter(&slots).unwrap()).collect();
        let gone = |places: &[Place]| places.iter().map(|place| place.0.cut.is_cancelled()).collect::<Vec<_>>();
        // The first asked and was answered, the second is busy.
        places[0].doings().ask().answered();
        let busy = places[1].doings().ask();
        assert!(enter(&slots).is_none(), "the place is free only once its connection is gone");
        assert_eq!(gone(&places), [false, false, true]);
        places.pop();
        places.push(enter(&slots).unwrap());
        places[0].doings().took();
        assert!(enter(&slots).is_none());
        assert_eq!(gone(&places), [false, false, true], "who takes is not the first to go");
        drop((busy, places));
        assert!(slots.others.lock().since.is_empty());
        assert_eq!(slots.others.free.available_permits(), 3);
    }

    #[tokio::test]
    async fn where_all_are_busy_a_newcomer_waits_for_the_first_that_is_not() {
        let (slots, all) = (Slots::new(1), CancellationToken::new());
        let first = enter(&slots).unwrap();
        let busy = first.doings().ask();
        let mut second = Box::pin(slots.enter(&all));
        assert!(futures_util::poll!(&mut second).is_pending());
        assert!(!first.0.cut.is_cancelled());
        drop(busy);
        assert!(futures_util::poll!(&mut second).is_pending());
        assert!(first.0.cut.is_cancelled());
        drop(first);
        let second = second.await;
        all.cancel();
        assert!(second.cut().is_cancelled());
    }

    #[test]
    fn nodes_have_places_of_their_own() {
        let slots = Slots::new(1);
        let node = enter(&slots).unwrap();
        slots.know_as_node(&node).now_or_never().unwrap();
        let stranger = enter(&slots).unwrap();
        assert!(enter(&slots).is_none());
        assert!(stranger.0.cut.is_cancelled() && !node.0.cut.is_cancelled());
        drop(stranger);
        let next = enter(&slots).unwrap();
        // The nodes' place is taken by one that is busy: the other keeps what it has.
        let _busy = node.doings().ask();
        slots.know_as_node(&next).now_or_never().unwrap();
        assert!(!node.0.cut.is_cancelled() && slots.others.free.available_permits() == 0);
    }

    #[test]
    fn who_never_waits_for_answers_is_cut_off() {
        let slots = Slots::new(1);
        let place = enter(&slots).unwrap();
        for _ in 0..MAX_GIVEN_UP {
            place.doings().ask();
        }
        place.doings().ask().answered();
        place.doings().ask();
        assert!(!place.0.cut.is_cancelled(), "an answer makes up for one that was not waited for");
        place.doings().ask();
        assert!(place.0.cut.is_cancelled());
    }
}
