//! Prefetches: jobs that bring blobs, trees and origins' objects to this node before somebody reads them. They outlive a restart.

mod bring;
mod find;
mod room;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::join;
use herring_blob::BlobId;
use herring_http_api::types::{Job, JobState, Prefetch, PrefetchPath};
use herring_store::{Change, RecordError, Table};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::Swarm;
use bring::{Fault, Faults};
use find::Finder;
use room::Ledger;

/// Jobs that are not over, and as many that are.
const MOST: usize = 1000;
/// Bytes in memory of what all jobs that are not over are about: 64 of the largest, or a thousand of 2,000 blobs each.
const WANTED: usize = 64 << 20;
/// How long a job that is over can be asked about.
const KEPT: Duration = Duration::from_secs(3600);
/// Jobs that work at the same time; the others wait their turn.
const AT_ONCE: usize = 16;
/// Chunks in flight for all jobs of this node, where they are small.
const IN_FLIGHT: usize = 16;
/// Bytes of them: 8 chunks of 4 MiB. With 16 of them a node that alone has a blob sends 1.7 times its bytes before those who ask for it point each other on,
/// with 2 a node gets no more than a connection or two of the origin give.
const BYTES_IN_FLIGHT: usize = 32 << 20;
/// Contents that were found and wait to be brought: what was found of a directory of millions does not fill the memory.
const FOUND: usize = 4096;

/// Why a prefetch cannot begin.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JobError {
    #[error("nothing to prefetch: give at least one blob, name or origin's path")]
    Nothing,
    #[error("{MOST} prefetches, or such as ask for very much, are under way on this node: try again when some are done")]
    TooMany,
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// The jobs of this node that run, and those that ended lately.
pub(crate) struct Jobs {
    known: Mutex<HashMap<Uuid, Known>>,
    /// For what they are about, in bytes.
    room: Arc<Semaphore>,
    turns: Semaphore,
    /// For the bytes of chunks in flight.
    in_flight: Semaphore,
}

struct Known {
    /// Without what it is about: many ask how far it is, and often.
    state: watch::Sender<Job>,
    /// `None` once it is over.
    aim: Option<Arc<Aim>>,
}

/// What a job is about, with the room that this takes; none where it was promised by an earlier run.
struct Aim {
    wanted: Prefetch,
    room: Option<OwnedSemaphorePermit>,
    /// Nobody wants it any more.
    cancelled: CancellationToken,
}

impl Default for Jobs {
    fn default() -> Self {
        let room = Arc::new(Semaphore::new(WANTED));
        Self { known: Mutex::default(), room, turns: Semaphore::new(AT_ONCE), in_flight: Semaphore::new(BYTES_IN_FLIGHT) }
    }
}

impl Jobs {
    fn known(&self) -> MutexGuard<'_, HashMap<Uuid, Known>> {
        // Entries come and go whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_full(&self) -> bool {
        self.known().values().filter(|job| !job.state.borrow().state.is_final()).count() >= MOST
    }

    /// The blobs of those jobs that are not over and are about one.
    pub fn bringing(&self) -> HashSet<BlobId> {
        let alone = |job: &Known| match &*job.aim.as_ref()?.wanted.blobs {
            [id] => Some(*id),
            _ => None,
        };
        self.known().values().filter_map(alone).collect()
    }

    fn aim(&self, wanted: Prefetch) -> Aim {
        let bytes = u32::try_from(weight(&wanted)).ok();
        let room = bytes.and_then(|bytes| Arc::clone(&self.room).try_acquire_many_owned(bytes).ok());
        Aim { wanted, room, cancelled: CancellationToken::new() }
    }

    /// Takes out the jobs that ended long ago, and the oldest of those that are too many.
    fn take_old(&self, now_ms: u64) -> Vec<Uuid> {
        let mut known = self.known();
        let ended = |(id, job): (&Uuid, &Known)| job.state.borrow().ended_ms.map(|ended| (ended, *id));
        let mut ended: Vec<_> = known.iter().filter_map(ended).collect();
        ended.sort_unstable();
        let kept = u64::try_from(KEPT.as_millis()).unwrap_or(u64::MAX);
        let many = ended.len().saturating_sub(MOST);
        let old = ended.iter().enumerate().filter(|(at, (ended, _))| *at < many || ended.saturating_add(kept) <= now_ms);
        let old: Vec<Uuid> = old.map(|(_, (_, id))| *id).collect();
        known.retain(|id, _| !old.contains(id));
        old
    }
}

