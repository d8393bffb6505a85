//! Whether a manifest is the blob's. An id is the SHA-256 of the whole, and a manifest names the digests of chunks: that the two belong together only knows
//! who hashed all of it. A node that lies could invent a manifest and the chunks that fit it, so nobody's manifest is simply believed
//! ([ADR 6](../../docs/adr/0006-manifest-trust.md)):
//!
//! * a blob of up to [`prove_first`](crate::SwarmConfig::prove_first) bytes is shown once this node has hashed the whole, or two others say that they have;
//! * a larger one is shown as it comes, but a stream of the whole ends with an error before its last piece where it was not that blob;
//! * whatever is here as a whole is hashed in the background.

use std::collections::{HashMap, HashSet, VecDeque};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::TryStreamExt;
use herring_blob::{BlobId, ChunkDigest, IdHasher, Manifest};
use herring_store::{Description, Entry, WriteError};
use metrics::counter;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::flight::{Answer, Flights};
use crate::{Content, ReadError, Source, Swarm, metrics as m};

/// How many others must say that they hashed the whole: one of them may lie.
pub(crate) const VOUCHERS: usize = 2;
/// Proofs in the background that wait at most; further ones are left to who reads the blob next.
const PENDING: usize = 256;
/// False manifests that are remembered.
const REMEMBERED: usize = 4096;
/// Blobs of which it is remembered that they are proven, some 60 bytes each; all are forgotten then.
const PROVEN: usize = 1 << 20;
/// Between two pieces of 1 MiB while readers wait: 100 MB/s at most.
const ASIDE: Duration = Duration::from_millis(10);
/// How long a proof in the background stands back for readers, looking so often.
const STAND_BACK: (u32, Duration) = (50, Duration::from_millis(100));

type Runs = Arc<Flights<(BlobId, By), Answer<Result<(), ReadError>>>>;

/// How a manifest is known to be its blob's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum By {
    Others,
    /// This node hashed the whole.
    Myself,
}

/// What this process knows of manifests.
pub(crate) struct Proofs {
    /// A proof lives as long as somebody has the manifest, as its entry in the store does.
    known: RwLock<HashMap<BlobId, (By, Weak<Manifest>)>>,
    wrong: RwLock<VecDeque<(BlobId, ChunkDigest)>>,
    /// Of which nodes gave different manifests: they are shown once they are proven, however large.
    disputed: RwLock<HashSet<BlobId>>,
    runs: Runs,
    turn: Semaphore,
    pending: AtomicUsize,
}

impl Proofs {
    pub fn new(tasks: &TaskTracker, stop: &CancellationToken) -> Self {
        Self {
            known: RwLock::default(),
            wrong: RwLock::default(),
            disputed: RwLock::default(),
            runs: Flights::new(tasks.clone(), stop.clone()),
            turn: Semaphore::new(1),
            pending: AtomicUsize::new(0),
        }
    }

    /// How this very manifest is known to be right; `None` where it is not.
    pub fn of(&self, manifest: &Arc<Manifest>) -> Option<By> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let (by, proven) = known.get(&manifest.id())?;
        let proven = proven.upgrade()?;
        (Arc::ptr_eq(&proven, manifest) || proven == *manifest).then_some(*by)
    }

    fn note(&self, manifest: &Arc<Manifest>, by: By) {
        let by = self.of(manifest).map_or(by, |before| before.max(by));
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= PROVEN {
            known.clear();
        }
        known.insert(manifest.id(), (by, Arc::downgrade(manifest)));
    }

    pub fn is_false(&self, manifest: &Manifest) -> bool {
        let wrong = self.wrong.read().unwrap_or_else(PoisonError::into_inner);
        let mut of_it = wrong.iter().filter(|(id, _)| *id == manifest.id()).peekable();
        of_it.peek().is_some() && of_it.any(|(_, print)| *print == fingerprint(manifest))
    }

    pub fn note_disputed(&self, id: BlobId) {
        let mut disputed = self.disputed.write().unwrap_or_else(PoisonError::into_inner);
        if disputed.len() < REMEMBERED {
            disputed.insert(id);
        }
    }

    fn is_disputed(&self, id: &BlobId) -> bool {
        self.disputed.read().unwrap_or_else(PoisonError::into_inner).contains(id)
    }

    fn note_false(&self, manifest: &Manifest) {
        let mut wrong = self.wrong.write().unwrap_or_else(PoisonError::into_inner);
        if wrong.len() == REMEMBERED {
            wrong.pop_front();
        }
        wrong.push_back((manifest.id(), fingerprint(manifest)));
    }
}

