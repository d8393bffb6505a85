//! What became of blobs that were deleted. Every node remembers it for a month, so that no copy that was away brings a deleted blob back; what
//! one node knows the others hear from it when they meet. The latest word on a blob counts: who puts it again says that it lives.

use std::collections::{HashMap, HashSet};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream;
use herring_blob::{BlobId, ContentId};
use herring_gossip::{NodeInfo, View};
use herring_http_api::client::PeerError;
use herring_http_api::repair::{Bucket, BucketDigest, Compared, Fate, RepairCall, RepairReply};
use herring_ring::Point;
use herring_store::{Change, RecordError, Records, Table};

use crate::candidates::Candidate;
use crate::config::{REPAIR_DEADLINE, SMALL_DEADLINE};
use crate::custody::census::{hex, short, sum};
use crate::jobs::now_ms;
use crate::{ServeError, Swarm};

/// How long it is remembered that a blob was deleted: a node that was away for longer brings its copy back.
const REMEMBERED_MS: u64 = 30 * 24 * 3_600_000;
/// Fates in one message, some 110 bytes each, and in one go to the disk.
const BATCH: usize = 10_000;
/// Records that wait for the disk together: they share its flushes.
const TOGETHER: usize = 256;

/// All fates that this node knows.
#[derive(Default)]
pub(crate) struct Fates(RwLock<State>);

struct State {
    known: HashMap<BlobId, Fate>,
    leaves: Box<[u128]>,
}

impl Default for State {
    fn default() -> Self {
        Self { known: HashMap::new(), leaves: vec![0; Bucket::ALL.leaves().len()].into() }
    }
}

impl State {
    fn put(&mut self, fate: Fate) {
        let before = self.known.insert(fate.id, fate);
        let leaf = &mut self.leaves[bucket(&fate.id).leaves().start];
        *leaf = leaf.wrapping_add(digest(&fate)).wrapping_sub(before.as_ref().map_or(0, digest));
    }

    fn remove(&mut self, id: &BlobId) {
        if let Some(fate) = self.known.remove(id) {
            let leaf = &mut self.leaves[bucket(id).leaves().start];
            *leaf = leaf.wrapping_sub(digest(&fate));
        }
    }
}

/// Whether one fate is later than another of the same blob. Of two at the same moment, the deletion counts.
fn later(one: &Fate, other: &Fate) -> bool {
    (one.at_ms, one.deleted) > (other.at_ms, other.deleted)
}

fn bucket(id: &BlobId) -> Bucket {
    Bucket::smallest(Point::of_blob(id).as_u64())
}

fn digest(fate: &Fate) -> u128 {
    short(&[&fate.id.as_bytes()[..], &fate.at_ms.to_le_bytes(), &[u8::from(fate.deleted)]].concat())
}

impl Fates {
    /// As an earlier run of this node left them.
    pub fn load(records: &Records) -> Self {
        let (mut state, mut after) = (State::default(), None::<String>);
        loop {
            let batch = records.scan(Table::Fates, "", after.as_deref(), BATCH).unwrap_or_else(|error| {
                tracing::error!(%error, "what this node knew of deleted blobs cannot be read; others will tell it");
                Vec::new()
            });
            let fates = batch.iter().filter_map(|(_, value)| serde_json::from_slice::<Fate>(value).ok());
            fates.for_each(|fate| state.put(fate));
            match batch.last() {
                Some((last, _)) if batch.len() == BATCH => after = Some(last.clone()),
                _ => return Self(RwLock::new(state)),
            }
        }
    }

    pub fn get(&self, id: &BlobId) -> Option<Fate> {
        self.read().known.get(id).copied()
    }

    pub fn is_deleted(&self, id: &BlobId) -> bool {
        self.get(id).is_some_and(|fate| fate.deleted)
    }

    /// A fate that is later than what is known.
    pub fn next(&self, id: BlobId, deleted: bool, now_ms: u64) -> Fate {
        let known = self.get(&id).map_or(0, |fate| fate.at_ms.saturating_add(1));
        Fate { id, deleted, at_ms: now_ms.max(known) }
    }