impl Swarm {
    /// Begins to bring all of this to this node's disk, in the background. Returns once a restart cannot lose the job.
    pub async fn prefetch(&self, wanted: Prefetch) -> Result<Uuid, JobError> {
        if wanted.is_empty() {
            return Err(JobError::Nothing);
        }
        let aim = self.0.jobs.aim(wanted);
        if aim.room.is_none() || self.0.jobs.is_full() {
            return Err(JobError::TooMany);
        }
        let (swarm, job) = (self.clone(), begun(Uuid::new_v4(), now_ms()));
        let id = job.job;
        let begin = async move {
            swarm.write_job(&Job { wanted: aim.wanted.clone(), ..job.clone() }).await?;
            swarm.start_job(job, aim);
            Ok(id)
        };
        self.to_the_end(begin).await
    }

    /// A job of this node, as it is now, and until it is over what it is about.
    pub fn job(&self, job: Uuid) -> Option<Job> {
        let (state, aim) = {
            let known = self.0.jobs.known();
            let Known { state, aim } = known.get(&job)?;
            (state.borrow().clone(), aim.clone())
        };
        Some(Job { wanted: aim.map_or_else(Prefetch::default, |aim| aim.wanted.clone()), ..state })
    }

    /// A job's states as they come, without what it is about.
    pub fn follow_job(&self, job: Uuid) -> Option<watch::Receiver<Job>> {
        self.0.jobs.known().get(&job).map(|job| job.state.subscribe())
    }

    /// Ends a job early: what it brought stays until the room is needed. Returns once it is over, as it may have been before, and a restart does
    /// not go on with it. `false` where there is no such job.
    pub async fn cancel_job(&self, job: Uuid) -> bool {
        let mut states = {
            let known = self.0.jobs.known();
            let Some(Known { state, aim }) = known.get(&job) else { return false };
            aim.iter().for_each(|aim| aim.cancelled.cancel());
            state.subscribe()
        };
        // It may be forgotten as soon as it is over.
        let _ = states.wait_for(|job| job.state.is_final()).await;
        true
    }

    /// This node's jobs, the oldest first, without what they are about.
    pub fn jobs(&self) -> Vec<Job> {
        let mut jobs: Vec<_> = self.0.jobs.known().values().map(|job| job.state.borrow().clone()).collect();
        jobs.sort_unstable_by_key(|job| (job.created_ms, job.job));
        jobs
    }

    /// Goes on with what an earlier run of this node left unfinished. Called once, at the start. Begins each from the front: what is here
    /// by now is skipped.
    pub fn resume_jobs(&self) {
        let mut after = None;
        loop {
            let records = self.0.store.records().scan(Table::Jobs, "", after.as_deref(), MOST);
            let records = records.unwrap_or_else(|error| {
                tracing::error!(%error, "prefetches that were under way are not continued");
                Vec::new()
            });
            // Between two sweeps any number may have ended.
            after = records.last().map(|(key, _)| key.clone());
            if after.is_none() {
                return;
            }
            records.iter().for_each(|(key, value)| self.resume_job(key, value));
        }
    }

    fn resume_job(&self, key: &str, written: &[u8]) {
        match serde_json::from_slice::<Job>(written) {
            Ok(job) if job.state.is_final() => {
                let (id, state) = (job.job, watch::Sender::new(job.without_wanted()));
                self.0.jobs.known().insert(id, Known { state, aim: None });
            }
            Ok(job) => self.start_job(begun(job.job, job.created_ms), self.0.jobs.aim(job.wanted)),
            Err(error) => tracing::warn!(job = key, %error, "the record of a prefetch cannot be read; it is not continued"),
        }
    }

    fn start_job(&self, job: Job, aim: Aim) {
        let (id, state, aim) = (job.job, watch::Sender::new(job), Arc::new(aim));
        self.0.jobs.known().insert(id, Known { state: state.clone(), aim: Some(Arc::clone(&aim)) });
        let (run, stop) = (self.clone().run_job(state, aim), self.0.stop.clone());
        self.0.tasks.spawn_on(stop.run_until_cancelled_owned(run), &self.0.runtime);
    }

    async fn run_job(self, job: watch::Sender<Job>, aim: Arc<Aim>) {
        let faults = aim.cancelled.run_until_cancelled(self.work(&job, &aim.wanted)).await;
        let mut ended = job.borrow().clone();
        ended.error = faults.as_ref().and_then(Faults::told);
        ended.state = match faults {
            None => JobState::Cancelled,
            Some(_) if ended.error.is_some() => JobState::Failed,
            Some(_) => JobState::Done,
        };
        ended.ended_ms = Some(now_ms());
        tracing::info!(job = %ended.job, state = ?ended.state, bytes = ended.bytes_done, error = ended.error, "a prefetch ended");
        if let Err(error) = self.write_job(&ended).await {
            tracing::warn!(job = %ended.job, %error, "that a prefetch ended was not written down; it will run again after a restart");
        }
        if let Some(known) = self.0.jobs.known().get_mut(&ended.job) {
            known.aim = None;
        }
        drop(aim);
        job.send_replace(ended);
    }

