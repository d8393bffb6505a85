//! When owners change: who keeps a name gives it to those who own it now and may lack it. A name thus survives any number of losses one
//! after the other, as long as not most of its owners are lost between two views.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use herring_gossip::{NodeInfo, View};
use herring_http_api::peer::{NamedRecord, NamesCall, NamesReply};
use herring_ring::{NodeId, Point, Ring};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::register::Proposer;
use super::serve::BATCH;
use super::{NameError, now_ms};
use crate::Swarm;

/// How long it is remembered that a name was deleted: a node that was away for longer brings it back.
const TOMBSTONES_MS: u64 = 30 * 24 * 3_600_000;
/// How often all is handed out anew, whoever should have it: what a node missed without anyone noticing.
const THOROUGH: Duration = Duration::from_secs(6 * 3600);

/// What was done already.
#[derive(Default)]
pub(super) struct Repair {
    /// One waits; whoever comes meanwhile is served by it too.
    waiting: AtomicBool,
    done: Mutex<Option<Done>>,
}

/// All that this node keeps was at its owners when this was the view.
struct Done {
    view: Arc<View>,
    /// That names lay on then.
    ring: Ring,
    at: Instant,
}

impl Done {
    /// Whether this owner may lack what others had: it is new to it, or was away when it was given out.
    fn may_lack(&self, owner: &NodeId, point: Point, owners: usize) -> bool {
        self.missed(owner) || self.ring.owners(point, owners).iter().all(|one| one.id != *owner)
    }

    fn missed(&self, node: &NodeId) -> bool {
        self.view.suspect(node) || self.view.get(node).is_none()
    }

    /// Whether there is nothing to give: nobody owns anything new, and nobody answers now who was away.
    fn is_whole_for(&self, view: &View, ring: &Ring) -> bool {
        let back = view.ring().members().iter().any(|member| self.missed(&member.id) && !view.suspect(&member.id));
        self.at.elapsed() < THOROUGH && self.ring.epoch() == ring.epoch() && !back
    }
}

/// Records for each owner who may lack them.
#[derive(Default)]
struct Lessons {
    due: BTreeMap<NodeId, Vec<NamedRecord>>,
    /// What this node keeps and does not own.
    foreign: Vec<NamedRecord>,
}

impl Swarm {
    /// Hands out names in the background, where the view changed since that was done last.
    pub(crate) fn repair_names_soon(&self) {
        self.note_members(&self.view());
        if self.0.names.repair.waiting.swap(true, Ordering::AcqRel) {
            return;
        }
        let swarm = self.clone();
        self.0.tasks.spawn(self.0.stop.clone().run_until_cancelled_owned(async move {
            let mut done = swarm.0.names.repair.done.lock().await;
            swarm.0.names.repair.waiting.store(false, Ordering::Release);
            let view = swarm.view();
            let ring = swarm.names_ring(&view);
            if !view.settled() {
                return;
            }
            if let Some(done) = done.as_mut().filter(|done| done.is_whole_for(&view, &ring)) {
                done.view = view;
                return;
            }
            let before = done.as_ref().filter(|done| done.at.elapsed() < THOROUGH);
            match swarm.repair_names(&view, &ring, before).await {
                Ok(true) => *done = Some(Done { view, ring, at: Instant::now() }),
                // Tried again with the next sweep.
                Ok(false) => tracing::debug!("not all owners of this node's names could be given them"),
                Err(error) => tracing::warn!(%error, "this node's names could not be given to their owners"),
            }
        }));
    }

    /// True where all that should have something has it.
    async fn repair_names(&self, view: &View, ring: &Ring, before: Option<&Done>) -> Result<bool, NameError> {
        let (mut after, mut whole) = (None, true);
        loop {
            let mut batch = self.list_here("", after.as_deref(), BATCH)?;
            after = batch.last().filter(|_| batch.len() == BATCH).map(|last| last.name.clone());
            batch.retain(|one| !outlived(one));
            whole &= self.teach_all(view, self.lessons(view, ring, before, batch)).await;
            if after.is_none() {
                break;
            }
        }
        self.drop_tombstones().await?;
        Ok(whole)
    }

    fn lessons(&self, view: &View, ring: &Ring, before: Option<&Done>, batch: Vec<NamedRecord>) -> Lessons {
        let mut lessons = Lessons::default();
        for one in batch {
            let point = Point::of_name(&one.name);
            let owners = ring.owners(point, self.name_owners());
            let mine = owners.iter().any(|owner| owner.id == *view.me());
            for owner in owners.iter().filter(|owner| owner.id != *view.me()) {
                if !mine || before.is_none_or(|before| before.may_lack(&owner.id, point, self.name_owners())) {
                    lessons.due.entry(owner.id.clone()).or_default().push(one.clone());
                }
            }
            // Who is missing cannot be given it.
            if !mine && !owners.is_empty() && owners.iter().all(|owner| view.get(&owner.id).is_some()) {
                lessons.foreign.push(one);
            }
        }
        lessons
    }

    /// Gives each what he may lack. What this node does not own it drops once all owners have it.
    async fn teach_all(&self, view: &View, lessons: Lessons) -> bool {
        let taught = lessons.due.into_iter().filter_map(|(id, records)| Some((view.get(&id)?, records)));
        let answers = join_all(taught.map(|(node, records)| self.teach_one(view, node, records))).await;
        let mut open = BTreeSet::new();
        let whole = answers.iter().all(Result::is_ok);
        for behind in answers.into_iter().map(|answer| answer.unwrap_or_else(|all| all)) {
            open.extend(behind);
        }
        // The part of a swarm that must not change names must not finish what others began either: with its high ballot that would
        // outrank another change, which the rest made meanwhile.
        if whole && self.check_majority().is_ok() {
            for name in &open {
                // Promised to somebody who never came back for it: a round of one's own settles it.
                if let Err(error) = self.settle(name, Proposer::look()).await {
                    tracing::debug!(name, %error, "a name's owners do not agree yet");
                }
            }
        }
        for one in lessons.foreign.into_iter().filter(|one| !open.contains(&one.name)) {
            if let Err(error) = self.drop_record(one.name, one.record).await {
                tracing::debug!(%error, "a name that others own was not dropped");
            }
        }
        whole
    }

    /// The names that the node has no such record of now; as an error all of them, where it did not answer.
    async fn teach_one(&self, view: &View, node: &NodeInfo, records: Vec<NamedRecord>) -> Result<Vec<String>, Vec<String>> {
        let names = records.iter().map(|one| one.name.clone()).collect();
        match self.ask_name(view, &node.into(), &NamesCall::Learn { records }).await {
            Ok(NamesReply::Learnt { behind }) => Ok(behind),
            _ => Err(names),
        }
    }

    async fn drop_tombstones(&self) -> Result<(), NameError> {
        let mut after = None;
        loop {
            let batch = self.list_here("", after.as_deref(), BATCH)?;
            after = batch.last().filter(|_| batch.len() == BATCH).map(|last| last.name.clone());
            for one in batch.into_iter().filter(outlived) {
                self.drop_record(one.name, one.record).await?;
            }
            if after.is_none() {
                return Ok(());
            }
        }
    }
}

fn outlived(one: &NamedRecord) -> bool {
    let state = &one.record.state;
    state.target.is_none() && now_ms().saturating_sub(state.modified_ms) > TOMBSTONES_MS
}