    pub fn digests(&self, buckets: impl IntoIterator<Item = Bucket>) -> Vec<BucketDigest> {
        let state = self.read();
        buckets.into_iter().map(|bucket| BucketDigest { bucket, digest: hex(sum(&state.leaves[bucket.leaves()])) }).collect()
    }

    pub fn differing(&self, theirs: &[BucketDigest]) -> Vec<Bucket> {
        let ours = self.digests(theirs.iter().map(|one| one.bucket));
        ours.iter().zip(theirs).filter(|(ours, theirs)| ours != theirs).map(|(ours, _)| ours.bucket).collect()
    }

    /// Those in these buckets that are still to be remembered.
    pub fn within(&self, buckets: &[Bucket]) -> Vec<Fate> {
        let (state, now) = (self.read(), now_ms());
        let buckets: HashSet<&Bucket> = buckets.iter().collect();
        let leaves: HashSet<usize> = buckets.into_iter().flat_map(|bucket| bucket.leaves()).collect();
        let wanted = |fate: &&Fate| !outlived(fate, now) && leaves.contains(&bucket(&fate.id).leaves().start);
        state.known.values().filter(wanted).copied().collect()
    }

    fn is_news(&self, fate: &Fate) -> bool {
        !outlived(fate, now_ms()) && self.get(&fate.id).is_none_or(|known| later(fate, &known))
    }

    /// True where it is later than what is known.
    pub(crate) fn learn(&self, fate: Fate) -> bool {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let news = state.known.get(&fate.id).is_none_or(|known| later(&fate, known));
        if news {
            state.put(fate);
        }
        news
    }

    /// Those that are deleted, and of which this holds.
    fn deleted(&self, which: impl Fn(&BlobId) -> bool) -> Vec<BlobId> {
        self.read().known.values().filter(|fate| fate.deleted).map(|fate| fate.id).filter(which).collect()
    }

    fn outlived(&self, now_ms: u64) -> Vec<Fate> {
        self.read().known.values().filter(|fate| outlived(fate, now_ms)).copied().collect()
    }

