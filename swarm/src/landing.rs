//! A chunk on its way to this node, as its readers and its flight see it. Pieces are shown as they land: each was verified, or
//! comes from the origin itself.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::{Stream, stream};
use herring_blob::{Arrival, Chunk, PieceDigest, PieceDigests, Pieces, WrongPiece};
use herring_ring::NodeId;
use tokio::sync::watch;

use crate::ReadError;
use crate::fetch::Key;
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
    /// Peers to whom it is passed on.
    peers: AtomicUsize,
    /// Peers that are asked for it now.
    asked: Mutex<Vec<NodeId>>,
    /// How many of them said that they wait, for their turn or for others.
    in_turn: AtomicUsize,
}

/// A peer that is asked for it.
pub(crate) struct Asking<'a> {
    landing: &'a Landing,
    peer: NodeId,
    in_turn: Option<Waiting<'a>>,
}

impl Asking<'_> {
    /// The peer said that it waits.
    pub fn waits(&mut self) {
        self.in_turn.get_or_insert_with(|| Waiting::new(&self.landing.in_turn));
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let mut asked = self.landing.asked();
        if let Some(at) = asked.iter().position(|one| *one == self.peer) {
            asked.swap_remove(at);
        }
    }
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

/// A peer to whom it is passed on.
struct Passing(Arc<Landing>);

