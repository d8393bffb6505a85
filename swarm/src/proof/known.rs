//! What this process knows of manifests.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use herring_blob::{BlobId, Manifest};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::ReadError;
use crate::flight::{Answer, Flights};

/// Proofs in the background that wait at most; further ones are left to who reads the blob next.
const PENDING: usize = 256;
/// False manifests that are remembered.
const REMEMBERED: usize = 4096;
/// Blobs of which it is remembered that they are proven, some 60 bytes each; all are forgotten then.
const PROVEN: usize = 1 << 20;

type Runs = Arc<Flights<(BlobId, u128, By), Answer<Result<(), ReadError>>>>;

/// How a manifest is known to be its blob's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum By {
    /// Two nodes gave it, or nobody of its owners says otherwise: enough for a blob that is too large to be hashed first.
    Word,
    /// Two others say that they hashed the whole.
    Others,
    /// This node hashed the whole.
    Myself,
}

/// False manifests, by their prints.
#[derive(Default)]
struct Wrong {
    prints: HashMap<BlobId, Vec<u128>>,
    /// As they came.
    order: VecDeque<BlobId>,
}

/// What this process knows of manifests.
pub(crate) struct Proofs {
    /// A proof lives as long as somebody has the manifest, as its entry in the store does.
    known: RwLock<HashMap<BlobId, (By, Weak<Manifest>)>>,
    wrong: RwLock<Wrong>,
    /// Of which nodes gave different manifests: they are shown once they are proven, however large.
    disputed: RwLock<VecDeque<BlobId>>,
    pub runs: Runs,
    /// Of the one in the background.
    pub turn: Semaphore,
    /// Those that wait for their turn in the background.
    pending: Mutex<HashSet<BlobId>>,
}

impl Proofs {
    pub fn new(tasks: &TaskTracker, stop: &CancellationToken) -> Self {
        Self {
            known: RwLock::default(),
            wrong: RwLock::default(),
            disputed: RwLock::default(),
            runs: Flights::new(tasks.clone(), stop.clone()),
            turn: Semaphore::new(1),
            pending: Mutex::default(),
        }
    }

    /// How this very manifest is known to be right; `None` where it is not.
    pub fn of(&self, manifest: &Arc<Manifest>) -> Option<By> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let (by, proven) = known.get(&manifest.id())?;
        let proven = proven.upgrade()?;
        (Arc::ptr_eq(&proven, manifest) || proven == *manifest).then_some(*by)
    }

    pub fn note(&self, manifest: &Arc<Manifest>, by: By) {
        let by = self.of(manifest).map_or(by, |before| before.max(by));
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= PROVEN {
            known.clear();
        }
        known.insert(manifest.id(), (by, Arc::downgrade(manifest)));
    }

    pub fn is_false(&self, manifest: &Manifest) -> bool {
        let wrong = self.wrong.read().unwrap_or_else(PoisonError::into_inner);
        wrong.prints.get(&manifest.id()).is_some_and(|prints| prints.contains(&manifest.print()))
    }

    pub fn note_false(&self, manifest: &Arc<Manifest>) {
        if self.of(manifest).is_some() {
            self.known.write().unwrap_or_else(PoisonError::into_inner).remove(&manifest.id());
        }
        let mut wrong = self.wrong.write().unwrap_or_else(PoisonError::into_inner);
        let Wrong { prints, order } = &mut *wrong;
        if order.len() == REMEMBERED
            && let Some(first) = order.pop_front()
        {
            prints.remove(&first);
        }
        prints.entry(manifest.id()).or_default().push(manifest.print());
        order.push_back(manifest.id());
    }

    pub fn note_disputed(&self, id: BlobId) {
        let mut disputed = self.disputed.write().unwrap_or_else(PoisonError::into_inner);
        if !disputed.contains(&id) {
            if disputed.len() == REMEMBERED {
                disputed.pop_front();
            }
            disputed.push_back(id);
        }
    }

    pub fn note_settled(&self, id: &BlobId) {
        self.disputed.write().unwrap_or_else(PoisonError::into_inner).retain(|other| other != id);
    }

    pub fn is_disputed(&self, id: &BlobId) -> bool {
        self.disputed.read().unwrap_or_else(PoisonError::into_inner).contains(id)
    }

    /// Whether it is its turn to wait.
    pub fn begin_waiting(&self, id: BlobId) -> bool {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.len() < PENDING && pending.insert(id)
    }

    pub fn end_waiting(&self, id: &BlobId) {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}