fn fingerprint(manifest: &Manifest) -> ChunkDigest {
    let shape = [manifest.size().to_le_bytes().as_slice(), &manifest.geometry().chunk_size().to_le_bytes()].concat();
    ChunkDigest::of(&manifest.chunks().iter().fold(shape, |mut all, digest| {
        all.extend(digest.as_bytes());
        all
    }))
}

impl Swarm {
    /// Where the store has it, the proof lasts as long as that does.
    pub(crate) fn note_proof(&self, manifest: &Arc<Manifest>, by: By) {
        let entry = self.0.store.get(&manifest.id().into());
        let kept = entry.as_ref().and_then(|entry| match entry.description() {
            Description::Blob(kept) if kept == manifest => Some(kept),
            _ => None,
        });
        self.0.proofs.note(kept.unwrap_or(manifest), by);
    }

    /// Whether the content may be shown without looking further.
    pub(crate) fn is_shown(&self, content: &Content) -> bool {
        let Source::Blob(manifest) = content.source() else { return true };
        if content.is_proven() {
            return true;
        }
        if self.0.proofs.of(manifest).is_some() {
            content.set_proven();
            return true;
        }
        let (proofs, large) = (&self.0.proofs, manifest.size() > self.0.config.prove_first);
        large && !proofs.is_false(manifest) && !proofs.is_disputed(&manifest.id())
    }

    /// Returns once the content may be shown. Many readers make one proof.
    pub(crate) async fn expect_shown(&self, content: &Content) -> Result<(), ReadError> {
        let Source::Blob(manifest) = content.source() else { return Ok(()) };
        while !self.is_shown(content) {
            // The proof that was under way may have been of another manifest of the same blob; this one is proven, or called false, by the next.
            self.prove(Arc::clone(manifest), By::Others).await?;
        }
        Ok(())
    }

    /// `by`: the least that will do.
    async fn prove(&self, manifest: Arc<Manifest>, by: By) -> Result<(), ReadError> {
        let (swarm, id) = (self.clone(), manifest.id());
        let interrupted = || Err(ReadError::interrupted(format!("blob {id}"), 0));
        let proof = || async move { swarm.prove_now(&manifest, by).await };
        self.0.proofs.runs.join((id, by), proof).await.unwrap_or_else(interrupted)
    }

    async fn prove_now(&self, manifest: &Arc<Manifest>, by: By) -> Result<(), ReadError> {
        let id = manifest.id();
        let is_here = || self.0.store.get(&id.into()).is_some_and(|entry| entry.is_complete());
        if by == By::Others && !is_here() && self.is_vouched(manifest).await {
            self.note_proof(manifest, By::Others);
            return Ok(());
        }
        // Twice, before anything is called false: memory errs too.
        for _ in 0..2 {
            if self.0.proofs.is_false(manifest) {
                break;
            }
            if self.hash_whole(manifest, by).await? == id {
                self.note_proof(manifest, By::Myself);
                return Ok(());
            }
        }
        self.disbelieve(manifest).await;
        Err(ReadError::False { what: format!("blob {id}") })
    }

    /// One for which nobody waits lets readers go first.
    async fn hash_whole(&self, manifest: &Arc<Manifest>, by: By) -> Result<BlobId, ReadError> {
        let content = Content::blob(Arc::clone(manifest), SystemTime::now());
        let mut pieces = pin!(self.stream_unproven(&content, herring_blob::ByteRange::new(0, content.size())));
        let mut hashing = Hashing::begin();
        while let Some(piece) = pieces.try_next().await? {
            hashing.take(piece).await;
            if by == By::Myself && self.0.readers.are_waiting() {
                sleep(ASIDE).await;
            }
        }
        Ok(hashing.finish().await)
    }

    /// What is only cached goes. What is kept stays for an operator to look at, and is shown to nobody.
    pub(crate) async fn disbelieve(&self, manifest: &Arc<Manifest>) {
        let id = manifest.id();
        if self.0.proofs.is_false(manifest) {
            return;
        }
        self.0.proofs.note_false(manifest);
        counter!(m::FALSE_MANIFESTS).increment(1);
        tracing::error!(%id, size = manifest.size(), "what the swarm has as this blob does not hash to its id: some node lied, or kept it wrongly; it is not shown");
        if let Err(error) = self.remove_false(manifest).await {
            tracing::warn!(%id, %error, "what is false of a blob could not be removed");
        }
    }