impl Passing {
    fn new(landing: Arc<Landing>) -> Self {
        landing.peers.fetch_add(1, Relaxed);
        Self(landing)
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        self.0.peers.fetch_sub(1, Relaxed);
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
    listed: Option<Listed<Key, Arc<Landing>>>,
    coming: Mutex<Option<Coming>>,
    interrupted: ReadError,
}

/// What came of a chunk so far.
struct Coming {
    arrival: Arrival,
    /// The origin itself has begun to give it.
    from_origin: bool,
}

/// On whose word a piece is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word<'a> {
    /// A peer's, who has the chunk and said in front what its pieces are.
    Digests(&'a PieceDigests),
    /// A peer's, to whom the chunk comes now: what this piece is.
    Told(PieceDigest),
    Origin,
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

    pub fn digests(&self) -> &PieceDigests {
        self.chunk.digests()
    }

    /// All of them, in order.
    pub fn pieces(&self) -> impl Iterator<Item = Passed> {
        (0..self.digests().pieces().count()).filter_map(|index| self.piece(index))
    }

    fn piece(&self, index: u32) -> Option<Passed> {
        let range = self.digests().pieces().range(index);
        Some(Passed::Piece(index, self.digests().piece(index)?, Share::hold(&self.share, self.chunk.slice(range))))
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

    /// A piece that is here and not among those `sent`, a bit for each; the one with index `first` and those behind it before the others.
    /// `None` inside where all were.
    fn piece_after(&self, sent: u32, first: u32) -> Option<Result<Option<Passed>, ReadError>> {
        let unsent = |count: u32| (first..count).chain(0..first.min(count)).filter(move |index| sent & 1 << index == 0);
        match self {
            Self::Empty => None,
            Self::Failed(error) => Some(Err(error.clone())),
            Self::Partly(arrival, share) => {
                let count = arrival.pieces().count();
                let Some((index, (digest, bytes))) = unsent(count).find_map(|index| Some((index, arrival.piece(index)?))) else {
                    return (unsent(count).next().is_none()).then_some(Ok(None));
                };
                Some(Ok(Some(Passed::Piece(index, digest, Share::hold(share, bytes)))))
            }
            Self::Landed(held) => {
                Some(Ok(unsent(held.chunk.digests().pieces().count()).next().and_then(|index| held.piece(index))))
            }
        }
    }

    /// What the chunk is, where that is known; `None` where nobody has said so yet.
    fn digests(&self) -> Option<Result<PieceDigests, ReadError>> {
        match self {
            Self::Empty => None,
            Self::Partly(arrival, _) => arrival.expected().cloned().map(Ok),
            Self::Landed(held) => Some(Ok(held.digests().clone())),
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

/// What is passed on of a chunk.
#[derive(Debug, Clone)]
pub(crate) enum Passed {
    /// What the chunk is, before its pieces.
    Digests(PieceDigests),
    Piece(u32, PieceDigest, Bytes),
}

impl Word<'_> {
    fn digests(&self) -> Option<&PieceDigests> {
        match self {
            Self::Digests(digests) => Some(digests),
            Self::Told(_) | Self::Origin => None,
        }
    }
}

impl Landing {
    pub fn new(first: u32) -> Arc<Self> {
        Arc::new(Self {
            state: watch::Sender::new(State::Empty),
            first,
            waiting: AtomicUsize::new(0),
            peers: AtomicUsize::new(0),
            asked: Mutex::default(),
            in_turn: AtomicUsize::new(0),
        })
    }

    /// Whether a reader waits for it now.
    pub fn is_awaited(&self) -> bool {
        self.waiting.load(Relaxed) > 0
    }

    /// The bytes of `range` of the chunk, as soon as the pieces that hold them are here.
    pub async fn slice(&self, range: Range<u32>) -> Result<Bytes, ReadError> {
        self.wait_for(|state| state.slice(range.clone())).await
    }

    /// All of it, once it is on the disk or there is no room for it there.
    pub async fn whole(&self) -> Result<Held, ReadError> {
        self.wait_for(State::whole).await
    }

    /// Whether it came at all, for who is in no hurry.
    pub async fn landed(&self) -> bool {
        self.wait(|state| state.whole().map(|landed| landed.is_ok())).await
    }

    /// Whether this peer is asked for it now: it must not wait for what comes here.
    pub fn is_asked_of(&self, peer: &NodeId) -> bool {
        self.asked().contains(peer)
    }

    fn asked(&self) -> MutexGuard<'_, Vec<NodeId>> {
        // Each is in it or not, whatever panicked.
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To how many peers it is passed on now.
    pub fn peers(&self) -> usize {
        self.peers.load(Relaxed)
    }

    /// Whether any of it has come.
    pub fn has_begun(&self) -> bool {
        !matches!(&*self.state.borrow(), State::Empty)
    }

    /// Each piece once, as soon as it is here, of those that are here piece `first` and those behind it before the others; or why no more
    /// come. `digests`: what the chunk is comes before them, which the manifest says of a blob's, so that nobody changes it on the way.
    ///
    /// `awaited`: a reader waits for it at the other end.
    pub fn passed_on(
        self: Arc<Self>,
        first: u32,
        digests: bool,
        awaited: bool,
    ) -> impl Stream<Item = Result<Passed, ReadError>> + Send + use<> {
        let (sent, passing) = (0_u32, Passing::new(self));
        stream::try_unfold((passing, sent, digests), move |(passing, sent, digests)| async move {
            let landing = &passing.0;
            if digests {
                let digests = landing.wait_as(awaited, State::digests).await?;
                return Ok(Some((Passed::Digests(digests), (passing, sent, false))));
            }
            let next = landing.wait_as(awaited, |state| state.piece_after(sent, first)).await?;
            Ok(next.map(|passed| {
                let sent = if let Passed::Piece(index, ..) = passed { sent | 1 << index } else { sent };
                (passed, (passing, sent, false))
            }))
        })
    }

    async fn wait_for<T>(&self, look: impl Fn(&State) -> Option<T>) -> T {
        self.wait_as(true, look).await
    }

    async fn wait_as<T>(&self, awaited: bool, look: impl Fn(&State) -> Option<T>) -> T {
        let _waiting = awaited.then(|| Waiting::new(&self.waiting));
        self.wait(look).await
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
    pub fn new(landing: Arc<Landing>, listed: Listed<Key, Arc<Landing>>, interrupted: ReadError) -> Self {
        Self { landing, listed: Some(listed), coming: Mutex::new(None), interrupted }
    }

    pub fn is_awaited(&self) -> bool {
        self.landing.is_awaited()
    }

    /// Notes that a peer is asked, until this is dropped.
    pub fn asking(&self, peer: &NodeId) -> Asking<'_> {
        self.landing.asked().push(peer.clone());
        Asking { landing: &self.landing, peer: peer.clone(), in_turn: None }
    }

    /// Whether one who is asked said that it waits.
    pub fn is_in_turn(&self) -> bool {
        self.landing.in_turn.load(Relaxed) > 0
    }

    /// Whether the origin itself has begun to give it.
    pub fn is_from_origin(&self) -> bool {
        self.coming().as_ref().is_some_and(|coming| coming.from_origin)
    }

    /// How many pieces have landed.
    pub fn landed(&self) -> usize {
        let coming = self.coming();
        let landed = |arrival: &Arrival| (0..arrival.pieces().count()).filter(|index| arrival.has(*index)).count();
        coming.as_ref().map_or(0, |coming| landed(&coming.arrival))
    }

    /// The piece to ask for first: the one that is wanted first, of those that are missing.
    pub fn first_missing(&self, pieces: Pieces) -> u32 {
        let coming = self.coming();
        let Some(Coming { arrival, .. }) = coming.as_ref() else { return self.landing.first };
        let turned = (self.landing.first..pieces.count()).chain(0..self.landing.first);
        turned.into_iter().find(|index| !arrival.has(*index)).unwrap_or(0)
    }

    /// From now on pieces must be these. What landed before stays if it was to be the same. False where the origin itself has begun to
    /// give the chunk: what a peer says of it is not believed any more.
    pub fn expect(&self, digests: &PieceDigests) -> bool {
        match &mut *self.coming() {
            Some(Coming { from_origin: true, .. }) => return false,
            Some(Coming { arrival, .. }) => arrival.expect(digests.clone()),
            none => *none = Some(Coming { arrival: Arrival::verifying(digests.clone()), from_origin: false }),
        }
        true
    }

    /// From now on pieces are taken as a peer tells them one by one. What landed before stays.
    pub fn expect_told(&self, pieces: Pieces) {
        match &mut *self.coming() {
            Some(coming) => coming.arrival.expect_anything(),
            none => *none = Some(Coming { arrival: Arrival::hashing(pieces), from_origin: false }),
        }
    }

    /// The piece from which on the origin is to be asked, up to the end: the first that is missing. What comes on the word of a peer who said
    /// in front what all of them are does not count.
    ///
    /// Where that is not the very first, what came counts from now on, and no peer's word replaces it: the origin will not give it.
    pub fn first_of_origin(&self, pieces: Pieces) -> u32 {
        let mut coming = self.coming();
        let kept = coming.as_mut().filter(|coming| coming.arrival.expected().is_none());
        let missing = |arrival: &Arrival| (0..pieces.count()).find(|index| !arrival.has(*index)).unwrap_or(0);
        kept.map_or(0, |coming| {
            let first = missing(&coming.arrival);
            coming.from_origin |= first > 0;
            first
        })
    }

    /// Takes a piece and shows it. The chunk, once all have landed.
    ///
    /// Each piece is judged by the word of who gave it; one that is as that one said, but not as another's word has it that counts now, is passed by.
    pub fn land(
        &self,
        pieces: Pieces,
        index: u32,
        bytes: Bytes,
        word: Word<'_>,
        share: &Arc<Share>,
    ) -> Result<Option<Chunk>, WrongPiece> {
        let mut coming = self.coming();
        if word == Word::Origin {
            begin_of_origin(&mut coming, pieces);
        }
        let Some(Coming { arrival, from_origin }) = coming.as_mut() else { return Err(WrongPiece(index)) };
        if *from_origin && matches!(word, Word::Digests(_)) {
            return Ok(arrival.chunk());
        }
        if !arrival.has(index) {
            let replaced = arrival.expected() != word.digests();
            let landed = match word {
                Word::Digests(digests) if replaced && !digests.verify(index, &bytes) => return Err(WrongPiece(index)),
                Word::Told(digest) => arrival.land_as(index, bytes.clone(), digest),
                Word::Digests(_) | Word::Origin => arrival.land(index, bytes.clone()),
            };
            match (landed, word) {
                (Ok(()), _) => {}
                (Err(_), Word::Digests(_)) if replaced => return Ok(None),
                (Err(_), Word::Told(digest)) if replaced && digest.is_of(pieces, index, &bytes) => return Ok(None),
                (Err(wrong), _) => return Err(wrong),
            }
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

    fn coming(&self) -> MutexGuard<'_, Option<Coming>> {
        // A piece has landed or not, whatever panicked.
        self.coming.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The origin gives pieces itself: what a peer said in front of all of them is forgotten, with what came on its word.
fn begin_of_origin(coming: &mut Option<Coming>, pieces: Pieces) {
    let kept = coming.take().map(|coming| coming.arrival).filter(|arrival| arrival.expected().is_none());
    *coming = Some(Coming { arrival: kept.unwrap_or_else(|| Arrival::hashing(pieces)), from_origin: true });
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
