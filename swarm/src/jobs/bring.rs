use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use herring_blob::ContentId;
use herring_http_api::types::Job;
use herring_ring::Point;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use super::room::Ledger;
use super::{BYTES_IN_FLIGHT, IN_FLIGHT};
use crate::config::MEMORY_DEADLINE;
use crate::fetch::{Role, Want};
use crate::{Content, NameError, OpenError, ReadError, Source, Swarm};

/// Pauses before something is tried once more that may only have failed for the moment.
const AGAIN: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(5)];
/// Runs of an object's chunks that are fetched side by side.
const RUNS: u32 = 4;
/// After so many contents that could not be had a job gives up: then it is not they that are wrong.
const MOST_FAULTS: usize = 16;

/// Why a part of a job failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    why: String,
    /// It may be different in a moment.
    passing: bool,
    /// There is another version by now.
    changed: bool,
}

impl Fault {
    pub fn lasting(why: impl Into<String>) -> Self {
        Self { why: why.into(), passing: false, changed: false }
    }

    /// A put that commits the same blob on this node puts another entry in the place of the one that was being filled.
    fn passing(why: impl Into<String>) -> Self {
        Self { passing: true, ..Self::lasting(why) }
    }
}

impl From<OpenError> for Fault {
    fn from(error: OpenError) -> Self {
        Self { passing: matches!(error, OpenError::Unavailable { .. }), ..Self::lasting(error.to_string()) }
    }
}

impl From<NameError> for Fault {
    fn from(error: NameError) -> Self {
        Self { passing: matches!(error, NameError::Unavailable { .. }), ..Self::lasting(error.to_string()) }
    }
}

impl From<ReadError> for Fault {
    fn from(error: ReadError) -> Self {
        let changed = matches!(error, ReadError::Changed { .. });
        Self { passing: !changed, changed, why: error.to_string() }
    }
}

/// What a job could not have.
#[derive(Default)]
pub(super) struct Faults {
    all: Mutex<Vec<(Option<ContentId>, Fault)>>,
    /// Old versions, in whose place the present ones are brought.
    old: Mutex<HashSet<ContentId>>,
    /// The whole job is in vain.
    gave_up: AtomicBool,
}

impl Faults {
    /// One fault of each content is enough.
    pub fn note(&self, of: Option<ContentId>, fault: Fault) {
        let mut faults = self.all();
        if of.is_none() || faults.iter().all(|(known, _)| *known != of) {
            faults.push((of, fault));
        }
    }

    /// It makes no sense to go on with anything. Told before all others.
    pub fn give_up(&self, fault: Fault) {
        if !self.gave_up.swap(true, Relaxed) {
            *self.all() = vec![(None, fault)];
        }
    }

    pub fn are_too_many(&self) -> bool {
        self.gave_up.load(Relaxed) || self.all().len() >= MOST_FAULTS
    }

    /// Whether it makes no sense to go on with this content.
    fn stop(&self, id: ContentId) -> bool {
        self.are_too_many() || self.all().iter().any(|(of, _)| *of == Some(id)) || self.old().contains(&id)
    }

    /// Whether nobody said so before.
    fn is_old(&self, id: ContentId) -> bool {
        self.old().insert(id)
    }

    /// In one sentence, if there are any.
    pub fn told(&self) -> Option<String> {
        let faults = self.all();
        let (_, first) = faults.first()?;
        let more = match faults.len() - 1 {
            0 => "",
            _ if self.gave_up.load(Relaxed) => "",
            n if n + 1 >= MOST_FAULTS => "; it gave up after many more of the like",
            _ => "; and more of the like",
        };
        Some(format!("{}{more}", first.why))
    }

