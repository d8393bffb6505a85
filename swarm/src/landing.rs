//! A chunk on its way to this node, as its readers and its flight see it. Pieces are shown as they land: each was verified, or
//! comes from the origin itself.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use herring_blob::{Arrival, Chunk, ContentId, PieceDigests, Pieces, WrongPiece};
use tokio::sync::watch;

use crate::ReadError;
use crate::flight::Listed;
use crate::memory::Share;

/// A chunk in memory, with its share of the budget.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    chunk: Chunk,
    share: Arc<Share>,
}

/// What the readers of a chunk wait on.
#[derive(Debug)]
pub(crate) struct Landing {
    state: watch::Sender<State>,
    /// The piece that is wanted first.
    first: u32,
    /// Readers that wait now, without those who only sent for it ahead.
    waiting: AtomicUsize,
}

/// One of those who wait.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Relaxed);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[derive(Debug)]
enum State {
    /// Nothing has come yet.
    Empty,
    Partly(Arrival, Arc<Share>),
    Landed(Held),
    Failed(ReadError),
}

/// The flight's end. A landing of which it was dropped has failed.
pub(crate) struct Pilot {
    landing: Arc<Landing>,
    listed: Option<Listed<(ContentId, u32), Arc<Landing>>>,
    arrival: Mutex<Option<Arrival>>,
    interrupted: ReadError,
}

impl Held {
    pub fn new(chunk: Chunk, share: Arc<Share>) -> Self {
        Self { chunk, share }
    }

    /// The chunk; its bytes hold the share until the last clone of them is dropped.
    pub fn chunk(&self) -> Chunk {
        let segments = self.chunk.segments().iter().map(|segment| Share::hold(&self.share, segment.clone())).collect();
        Chunk::known(self.chunk.digests().clone(), segments)
    }

    /// Bytes.
    pub fn len(&self) -> u64 {
        self.chunk.len().into()
    }

    pub fn slice(&self, range: Range<u32>) -> Bytes {
        part(&self.share, self.chunk.slice(range), self.chunk.len())
    }
}

/// Bytes out of a chunk of `whole` bytes. A small part is copied (0.1 ms for a MiB): a client that takes it slowly must not hold the
/// memory of all.
fn part(share: &Arc<Share>, bytes: Bytes, whole: u32) -> Bytes {
    if bytes.len() > whole as usize / 2 { Share::hold(share, bytes) } else { Bytes::copy_from_slice(&bytes) }
}

impl State {
    fn slice(&self, range: Range<u32>) -> Option<Result<Bytes, ReadError>> {
        match self {
            Self::Empty => None,
            Self::Partly(arrival, share) => Some(Ok(part(share, arrival.slice(range)?, arrival.pieces().chunk_len()))),
            Self::Landed(held) => Some(Ok(held.slice(range))),
            Self::Failed(error) => Some(Err(error.clone())),
        }
    }

    fn whole(&self) -> Option<Result<Held, ReadError>> {
        match self {
            Self::Empty | Self::Partly(..) => None,
            Self::Landed(held) => Some(Ok(held.clone())),
            Self::Failed(error) => Some(Err(error.clone())),
        }
    }
}

impl Landing {
    pub fn new(first: u32) -> Arc<Self> {
        Arc::new(Self { state: watch::Sender::new(State::Empty), first, waiting: AtomicUsize::new(0) })
    }

    /// Whether a reader waits for it now.
    pub fn is_awaited(&self) -> bool {
        self.waiting.load(Relaxed) > 0
    }

    /// The bytes of `range` of the chunk, as soon as the pieces that hold them are here.
    pub async fn slice(&self, range: Range<u32>) -> Result<Bytes, ReadError> {
        let _waiting = Waiting::new(&self.waiting);
        self.wait(|state| state.slice(range.clone())).await
    }

    /// All of it, once it is on the disk or there is no room for it there.
    pub async fn whole(&self) -> Result<Held, ReadError> {
        let _waiting = Waiting::new(&self.waiting);
        self.wait(State::whole).await
    }

    /// Whether it came at all, for who is in no hurry.
    pub async fn landed(&self) -> bool {
        self.wait(|state| state.whole().map(|landed| landed.is_ok())).await
    }

