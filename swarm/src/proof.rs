//! Whether a manifest is the blob's. An id is the SHA-256 of the whole, and a manifest names the digests of chunks: that the two belong together only knows
//! who hashed all of it. A node that lies could invent a manifest and the chunks that fit it, so nobody's manifest is simply believed
//! ([ADR 6](../../docs/adr/0006-manifest-trust.md)):
//!
//! * a blob of up to [`prove_first`](crate::SwarmConfig::prove_first) bytes is shown once this node has hashed the whole, or two others say that they have;
//! * a larger one is shown as it comes once several nodes gave the manifest, but a stream of the whole ends with an error before its last piece where it
//!   was not that blob;
//! * whatever is here as a whole is hashed in the background.

mod hashing;
mod known;

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::TryStreamExt;
use herring_blob::{BlobId, ByteRange, ContentId, Manifest};
use herring_store::{Description, Entry, WriteError};
use metrics::counter;
use tokio::time::{sleep, timeout};

pub(crate) use hashing::Checking;
use hashing::Hashing;
pub(crate) use known::{By, Proofs};

use crate::{Content, ReadError, Source, Swarm, Tried, metrics as m};

/// How many others must say that they hashed the whole: one of them may lie.
pub(crate) const VOUCHERS: usize = 2;
/// How long one proof may take, and a second more for so many bytes.
const DEADLINE: Duration = Duration::from_secs(60);
const SLOWEST: u64 = 1 << 20;
/// How long a put waits until what contradicts it is proven.
const PROVE_FOR_PUT: Duration = Duration::from_secs(5);
/// Between two pieces of 1 MiB while readers wait: 100 MB/s at most.
const ASIDE: Duration = Duration::from_millis(10);
/// How long a proof in the background stands back for readers, looking so often.
const STAND_BACK: (u32, Duration) = (50, Duration::from_millis(100));

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
        if self.0.config.prove_first == 0 {
            // Everybody is believed who was not refuted.
            return !self.0.proofs.is_false(manifest) && !self.0.proofs.is_disputed(&manifest.id());
        }
        let known = self.0.proofs.of(manifest);
        if known >= Some(By::Others) {
            content.set_proven();
        }
        known >= Some(self.least(manifest))
    }

    /// Whether nobody has hashed a blob that is shown, so that whoever reads all of it should.
    pub(crate) fn is_by_word(&self, content: &Content) -> bool {
        let Source::Blob(manifest) = content.source() else { return false };
        self.0.config.prove_first > 0 && self.0.proofs.of(manifest) < Some(By::Others)
    }

    /// How its manifest must be known for a blob to be shown.
    pub(crate) fn least(&self, manifest: &Manifest) -> By {
        if manifest.size() > self.0.config.prove_first { By::Word } else { By::Others }
    }

    /// Returns once the content may be shown. Many readers make one proof.
    pub(crate) async fn expect_shown(&self, content: &Content) -> Result<(), ReadError> {
        let Source::Blob(manifest) = content.source() else { return Ok(()) };
        if self.is_shown(content) {
            return Ok(());
        }
        self.prove(Arc::clone(manifest), self.least(manifest)).await
    }

    /// `by`: the least that will do.
    async fn prove(&self, manifest: Arc<Manifest>, by: By) -> Result<(), ReadError> {
        let (swarm, id, one) = (self.clone(), manifest.id(), Arc::clone(&manifest));
        let interrupted = || Err(ReadError::interrupted(format!("blob {id}"), 0));
        let proof = || async move {
            let limit = DEADLINE + Duration::from_secs(one.size() / SLOWEST);
            let late = || Tried::of("this node", format_args!("hashed it for {} s", limit.as_secs()));
            let late = |_| Err(ReadError::Unavailable { what: format!("blob {id}"), chunk: 0, tried: late() });
            timeout(limit, swarm.prove_now(&one, by)).await.unwrap_or_else(late)
        };
        self.0.proofs.runs.join((id, manifest.print(), by), proof).await.unwrap_or_else(interrupted)
    }

    async fn prove_now(&self, manifest: &Arc<Manifest>, by: By) -> Result<(), ReadError> {
        let (id, content) = (manifest.id(), Content::blob(Arc::clone(manifest), SystemTime::now()));
        let here = || self.entry_with(&content);
        if self.0.proofs.is_false(manifest) {
            return Err(ReadError::False { what: format!("blob {id}") });
        }
        if by < By::Myself && (by == By::Word || !here().is_some_and(|entry| entry.is_complete())) {
            let given = self.owners_manifests(id, here().is_some_and(|entry| entry.is_kept()).then_some(manifest)).await;
            match given.known {
                Some(known) if known >= by && given.all[0] == *manifest => {
                    self.note_proof(manifest, known);
                    return Ok(());
                }
                Some(By::Others) if contradict(&given.all[0], manifest) => self.disbelieve(manifest).await,
                _ => {}
            }
        }
        // Twice, before anything is called false: memory errs too.
        for again in [false, true] {
            if self.0.proofs.is_false(manifest) {
                break;
            }
            if again && let Some(entry) = here() {
                verify_anew(&entry).await;
            }
            if self.hash_whole(&content, by).await? == id {
                self.note_proof(manifest, By::Myself);
                return Ok(());
            }
        }
        self.disbelieve(manifest).await;
        Err(ReadError::False { what: format!("blob {id}") })
    }

    /// One for which nobody waits goes slowly: a large one, and while readers wait.
    async fn hash_whole(&self, content: &Content, by: By) -> Result<BlobId, ReadError> {
        let mut pieces = pin!(self.stream_unproven(content, ByteRange::new(0, content.size())));
        let (mut hashing, large) = (Hashing::begin(), content.size() > self.0.config.prove_first);
        while let Some(piece) = pieces.try_next().await? {
            hashing.take(piece).await;
            if by == By::Myself && (large || self.0.readers.are_waiting()) {
                sleep(ASIDE).await;
            }
        }
        hashing.finish().await.ok_or_else(|| ReadError::interrupted(content.to_string(), 0))
    }

    /// What is only cached goes. What is kept stays for an operator to look at, and is shown to nobody; it gives way to who brings the blob itself.
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
        self.forget_shown(id);
    }

    /// A mount may have parts of it in the kernel's cache, and others what they made of it.
    fn forget_shown(&self, id: BlobId) {
        self.0.trees.forget(&id);
        let _ = self.0.deletions.send(id);
    }

    pub(crate) async fn remove_false(&self, manifest: &Arc<Manifest>) -> Result<(), WriteError> {
        let is_it = is_entry_of(Arc::clone(manifest));
        self.0.store.remove_if(&manifest.id().into(), move |entry| !entry.is_kept() && is_it(entry)).await.map(drop)
    }

    /// Whether another entry of the id went, for this manifest: what is false, what nobody put and nobody has proven, and what holds nothing. For a manifest
    /// that is known to be right whatever contradicts it as well.
    pub(crate) async fn make_way(&self, manifest: &Arc<Manifest>) -> bool {
        let there = self.0.store.get(&manifest.id().into());
        let Some(Description::Blob(other)) = there.as_ref().map(Entry::description) else { return false };
        let proofs = &self.0.proofs;
        if other == manifest || proofs.of(other) >= Some(By::Others) {
            return false;
        }
        if proofs.of(manifest) >= Some(By::Others) && contradict(manifest, other) {
            self.disbelieve(other).await;
        }
        let (is_false, is_it) = (proofs.is_false(other), is_entry_of(Arc::clone(other)));
        let goes = move |entry: &Entry| is_it(entry) && (is_false || !entry.is_kept() || entry.present_count() == 0);
        let gone = self.0.store.remove_if(&manifest.id().into(), goes).await.unwrap_or(false);
        if gone {
            self.forget_shown(manifest.id());
        }
        gone
    }

    /// The same for a put that is under way, where the other has chunks and one of the two must be a lie: it has to be proven now. What cannot be is no
    /// replica of anything.
    pub(crate) async fn make_way_for_put(&self, manifest: &Arc<Manifest>) -> bool {
        if self.make_way(manifest).await {
            return true;
        }
        let there = self.0.store.get(&manifest.id().into());
        let Some(Description::Blob(other)) = there.as_ref().map(Entry::description) else { return false };
        if other.size() > self.0.config.prove_first || !contradict(manifest, other) {
            return false;
        }
        if let Ok(Ok(())) = timeout(PROVE_FOR_PUT, self.prove(Arc::clone(other), By::Others)).await {
            return false;
        }
        let is_it = is_entry_of(Arc::clone(other));
        let gone = self.0.store.remove_if(&manifest.id().into(), is_it).await.unwrap_or(false);
        if gone {
            tracing::warn!(id = %manifest.id(), "what was kept of a blob could not be proven, and gave way to a put of it");
            self.forget_shown(manifest.id());
        }
        gone
    }

    /// What the disk has of a blob, unless it is known to be false: then it is as good as nothing.
    pub(crate) fn true_entry(&self, id: &BlobId) -> Option<Entry> {
        let entry = self.0.store.get(&ContentId::from(*id))?;
        let is_false = matches!(entry.description(), Description::Blob(manifest) if self.0.proofs.is_false(manifest));
        (!is_false).then_some(entry)
    }

    /// In the background, one after the other, behind the readers.
    pub(crate) fn prove_soon(&self, manifest: &Arc<Manifest>) {
        let proofs = &self.0.proofs;
        if self.0.config.prove_first == 0 || proofs.of(manifest) == Some(By::Myself) || proofs.is_false(manifest) {
            return;
        }
        if !proofs.begin_waiting(manifest.id()) {
            return;
        }
        let (swarm, manifest, stop) = (self.clone(), Arc::clone(manifest), self.0.stop.clone());
        self.0.tasks.spawn(async move {
            let id = manifest.id();
            stop.run_until_cancelled(swarm.prove_in_turn(manifest)).await;
            swarm.0.proofs.end_waiting(&id);
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
        let content = Content::blob(Arc::clone(manifest), SystemTime::now());
        if self.entry_with(&content).is_some_and(|entry| entry.is_complete()) {
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
        match hashing.finish().await {
            Some(id) if id == manifest.id() => {
                self.note_proof(manifest, By::Myself);
                return Ok(piece);
            }
            Some(_) => {}
            None => return Err(ReadError::interrupted(content.to_string(), 0)),
        }
        // Looked at once more before it is called false.
        self.prove_soon(manifest);
        Err(ReadError::False { what: content.to_string() })
    }
}

/// Whether one of the two is a lie: only with chunks of two sizes both may be right.
fn contradict(one: &Manifest, other: &Manifest) -> bool {
    one != other && (one.size() != other.size() || one.geometry() == other.geometry())
}

fn is_entry_of(manifest: Arc<Manifest>) -> impl Fn(&Entry) -> bool + Send + 'static {
    move |entry| *entry.description() == Description::Blob(Arc::clone(&manifest))
}

/// Reads again what the disk has; what is not right there is dropped.
async fn verify_anew(entry: &Entry) {
    for chunk in (0..entry.geometry().chunk_count()).filter(|chunk| entry.has(*chunk)) {
        if let Err(error) = entry.scrub(chunk).await {
            tracing::warn!(id = %entry.id(), chunk, %error, "a chunk could not be read again");
        }
    }
}