    fn all(&self) -> MutexGuard<'_, Vec<(Option<ContentId>, Fault)>> {
        // A fault was noted or not.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn old(&self) -> MutexGuard<'_, HashSet<ContentId>> {
        self.old.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks again, twice, where the fault may pass.
pub(super) async fn patiently<T, E: Into<Fault>, F: Future<Output = Result<T, E>>>(
    mut question: impl FnMut() -> F,
) -> Result<T, Fault> {
    for pause in AGAIN {
        match question().await.map_err(Into::into) {
            Err(fault) if fault.passing => sleep(pause).await,
            end => return end,
        }
    }
    question().await.map_err(Into::into)
}

/// All chunks of a content, those of four runs by turns. An owner asks the origin for a whole run with one question: so four owners ask at the same time, and none of
/// them needs more than a quarter of its link for that.
fn order(count: u32) -> impl Iterator<Item = u32> {
    let (run, stride) = (Point::object_run(0).end, Point::object_run(0).end * RUNS);
    let all = (0..count.div_ceil(stride)).flat_map(move |window| {
        (0..stride).map(move |at| u64::from(window) * u64::from(stride) + u64::from(at % RUNS * run + at / RUNS))
    });
    // What is past the end may be past 2^32 as well.
    all.filter_map(|chunk| u32::try_from(chunk).ok()).filter(move |chunk| *chunk < count)
}

impl Swarm {
    /// Brings what is found, chunk by chunk, until nothing more is.
    pub(super) async fn bring_all(
        &self,
        job: &watch::Sender<Job>,
        contents: mpsc::Receiver<Content>,
        faults: &Faults,
        ledger: &Ledger,
    ) {
        let found = stream::unfold(contents, async |mut contents| contents.recv().await.map(|content| (content, contents)));
        let chunks = found
            .flat_map(|content| stream::iter(order(content.geometry().chunk_count()).map(move |chunk| (content.clone(), chunk))));
        chunks
            .for_each_concurrent(IN_FLIGHT, |(content, chunk)| async move {
                if faults.stop(content.id()) {
                    return;
                }
                match self.bring_patiently(job, &content, chunk).await {
                    Err(fault) if fault.changed && faults.is_old(content.id()) => {
                        self.bring_present(job, &content, faults, ledger).await;
                    }
                    Err(fault) if !fault.changed => faults.note(Some(content.id()), fault),
                    _ => {}
                }
            })
            .await;
    }

    /// What there is now in the place of an old version, once: it was what was believed when the job looked for it.
    async fn bring_present(&self, job: &watch::Sender<Job>, old: &Content, faults: &Faults, ledger: &Ledger) {
        let Source::Object(object) = old.source() else { return };
        let content = match patiently(|| self.open_object(&object.origin, &object.key)).await {
            Ok(content) => content,
            Err(fault) => return faults.note(Some(old.id()), fault),
        };
        ledger.strike(old.id());
        if let Err(full) = ledger.enter(&self.0.store, &content) {
            return faults.give_up(full);
        }
        job.send_modify(|job| job.bytes_total = (job.bytes_total + content.size()).saturating_sub(old.size()));
        let chunks = stream::iter(order(content.geometry().chunk_count()));
        let bring = async |chunk| {
            if faults.stop(content.id()) {
                return;
            }
            if let Err(fault) = self.bring_patiently(job, &content, chunk).await {
                faults.note(Some(content.id()), fault);
            }
        };
        chunks.for_each_concurrent(IN_FLIGHT, bring).await;
    }

    async fn bring_patiently(&self, job: &watch::Sender<Job>, content: &Content, chunk: u32) -> Result<(), Fault> {
        patiently(|| self.bring(content, chunk)).await?;
        job.send_modify(|job| job.bytes_done += content.geometry().chunk_range(chunk).len());
        Ok(())
    }

