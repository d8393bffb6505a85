//! How many requests a node works on at once: past that it says so at once, and those that it has taken keep their speed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::Method;
use metrics::counter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::came::Came;
use super::underway::UnderWay;
use super::upload::turn_away;
use super::{ApiError, ErrorKind};

/// Requests that were refused because too many were under way, by `kind`: `read` or `write`.
const REFUSED: &str = "herring_http_refused_total";

/// Requests of people and their programs for blobs, objects and names that may be under way at once, from their head to the last byte of
/// their answer; the next one is answered with 503 and `Retry-After`. What tells how a node is (health, metrics, members, jobs) is always
/// answered, and peers have limits of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// GET and HEAD: 1,024, what four HTTP/2 connections can ask for. Each has up to 1 MiB on its way.
    pub reads: usize,
    /// All others: 256. Each has up to two chunks in memory, or waits for that.
    pub writes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { reads: 1024, writes: 256 }
    }
}

/// The last quarter of the places is for connections that have no more than so many: one that has hundreds, and takes nothing of its answers, does not shut
/// out the others.
const FEW: usize = 4;

/// The slots that are free.
#[derive(Clone)]
pub(super) struct Admission {
    reads: Slots,
    writes: Slots,
}

#[derive(Clone)]
struct Slots {
    kind: &'static str,
    most: usize,
    free: Arc<Semaphore>,
}

/// Those who have a place, as one of them sees it: an extension of its request.
#[derive(Clone)]
pub(super) struct Crowd {
    most: usize,
    free: Arc<Semaphore>,
}

impl Crowd {
    /// Fewer than half of the places are free.
    pub(super) fn is_dense(&self) -> bool {
        self.free.available_permits() * 2 < self.most
    }
}

impl Admission {
    pub(super) fn new(Limits { reads, writes }: Limits) -> Self {
        Self { reads: Slots::new("read", reads), writes: Slots::new("write", writes) }
    }

    fn slots(&self, method: &Method) -> &Slots {
        if matches!(*method, Method::GET | Method::HEAD) { &self.reads } else { &self.writes }
    }
}

impl Slots {
    fn new(kind: &'static str, most: usize) -> Self {
        Self { kind, most, free: Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))) }
    }

    fn crowd(&self) -> Crowd {
        Crowd { most: self.most, free: Arc::clone(&self.free) }
    }

    /// `held`: how many its connection has already.
    fn take(&self, held: usize) -> Result<OwnedSemaphorePermit, ApiError> {
        let Self { kind, most, free } = self;
        let left = if held < FEW || free.available_permits() > most / 4 { Some(Arc::clone(free)) } else { None };
        left.and_then(|free| free.try_acquire_owned().ok()).ok_or_else(|| {
            counter!(REFUSED, "kind" => *kind).increment(1);
            let detail =
                format!("{most} {kind}s are under way at this node, as many as it takes; try again, or ask another node");
            ApiError::new(ErrorKind::Unavailable, detail)
        })
    }
}

/// A slot that a connection has.
struct Held(Arc<AtomicUsize>);

impl Held {
    fn of(connection: Arc<AtomicUsize>) -> Self {
        connection.fetch_add(1, Relaxed);
        Self(connection)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Takes a request in, or refuses it.
pub(super) async fn admit(State(admission): State<Admission>, mut request: Request, next: Next) -> Response {
    let slots = admission.slots(request.method());
    let connection = request.extensions().get::<Came>().map(|came| Arc::clone(&came.slots)).unwrap_or_default();
    match slots.take(connection.load(Relaxed)) {
        Ok(slot) => {
            let slot = (slot, Held::of(connection));
            request.extensions_mut().insert(slots.crowd());
            next.run(request).await.map(|body| Body::new(UnderWay::holding(body, slot)))
        }
        Err(full) => {
            turn_away(request).await;
            full.into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_places_are_for_who_has_few() {
        let slots = Slots::new("read", 16);
        let taken: Vec<_> = (0..16).map_while(|held| slots.take(held).ok()).collect();
        assert_eq!(taken.len(), 12, "a quarter is left");
        let others: Vec<_> = (0..4).map_while(|held| slots.take(held).ok()).collect();
        assert_eq!(others.len(), 4);
        assert!(slots.take(0).is_err(), "there are no more than there are");
        drop(taken);
        assert!(slots.take(100).is_ok());
    }
}