    fn forget(&self, fate: &Fate) {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if state.known.get(&fate.id) == Some(fate) {
            state.remove(&fate.id);
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        // Fates come and go whole.
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn outlived(fate: &Fate, now_ms: u64) -> bool {
    now_ms.saturating_sub(fate.at_ms) > REMEMBERED_MS
}

/// What becomes of a record: the later fate stays.
fn record(fate: Fate) -> impl FnOnce(Option<&[u8]>) -> Change<()> + Send + 'static {
    move |kept| {
        let known = kept.and_then(|kept| serde_json::from_slice::<Fate>(kept).ok());
        match known {
            Some(known) if !later(&fate, &known) => Change::Keep(()),
            _ => Change::Put(serde_json::to_vec(&fate).expect("a fate is text and numbers"), ()),
        }
    }
}

impl Swarm {
    /// Remembers what is news, on the disk before it says so, and removes what was deleted.
    pub(crate) async fn remember(&self, fates: Vec<Fate>) -> Result<(), RecordError> {
        let news: Vec<Fate> = fates.into_iter().filter(|fate| self.0.fates.is_news(fate)).collect();
        for together in news.chunks(TOGETHER) {
            let written =
                together.iter().map(|fate| self.0.store.records().update(Table::Fates, fate.id.to_string(), record(*fate)));
            join_all(written).await.into_iter().collect::<Result<(), _>>()?;
            for fate in together {
                if self.0.fates.learn(*fate) && fate.deleted {
                    // In a task of its own: whoever told it may not wait for the end.
                    let (swarm, id) = (self.clone(), fate.id);
                    let _ = self.0.tasks.spawn(async move { swarm.bury(id).await }).await;
                }
            }
        }
        Ok(())
    }

    /// A disk that does not let go of it is asked again at every sweep.
    async fn bury(&self, id: BlobId) {
        if !self.0.fates.is_deleted(&id) {
            // Put again meanwhile.
            return;
        }
        if let Err(error) = self.remove_deleted(id).await {
            tracing::warn!(%id, %error, "a blob that was deleted is still on this node's disk; it is tried again");
        }
    }

    /// Forgets what nobody brings back any more, and removes again what should not be here.
    pub(crate) async fn sweep_fates(&self) {
        for fate in self.0.fates.outlived(now_ms()) {
            let forget = move |kept: Option<&[u8]>| match kept.and_then(|kept| serde_json::from_slice::<Fate>(kept).ok()) {
                Some(known) if known != fate => Change::Keep(()),
                _ => Change::Remove(()),
            };
            if self.0.store.records().update(Table::Fates, fate.id.to_string(), forget).await.is_ok() {
                self.0.fates.forget(&fate);
            }
        }
        for id in self.0.fates.deleted(|id| self.0.store.get(&ContentId::from(*id)).is_some()) {
            self.bury(id).await;
        }
    }

    pub(crate) async fn answer_fates(&self, fates: Vec<Fate>, buckets: &[Bucket]) -> Result<RepairReply, ServeError> {
        self.remember(fates).await?;
        Ok(RepairReply::Fates { fates: self.0.fates.within(buckets) })
    }

    /// Tells a fate to those of these members that are others, all at once. What each said.
    pub(crate) async fn tell_all(
        &self,
        view: &View,
        nodes: impl IntoIterator<Item = &NodeInfo>,
        fate: Fate,
        deadline: Duration,
    ) -> Vec<(Candidate, Result<(), PeerError>)> {
        let others = nodes.into_iter().filter(|node| node.id != *view.me()).map(Candidate::from);
        join_all(others.map(|node| async {
            let told = self.tell_one(view, &node, fate, deadline).await;
            (node, told)
        }))
        .await
    }

    /// A node of the version before remembers nothing, and can only be told to remove.
    pub(crate) async fn tell_one(&self, view: &View, node: &Candidate, fate: Fate, deadline: Duration) -> Result<(), PeerError> {
        match self.exchange_fates(view, node, vec![fate], Vec::new(), deadline).await {
            Err(PeerError::NotFound) if fate.deleted => {
                self.0.peers.delete(node.http, fate.id, &self.ask(view, deadline)).await.map(drop)
            }
            Err(PeerError::NotFound) => Ok(()),
            told => told,
        }
    }

    /// Tells a member fates, and hears its own in these buckets.
    async fn exchange_fates(
        &self,
        view: &View,
        node: &Candidate,
        fates: Vec<Fate>,
        buckets: Vec<Bucket>,
        deadline: Duration,
    ) -> Result<(), PeerError> {
        let call = RepairCall::Fates { fates, buckets };
        let reply = self.0.peers.repair(node.http, &call, &self.ask(view, deadline)).await?;
        let RepairReply::Fates { fates } = reply else { return Err(PeerError::Garbage("another answer".to_owned())) };
        self.remember(fates).await.map_err(|error| PeerError::Garbage(error.to_string()))
    }

    /// The fate of one blob, as a member knows it.
    pub(crate) async fn hear_fate(&self, view: &View, node: &Candidate, id: BlobId) -> Result<(), PeerError> {
        self.exchange_fates(view, node, Vec::new(), vec![bucket(&id)], SMALL_DEADLINE).await
    }

    /// Says that a blob lives, to all who can hear it.
    pub(crate) async fn revive(&self, view: &View, id: BlobId) -> Result<Fate, RecordError> {
        let fate = self.0.fates.next(id, false, now_ms());
        self.remember(vec![fate]).await?;
        // Who does not hear it now hears it when it meets one who did. The silent are not waited for.
        self.tell_all(view, view.members().iter().filter(|node| !view.suspect(&node.id)), fate, SMALL_DEADLINE).await;
        Ok(fate)
    }

    /// What this node and another know of deleted blobs becomes the same on both. True where nothing was missing anywhere.
    pub(crate) async fn reconcile_fates(&self, view: &View, node: &Candidate) -> Result<bool, PeerError> {
        let mut asked = vec![Bucket::ALL];
        loop {
            let digests = self.0.fates.digests(asked.iter().copied());
            let call = RepairCall::Compare { what: Compared::Fates, epoch: String::new(), digests };
            let reply = self.0.peers.repair(node.http, &call, &self.ask(view, REPAIR_DEADLINE)).await?;
            let RepairReply::Differ { buckets } = reply else { return Err(PeerError::Garbage("another answer".to_owned())) };
            let buckets = Bucket::of_those(asked, buckets);
            if buckets.is_empty() {
                return Ok(true);
            }
            if buckets.iter().all(|bucket| bucket.is_smallest()) {
                self.exchange(view, node, buckets).await?;
                return Ok(false);
            }
            asked = buckets.into_iter().flat_map(Bucket::parts).collect();
        }
    }

    async fn exchange(&self, view: &View, node: &Candidate, buckets: Vec<Bucket>) -> Result<(), PeerError> {
        let ours = self.0.fates.within(&buckets);
        let mut messages: Vec<_> = ours.chunks(BATCH).map(<[Fate]>::to_vec).collect();
        let last = messages.pop().unwrap_or_default();
        let told = stream::iter(messages).then(|fates| self.exchange_fates(view, node, fates, Vec::new(), REPAIR_DEADLINE));
        let told: Vec<_> = told.collect().await;
        told.into_iter().collect::<Result<(), _>>()?;
        self.exchange_fates(view, node, last, buckets, REPAIR_DEADLINE).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fate(of: &[u8], deleted: bool, at_ms: u64) -> Fate {
        Fate { id: BlobId::of(of), deleted, at_ms }
    }

    fn fates() -> Fates {
        Fates::default()
    }

    #[test]
    fn the_latest_counts_whatever_the_order() {
        let now = now_ms();
        let all = [fate(b"1", true, now), fate(b"1", false, now + 1), fate(b"2", true, now), fate(b"2", false, now)];
        let (one, other) = (fates(), fates());
        all.iter().for_each(|fate| _ = one.learn(*fate));
        all.iter().rev().for_each(|fate| _ = other.learn(*fate));
        assert!(!one.is_deleted(&all[0].id) && one.is_deleted(&all[2].id));
        assert_eq!(one.digests([Bucket::ALL]), other.digests([Bucket::ALL]));
        assert!(one.next(all[1].id, true, now).at_ms > all[1].at_ms);
    }

    #[test]
    fn what_differs_is_found_in_its_bucket_and_nowhere_else() {
        let (one, other) = (fates(), fates());
        for n in 0..200u32 {
            let same = fate(&n.to_le_bytes(), true, now_ms());
            assert!(one.learn(same) && other.learn(same));
        }
        let more = fate(b"more", true, now_ms());
        one.learn(more);
        let mut buckets = vec![Bucket::ALL];
        while !buckets[0].is_smallest() {
            buckets = other.differing(&one.digests(buckets.iter().flat_map(|bucket| bucket.parts())));
        }
        assert_eq!(buckets, [bucket(&more.id)]);
        assert!(one.within(&buckets).contains(&more));
        one.forget(&more);
        assert!(other.differing(&one.digests([Bucket::ALL])).is_empty(), "a sum loses what is taken from it");
    }

    #[test]
    fn what_is_old_is_no_news() {
        let fates = fates();
        assert!(!fates.is_news(&fate(b"old", true, now_ms() - REMEMBERED_MS - 1)));
        fates.learn(fate(b"old", true, 1));
        assert!(fates.within(&[Bucket::ALL]).is_empty());
        assert_eq!(fates.outlived(now_ms()).len(), 1);
    }
}