    /// One chunk, to this node's disk. Of the readers' memory it takes only what is for those who do not wait.
    async fn bring(&self, content: &Content, chunk: u32) -> Result<(), Fault> {
        if self.is_here(content, chunk) {
            return Ok(());
        }
        let geometry = content.geometry();
        let bytes = u32::try_from(geometry.chunk_range(chunk).len().min(BYTES_IN_FLIGHT as u64)).unwrap_or(u32::MAX);
        let _in_flight = self.0.jobs.in_flight.acquire_many(bytes).await.expect("the semaphore is never closed");
        let _turn = self.0.readers.go_first().await;
        self.expect_room(content)?;
        let overloaded = |_| ReadError::Overloaded { what: content.to_string(), waited_ms: MEMORY_DEADLINE.as_millis() };
        let _share = self.0.ahead_memory.take(geometry.chunk_range(chunk).len(), MEMORY_DEADLINE).await.map_err(overloaded)?;
        let soon = u32::try_from(IN_FLIGHT).unwrap_or(u32::MAX);
        let until = chunk.saturating_add(soon).min(geometry.chunk_count());
        let want = Want { first: 0, until };
        let mut landing = self.launch(content, chunk, want, Role::Reader);
        if !landing.landed().await
            && let Some(other) = self.ask_other_owners(content, chunk, want)
        {
            landing = other;
        }
        if !landing.landed().await {
            return landing.whole().await.map(drop).map_err(Fault::from);
        }
        let kept = self.is_here(content, chunk);
        kept.then_some(()).ok_or_else(|| Fault::passing(format!("{content}: this node's disk did not keep it")))
    }

    /// A prefetch leaves room for what readers fetch meanwhile, whatever else it has in flight. Asked by who has a chunk in flight.
    fn expect_room(&self, content: &Content) -> Result<(), Fault> {
        if matches!(content.source(), Source::Blob(_)) && self.0.store.get(&content.id()).is_none() {
            return Err(Fault::passing(format!("{content} was removed meanwhile, or had to go for want of room on this node")));
        }
        let in_flight = BYTES_IN_FLIGHT.saturating_sub(self.0.jobs.in_flight.available_permits()) as u64;
        let (free, chunk_size) = (self.0.store.free(), u64::from(content.geometry().chunk_size()));
        let needed = chunk_size.saturating_mul(IN_FLIGHT as u64).saturating_add(in_flight);
        let full = || {
            format!(
                "no room for {content}: {free} bytes are free on this node, {needed} must be; raise its capacity or delete something"
            )
        };
        if free >= needed { Ok(()) } else { Err(Fault::lasting(full())) }
    }
}

#[cfg(test)]
mod tests {
    use herring_blob::BlobId;

    use super::*;
    use crate::Tried;

    fn passing() -> OpenError {
        OpenError::Unavailable { what: "it".into(), tried: Tried::default() }
    }

    #[test]
    fn runs_side_by_side_and_every_chunk_once() {
        assert_eq!(order(20).collect::<Vec<_>>(), [0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15, 16, 17, 18, 19]);
        for count in [0, 1, 5, 16, 17, 63, 100] {
            let mut all: Vec<_> = order(count).collect();
            all.sort_unstable();
            assert_eq!(all, (0..count).collect::<Vec<_>>());
        }
        assert_eq!(order(u32::MAX).next(), Some(0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_pass_is_asked_again_and_what_may_not_is_not() {
        let mut asked = 0;
        let answer = patiently(|| {
            asked += 1;
            let answer = if asked == 2 { Ok(asked) } else { Err(passing()) };
            async { answer }
        });
        assert_eq!(answer.await, Ok(2));
        let mut asked = 0;
        let answer = patiently(|| {
            asked += 1;
            async { Err::<(), _>(OpenError::Denied { detail: "no".into() }) }
        });
        assert_eq!(answer.await, Err(Fault::lasting("no")));
        assert_eq!(asked, 1);
        let mut asked = 0;
        let answer = patiently(|| {
            asked += 1;
            async { Err::<(), _>(passing()) }
        });
        assert!(answer.await.unwrap_err().passing);
        assert_eq!(asked, 3);
    }

    #[test]
    fn one_content_is_one_fault_and_the_first_is_told() {
        let faults = Faults::default();
        assert_eq!(faults.told(), None);
        let [one, two] = [b"1", b"2"].map(|bytes| ContentId::from(BlobId::of(bytes)));
        faults.note(Some(one), Fault::lasting("first"));
        faults.note(Some(one), Fault::lasting("again"));
        assert_eq!(faults.told().as_deref(), Some("first"));
        assert!(faults.stop(one) && !faults.stop(two));
        (0..MOST_FAULTS).for_each(|_| faults.note(None, Fault::lasting("other")));
        assert!(faults.stop(two) && faults.told().unwrap().starts_with("first; it gave up"));
    }
}
