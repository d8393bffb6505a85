//! What this node owns and lacks, as others told it: what is to be pulled.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::{Mutex, MutexGuard, PoisonError};

use herring_blob::BlobId;
use herring_http_api::repair::BlobParts;
use herring_ring::NodeId;
use tokio::sync::Notify;

use super::census::{Part, parts_of};

/// Parts that are wanted at a time: some 30 MB. What comes on top is offered again.
const MOST: usize = 1 << 18;
/// Parts of one blob that are given at a time.
const AT_ONCE: usize = 128;
/// Nodes that are remembered to have what is wanted of one blob.
const MOST_HOLDERS: usize = 4;

/// The parts that are to be pulled. What is being pulled stays until it is here.
#[derive(Default)]
pub(crate) struct Wants {
    state: Mutex<State>,
    more: Notify,
}

#[derive(Default)]
struct State {
    blobs: BTreeMap<BlobId, Want>,
    parts: usize,
    /// Where to go on.
    last: Option<BlobId>,
    /// Those that somebody pulls.
    taken: BTreeSet<BlobId>,
}

/// A blob of which something is wanted, and nobody else pulls it until this is dropped.
pub(crate) struct Taken<'a> {
    wants: &'a Wants,
    pub id: BlobId,
    pub want: Want,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.wants.state().taken.remove(&self.id);
        self.wants.more.notify_one();
    }
}

/// What is wanted of one blob.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Want {
    pub parts: BTreeSet<Part>,
    /// Who said that they have it.
    pub holders: Vec<NodeId>,
    pub replicas: Option<u8>,
}

impl Want {
    fn some(&self) -> Self {
        let parts = self.parts.iter().take(AT_ONCE).copied().collect();
        Self { parts, holders: self.holders.clone(), replicas: self.replicas }
    }
}

impl Wants {
    /// Takes in what `holder` has and this node lacks.
    pub fn add(&self, lacking: &[BlobParts], holder: &NodeId) {
        let mut state = self.state();
        for blob in lacking {
            let room = MOST.saturating_sub(state.parts);
            let want = state.blobs.entry(blob.id).or_default();
            let before = want.parts.len();
            want.parts.extend(parts_of(blob).map(|(_, part)| part).take(room));
            want.replicas = want.replicas.max(blob.replicas);
            if !want.holders.contains(holder) && want.holders.len() < MOST_HOLDERS {
                want.holders.push(holder.clone());
            }
            let added = want.parts.len() - before;
            state.parts += added;
        }
        state.blobs.retain(|_, want| !want.parts.is_empty());
        drop(state);
        self.more.notify_one();
    }

    /// A blob of which something is wanted and that nobody pulls, the one after the last that was given; waits for one.
    pub async fn next(&self) -> Taken<'_> {
        loop {
            if let Some(next) = self.after_last() {
                // There may be one for another who waits.
                self.more.notify_one();
                return next;
            }
            self.more.notified().await;
        }
    }

    fn after_last(&self) -> Option<Taken<'_>> {
        let mut state = self.state();
        let State { blobs, last, taken, .. } = &mut *state;
        let behind = last.map(|last| blobs.range((Excluded(last), Unbounded)));
        let mut free = behind.into_iter().flatten().chain(blobs.iter()).filter(|(id, _)| !taken.contains(*id));
        let (id, want) = free.next().map(|(id, want)| (*id, want.some()))?;
        *last = Some(id);
        taken.insert(id);
        Some(Taken { wants: self, id, want })
    }

    /// These are here, or are wanted no more.
    pub fn done(&self, id: BlobId, parts: impl IntoIterator<Item = Part>) {
        let mut state = self.state();
        let Some(want) = state.blobs.get_mut(&id) else { return };
        let before = want.parts.len();
        for part in parts {
            want.parts.remove(&part);
        }
        let (removed, empty) = (before - want.parts.len(), want.parts.is_empty());
        state.parts -= removed;
        if empty {
            state.blobs.remove(&id);
        }
    }

    /// Who may have a chunk that is wanted.
    pub fn holders(&self, id: &BlobId, chunk: u32) -> Vec<NodeId> {
        let state = self.state();
        let want = state.blobs.get(id).filter(|want| want.parts.contains(&Part::Chunk(chunk)));
        want.map(|want| want.holders.clone()).unwrap_or_default()
    }

    /// Chunks that are wanted.
    pub fn chunks(&self) -> usize {
        let state = self.state();
        state.parts - state.blobs.values().filter(|want| want.parts.contains(&Part::Manifest)).count()
    }

    pub fn is_empty(&self) -> bool {
        self.state().parts == 0
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Counts and parts change together, between panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use herring_http_api::types::Presence;

    use super::*;

    fn parts(of: &[u8], manifest: bool, chunks: impl Iterator<Item = u32>) -> BlobParts {
        BlobParts { id: BlobId::of(of), manifest, chunks: Presence::of(chunks), replicas: None, print: None }
    }

    #[test]
    fn what_is_wanted_is_given_by_turns_until_it_is_done() {
        let (wants, node) = (Wants::default(), "a".parse().unwrap());
        assert!(wants.next().now_or_never().is_none());
        wants.add(&[parts(b"1", true, 0..3), parts(b"2", false, 7..8)], &node);
        wants.add(&[parts(b"2", false, 6..9)], &"b".parse().unwrap());
        assert_eq!(wants.chunks(), 6);
        let taken: Vec<_> = (0..2).map(|_| wants.next().now_or_never().unwrap()).collect();
        assert!(wants.next().now_or_never().is_none(), "each is pulled by one");
        let given: BTreeSet<_> = taken.iter().map(|taken| taken.id).collect();
        drop(taken);
        assert_eq!(given, [BlobId::of(b"1"), BlobId::of(b"2")].into(), "each in its turn");
        assert_eq!(wants.holders(&BlobId::of(b"2"), 7).len(), 2);
        wants.done(BlobId::of(b"2"), (6..9).map(Part::Chunk));
        assert!(wants.holders(&BlobId::of(b"2"), 7).is_empty());
        wants.done(BlobId::of(b"1"), (0..3).map(Part::Chunk).chain([Part::Manifest]));
        assert!(wants.is_empty() && wants.chunks() == 0);
    }

    #[test]
    fn what_is_wanted_has_a_bound() {
        let (wants, node) = (Wants::default(), "a".parse().unwrap());
        let most = u32::try_from(MOST).unwrap();
        wants.add(&[parts(b"1", false, 0..most + 9)], &node);
        wants.add(&[parts(b"2", true, 0..9)], &node);
        assert_eq!(wants.chunks(), MOST);
        wants.done(BlobId::of(b"1"), (0..most).map(Part::Chunk));
        assert!(wants.is_empty());
    }
}