    async fn work(&self, job: &watch::Sender<Job>, wanted: &Prefetch) -> Faults {
        // Never closed.
        let _turn = self.0.jobs.turns.acquire().await;
        self.met_view().await;
        let (faults, ledger) = (Faults::default(), Ledger::of(self));
        let (found, contents) = mpsc::channel(FOUND);
        let find = async {
            Finder::new(self, job, found, &faults, &ledger).find(wanted).await;
            job.send_modify(|job| job.state = JobState::Running);
        };
        join(find, self.bring_all(job, contents, &faults, &ledger)).await;
        // What came first may have gone again for what came last.
        let (here, gone) = ledger.look(&self.0.store).await;
        job.send_modify(|job| job.bytes_done = here);
        if let Some(gone) = gone {
            faults.note(
                Some(gone),
                Fault::lasting(format!("{gone} was brought and did not stay: it was removed, or this node has no room for all")),
            );
        }
        faults
    }

    async fn write_job(&self, job: &Job) -> Result<(), RecordError> {
        let value = serde_json::to_vec(job).expect("a job has only text and numbers");
        self.0.store.records().update(Table::Jobs, job.job.to_string(), |_| Change::Put(value, ())).await
    }

    /// Forgets jobs that ended long ago.
    pub(crate) async fn sweep_jobs(&self) {
        for job in self.0.jobs.take_old(now_ms()) {
            if let Err(error) = self.0.store.records().update(Table::Jobs, job.to_string(), |_| Change::Remove(())).await {
                tracing::warn!(%job, %error, "an old prefetch was not forgotten");
            }
        }
    }
}

/// Bytes in memory.
fn weight(Prefetch { blobs, names, origins }: &Prefetch) -> usize {
    let names = names.iter().map(|name| size_of_val(name) + name.len()).sum::<usize>();
    let path = |path: &PrefetchPath| size_of_val(path) + path.origin.len() + path.path.len();
    size_of_val(&**blobs) + names + origins.iter().map(path).sum::<usize>()
}

fn begun(job: Uuid, created_ms: u64) -> Job {
    let (state, wanted) = (JobState::Looking, Prefetch::default());
    Job { job, state, wanted, bytes_total: 0, bytes_done: 0, contents: 0, error: None, created_ms, ended_ms: None }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(ended_ms: u64) -> Job {
        Job { state: JobState::Done, ended_ms: Some(ended_ms), ..begun(Uuid::new_v4(), 0) }
    }

    fn with(jobs: impl IntoIterator<Item = Job>) -> Jobs {
        let all = Jobs::default();
        all.known().extend(jobs.into_iter().map(|job| (job.job, Known { state: watch::Sender::new(job), aim: None })));
        all
    }

    #[test]
    fn jobs_that_ended_an_hour_ago_are_forgotten_and_no_others() {
        let (old, young, running) = (ended(1000), ended(1001), begun(Uuid::new_v4(), 0));
        let jobs = with([old.clone(), young.clone(), running.clone()]);
        let hour = 3_600_000;
        assert!(jobs.take_old(999 + hour).is_empty());
        assert_eq!(jobs.take_old(1000 + hour), [old.job]);
        assert_eq!(jobs.known().len(), 2);
        assert_eq!(jobs.take_old(u64::MAX), [young.job]);
        assert!(jobs.known().contains_key(&running.job));
    }

    #[test]
    fn of_too_many_the_oldest_are_forgotten() {
        let oldest = ended(1);
        let jobs = with((2..=MOST as u64 + 1).map(ended).chain([oldest.clone()]));
        assert_eq!(jobs.take_old(1), [oldest.job]);
        assert_eq!(jobs.known().len(), MOST);
    }

    #[test]
    fn what_jobs_are_about_is_bounded_until_they_are_over() {
        let jobs = Jobs::default();
        let names = Prefetch { names: vec!["n".repeat((1 << 20) - size_of::<String>())], ..Prefetch::default() };
        let mut aims: Vec<Aim> = (0..WANTED >> 20).map(|_| jobs.aim(names.clone())).collect();
        assert!(aims.iter().all(|aim| aim.room.is_some()));
        assert!(jobs.aim(names.clone()).room.is_none());
        aims.pop();
        assert!(jobs.aim(names).room.is_some());
    }
}
