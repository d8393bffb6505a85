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
/// How far ahead of this node's clock a fate that others tell may be dated: clocks are within a minute of each other. One of the year 3000 could not
/// be taken back before.
const AHEAD_MS: u64 = 24 * 3_600_000;
/// Fates in one message, some 110 bytes each, and in one go to the disk.
pub(crate) const BATCH: usize = 10_000;
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
        self.read().known.get(id).copied().filter(|fate| !cannot_be(fate, now_ms()))
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

    /// The same for one message. Where that is not all, whole buckets first: those are then the same on both, and the next message has others.
    fn told(&self, buckets: &[Bucket]) -> Vec<Fate> {
        let mut fates = self.within(buckets);
        if fates.len() > BATCH {
            fates.sort_unstable_by_key(|fate| bucket(&fate.id).leaves().start);
            fates.truncate(BATCH);
        }
        fates
    }

    fn is_news(&self, fate: &Fate) -> bool {
        !outlived(fate, now_ms()) && self.get(&fate.id).is_none_or(|known| later(fate, &known))
    }

    /// True where it is later than what is known.
    pub(crate) fn learn(&self, fate: Fate) -> bool {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let news = state.known.get(&fate.id).is_none_or(|known| cannot_be(known, now_ms()) || later(&fate, known));
        if news {
            state.put(fate);
        }
        news
    }

    /// Those that are deleted, and of which this holds.
    fn deleted(&self, which: impl Fn(&BlobId) -> bool) -> Vec<BlobId> {
        let now = now_ms();
        self.read()
            .known
            .values()
            .filter(|fate| fate.deleted && !cannot_be(fate, now))
            .map(|fate| fate.id)
            .filter(which)
            .collect()
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

/// Whether it is not to be remembered, or told: it is too old, or was never true.
fn outlived(fate: &Fate, now_ms: u64) -> bool {
    now_ms.saturating_sub(fate.at_ms) > REMEMBERED_MS || cannot_be(fate, now_ms)
}

/// What only a clock that was far ahead can have made. What is made here after the latest that others may tell is later than that.
fn cannot_be(fate: &Fate, now_ms: u64) -> bool {
    fate.at_ms > now_ms.saturating_add(2 * AHEAD_MS)
}

/// Of what others tell in one message, what can be so.
fn believed(mut fates: Vec<Fate>, now_ms: u64) -> Vec<Fate> {
    fates.truncate(BATCH);
    let told = fates.len();
    fates.retain(|fate| fate.at_ms <= now_ms.saturating_add(AHEAD_MS));
    if fates.len() < told {
        let refused = told - fates.len();
        tracing::warn!(
            refused,
            "a node told what became of blobs, dated more than a day ahead of this node's clock: that is not believed"
        );
    }
    fates
}

/// What becomes of a record: the later fate stays.
fn record(fate: Fate) -> impl FnOnce(Option<&[u8]>) -> Change<()> + Send + 'static {
    move |kept| {
        let known = kept.and_then(|kept| serde_json::from_slice::<Fate>(kept).ok());
        match known {
            Some(known) if !later(&fate, &known) && !cannot_be(&known, now_ms()) => Change::Keep(()),
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

    /// The same with what others told.
    async fn remember_told(&self, fates: Vec<Fate>) -> Result<(), RecordError> {
        self.remember(believed(fates, now_ms())).await
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
        self.remember_told(fates).await?;
        Ok(RepairReply::Fates { fates: self.0.fates.told(buckets) })
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
        self.remember_told(fates).await.map_err(|error| PeerError::Garbage(error.to_string()))
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

    /// Whatever a rogue tells, or a clock that was years ahead left here, what comes now is later.
    #[test]
    fn nothing_is_deleted_from_the_future() {
        let (fates, now) = (fates(), now_ms());
        let of = |at_ms| fate(b"1", true, at_ms);
        assert_eq!(
            believed(vec![of(now), of(now + AHEAD_MS), of(now + AHEAD_MS + 1), of(u64::MAX)], now),
            [of(now), of(now + AHEAD_MS)]
        );
        assert_eq!(believed(vec![of(now); BATCH + 1], now).len(), BATCH);
        // The latest that can be told is still outdone here, and that is remembered.
        assert!(fates.learn(of(now + AHEAD_MS)));
        let next = fates.next(of(0).id, false, now);
        assert!(fates.is_news(&next) && fates.learn(next) && !fates.is_deleted(&next.id));
        // Of a clock that was ahead: not told, not held against what comes, and swept.
        let wrong = fate(b"2", true, u64::MAX);
        assert!(!fates.is_news(&wrong));
        fates.learn(wrong);
        assert!(!fates.is_deleted(&wrong.id) && fates.deleted(|id| *id == wrong.id).is_empty());
        assert!(!fates.within(&[Bucket::ALL]).contains(&wrong) && fates.outlived(now).contains(&wrong));
        let next = fates.next(wrong.id, true, now);
        assert_eq!(next.at_ms, now);
        assert!(fates.is_news(&next) && fates.learn(next) && fates.is_deleted(&next.id));
        let kept = serde_json::to_vec(&wrong).unwrap();
        assert!(matches!(record(next)(Some(&kept)), Change::Put(..)));
    }

    #[test]
    fn a_message_brings_whole_buckets_first() {
        let fates = fates();
        let count = u32::try_from(BATCH).unwrap() + 5_000;
        for n in 0..count {
            fates.learn(fate(&n.to_le_bytes(), true, now_ms()));
        }
        let told = fates.told(&[Bucket::ALL]);
        assert_eq!(told.len(), BATCH);
        let last = bucket(&told[BATCH - 1].id);
        let before =
            fates.within(&[Bucket::ALL]).into_iter().filter(|fate| bucket(&fate.id).leaves().start < last.leaves().start).count();
        assert_eq!(told.iter().filter(|fate| bucket(&fate.id) != last).count(), before);
    }
}