    async fn wait<T>(&self, look: impl Fn(&State) -> Option<T>) -> T {
        let mut state = self.state.subscribe();
        loop {
            if let Some(found) = look(&state.borrow_and_update()) {
                return found;
            }
            // The sender is in `self`: it is not dropped as long as anybody waits.
            let _ = state.changed().await;
        }
    }
}

impl Pilot {
    pub fn new(landing: Arc<Landing>, listed: Listed<(ContentId, u32), Arc<Landing>>, interrupted: ReadError) -> Self {
        Self { landing, listed: Some(listed), arrival: Mutex::new(None), interrupted }
    }

    pub fn is_awaited(&self) -> bool {
        self.landing.is_awaited()
    }

    /// How many pieces have landed.
    pub fn landed(&self) -> usize {
        let arrival = self.arrival();
        arrival.as_ref().map_or(0, |arrival| (0..arrival.pieces().count()).filter(|index| arrival.has(*index)).count())
    }

    /// The piece to ask for first: the one that is wanted first, of those that are missing.
    pub fn first_missing(&self, pieces: Pieces) -> u32 {
        let arrival = self.arrival();
        let Some(arrival) = arrival.as_ref() else { return self.landing.first };
        let turned = (self.landing.first..pieces.count()).chain(0..self.landing.first);
        turned.into_iter().find(|index| !arrival.has(*index)).unwrap_or(0)
    }

    /// From now on pieces must be these. What landed before stays if it was to be the same. False where the origin itself has begun to
    /// give the chunk: what a peer says of it is not believed any more.
    pub fn expect(&self, digests: &PieceDigests) -> bool {
        let mut arrival = self.arrival();
        match arrival.as_ref().map(Arrival::expected) {
            Some(None) => return false,
            Some(Some(same)) if same == digests => {}
            _ => *arrival = Some(Arrival::verifying(digests.clone())),
        }
        true
    }

    /// Whether pieces must be these now.
    pub fn expects(&self, digests: &PieceDigests) -> bool {
        self.arrival().as_ref().and_then(Arrival::expected) == Some(digests)
    }

    /// From now on pieces are taken as they come, from the beginning to the end. Which is the first that is missing.
    pub fn expect_anything(&self, pieces: Pieces) -> u32 {
        let mut arrival = self.arrival();
        let arrival = match arrival.as_mut().filter(|arrival| arrival.expected().is_none()) {
            Some(arrival) => arrival,
            None => arrival.insert(Arrival::hashing(pieces)),
        };
        (0..pieces.count()).find(|index| !arrival.has(*index)).unwrap_or(0)
    }

    /// Takes a piece from a giver who said that the pieces are `by`, or from the origin itself, and shows it. The chunk, once all have
    /// landed. A piece of a giver whose word another's has replaced since is refused: it would be judged by the wrong digests.
    pub fn land(
        &self,
        index: u32,
        bytes: Bytes,
        by: Option<&PieceDigests>,
        share: &Arc<Share>,
    ) -> Result<Option<Chunk>, WrongPiece> {
        let mut arrival = self.arrival();
        let Some(arrival) = arrival.as_mut().filter(|arrival| arrival.expected() == by) else { return Err(WrongPiece(index)) };
        if !arrival.has(index) {
            arrival.land(index, bytes)?;
            self.landing.state.send_replace(State::Partly(arrival.clone(), Arc::clone(share)));
        }
        Ok(arrival.chunk())
    }

    /// The flight is over. It is off the list before its end is shown: who comes now looks at the disk first, or starts anew.
    pub fn end(mut self, result: Result<Held, ReadError>) {
        self.listed = None;
        self.landing.state.send_replace(match result {
            Ok(held) => State::Landed(held),
            Err(error) => State::Failed(error),
        });
    }

    fn arrival(&self) -> MutexGuard<'_, Option<Arrival>> {
        // A piece has landed or not, whatever panicked.
        self.arrival.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pilot {
    fn drop(&mut self) {
        self.listed = None;
        let interrupted = self.interrupted.clone();
        self.landing.state.send_if_modified(|state| {
            let over = matches!(state, State::Landed(_) | State::Failed(_));
            if !over {
                *state = State::Failed(interrupted);
            }
            !over
        });
    }
}