    pub(crate) async fn remove_false(&self, manifest: &Arc<Manifest>) -> Result<(), WriteError> {
        let is_it = is_entry_of(Arc::clone(manifest));
        self.0.store.remove_if(&manifest.id().into(), move |entry| !entry.is_kept() && is_it(entry)).await.map(drop)
    }

    /// Where the disk has what is known to be false, it goes: somebody brings the blob itself.
    pub(crate) async fn make_way(&self, manifest: &Arc<Manifest>) -> bool {
        let there = self.0.store.get(&manifest.id().into());
        let Some(Description::Blob(other)) = there.as_ref().map(Entry::description) else { return false };
        if other == manifest || !self.0.proofs.is_false(other) {
            return false;
        }
        let gone = self.0.store.remove_if(&manifest.id().into(), is_entry_of(Arc::clone(other))).await;
        gone.unwrap_or(false)
    }

    /// In the background, one after the other, behind the readers.
    pub(crate) fn prove_soon(&self, manifest: &Arc<Manifest>) {
        let proofs = &self.0.proofs;
        if self.0.config.prove_first == 0 || proofs.of(manifest) == Some(By::Myself) || proofs.is_false(manifest) {
            return;
        }
        if proofs.pending.fetch_add(1, Relaxed) >= PENDING {
            proofs.pending.fetch_sub(1, Relaxed);
            return;
        }
        let (swarm, manifest, stop) = (self.clone(), Arc::clone(manifest), self.0.stop.clone());
        self.0.tasks.spawn(async move {
            let proof = swarm.prove_in_turn(manifest);
            stop.run_until_cancelled(proof).await;
            swarm.0.proofs.pending.fetch_sub(1, Relaxed);
        });
    }

    async fn prove_in_turn(&self, manifest: Arc<Manifest>) {
        let _turn = self.0.proofs.turn.acquire().await;
        for _ in 0..STAND_BACK.0 {
            if !self.0.readers.are_waiting() {
                break;
            }
            sleep(STAND_BACK.1).await;
        }
        if self.0.proofs.of(&manifest) != Some(By::Myself)
            && let Err(error) = self.prove(manifest, By::Myself).await
        {
            tracing::debug!(%error, "a blob was not proven");
        }
    }

    /// The same, where all of it is on this node's disk.
    pub(crate) fn prove_soon_if_here(&self, manifest: &Arc<Manifest>) {
        if self.0.store.get(&manifest.id().into()).is_some_and(|entry| entry.is_complete()) {
            self.prove_soon(manifest);
        }
    }

    /// The pieces of a whole blob that nobody has proven yet, of which the last comes only once they are known to be that blob.
    pub(crate) async fn check_piece(&self, checking: &mut Checking, content: &Content, piece: Bytes) -> Result<Bytes, ReadError> {
        checking.hashing.take(piece.clone()).await;
        checking.left -= piece.len() as u64;
        let Source::Blob(manifest) = content.source() else { return Ok(piece) };
        if checking.left > 0 {
            return Ok(piece);
        }
        let hashing = std::mem::replace(&mut checking.hashing, Hashing::begin());
        if hashing.finish().await == manifest.id() {
            self.note_proof(manifest, By::Myself);
            return Ok(piece);
        }
        // Looked at once more before it is called false.
        self.prove_soon(manifest);
        Err(ReadError::False { what: content.to_string() })
    }
}

fn is_entry_of(manifest: Arc<Manifest>) -> impl Fn(&Entry) -> bool + Send + 'static {
    move |entry| *entry.description() == Description::Blob(Arc::clone(&manifest))
}

/// A stream of a whole blob that is hashed on its way.
pub(crate) struct Checking {
    hashing: Hashing,
    left: u64,
}

impl Checking {
    pub fn of(size: u64) -> Self {
        Self { hashing: Hashing::begin(), left: size }
    }
}

/// SHA-256 beside whoever brings the pieces: 0.5 ms for each MiB.
struct Hashing(JoinHandle<IdHasher>);

impl Hashing {
    fn begin() -> Self {
        Self(tokio::spawn(async { IdHasher::default() }))
    }

    /// Returns once the piece before was taken.
    async fn take(&mut self, piece: Bytes) {
        let mut hasher = self.now().await;
        self.0 = tokio::task::spawn_blocking(move || {
            hasher.update(&piece);
            hasher
        });
    }

    async fn finish(mut self) -> BlobId {
        self.now().await.finish()
    }

    /// Where the runtime ends under it, the hash is of nothing, and proves nothing.
    async fn now(&mut self) -> IdHasher {
        (&mut self.0).await.unwrap_or_default()
    }
}
