//! What is brought before somebody reads it, and kept for as long as somebody wants it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use herring_blob::{BlobId, Tree, TreeEntry, TreeKind};
use herring_gossip::View;
use herring_http_api::client::PeerClient;
use herring_http_api::types::{Job, JobState, Prefetch, PrefetchPath};
use herring_origin::Origins;
use herring_store::{Change, Store, StoreConfig, Table};
use herring_swarm::{JobError, PinError, Swarm};
use tempfile::TempDir;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use uuid::Uuid;

use crate::net::{CHUNK, CHUNK_LEN, Net, Node, PATIENCE, Setup, eventually, noise, open, patient};
use crate::peer::Fault;

const HOUR: Duration = Duration::from_secs(3600);

fn blobs(blobs: &[BlobId]) -> Prefetch {
    Prefetch { blobs: blobs.to_vec(), ..Prefetch::default() }
}

fn paths(origin: &str, paths: &[&str]) -> Prefetch {
    let origins = paths.iter().map(|path| PrefetchPath::new(origin, *path)).collect();
    Prefetch { origins, ..Prefetch::default() }
}

/// The job's last state.
pub async fn ended(swarm: &Swarm, job: Uuid) -> Job {
    let mut states = swarm.follow_job(job).unwrap();
    let last = timeout(PATIENCE, states.wait_for(|job| job.state.is_final())).await;
    last.expect("in time").unwrap().clone()
}

async fn run(swarm: &Swarm, wanted: Prefetch) -> Job {
    ended(swarm, swarm.prefetch(wanted).await.unwrap()).await
}

/// A blob that only node 0 has.
pub async fn far_blob(net: &Net, seed: u64, len: usize) -> BlobId {
    net.publish(&net.without(&[1]));
    let id = net.nodes[0].put(&noise(seed, len)).await.unwrap().stored.id;
    net.publish(&net.members());
    id
}

#[tokio::test]
async fn a_prefetch_brings_each_chunk_once_and_then_nothing() {
    let net = Net::start(2, 1).await;
    let len = 20 * CHUNK_LEN + 7;
    let (id, empty) = (far_blob(&net, 1, len).await, far_blob(&net, 2, 0).await);
    let job = run(&net.nodes[1].swarm, blobs(&[id, empty, id])).await;
    assert_eq!((job.state, job.error), (JobState::Done, None));
    assert_eq!((job.bytes_total, job.bytes_done, job.contents), (len as u64, len as u64, 2));
    assert!(job.ended_ms.unwrap() >= job.created_ms);
    assert!(net.nodes[1].store.get(&id.into()).unwrap().is_complete());
    let mut asked = net.nodes[0].peer.asked().chunks;
    asked.sort_unstable();
    assert_eq!(asked, (0..21).collect::<Vec<_>>());

    let again = run(&net.nodes[1].swarm, blobs(&[id])).await;
    assert_eq!((again.state, again.bytes_done), (JobState::Done, len as u64));
    assert_eq!(net.nodes[0].peer.asked().chunks.len(), 21, "what is here is not fetched");
    assert_eq!(net.nodes[1].swarm.jobs().len(), 2);
}

#[tokio::test]
async fn a_tree_is_brought_with_all_that_is_in_it() {
    let net = Net::start(2, 1).await;
    let files = [far_blob(&net, 3, 3 * CHUNK_LEN).await, far_blob(&net, 4, 100).await];
    let tree = tree_of(&files);
    net.publish(&net.without(&[1]));
    let id = net.nodes[0].put(&tree).await.unwrap().stored.id;
    net.publish(&net.members());
    let job = run(&net.nodes[1].swarm, blobs(&[id])).await;
    assert_eq!((job.state, job.error, job.contents), (JobState::Done, None, 3));
    for id in files.into_iter().chain([id]) {
        assert!(net.nodes[1].store.get(&id.into()).unwrap().is_complete());
    }
}

fn tree_of(blobs: &[BlobId]) -> Vec<u8> {
    let file = |(blob, _): (usize, &BlobId)| TreeEntry {
        path: format!("file-{blob}"),
        mode: 0o644,
        modified_ns: 0,
        kind: TreeKind::File { blob: u32::try_from(blob).unwrap(), offset: 0, size: 100 },
    };
    let entries = blobs.iter().enumerate().map(file).chain([TreeEntry {
        path: String::new(),
        mode: 0o755,
        modified_ns: 0,
        kind: TreeKind::Directory { directory: herring_blob::Mark },
    }]);
    Tree::new(blobs.to_vec(), entries.collect()).unwrap().encode()
}

#[tokio::test]
async fn a_directory_of_an_origin_is_brought_with_all_below_it() {
    let dir = TempDir::new().unwrap();
    let write = |path: &str, len: usize| {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, noise(5, len)).unwrap();
    };
    for (path, len) in [("model/a", CHUNK_LEN + 1), ("model/deep/er/b", 10), ("model/deep/c", 20), ("other", 40)] {
        write(path, len);
    }
    let net = Setup::new(2, 1).origin("dir", &dir).start().await;
    let swarm = &net.nodes[1].swarm;
    let below = run(swarm, paths("dir", &["model/"])).await;
    assert_eq!((below.state, below.error, below.contents), (JobState::Done, None, 3));
    assert_eq!(below.bytes_done, u64::from(CHUNK) + 31);
    let one = run(swarm, paths("dir", &["other"])).await;
    assert_eq!((one.contents, one.bytes_done), (1, 40));
    let all = run(swarm, paths("dir", &[""])).await;
    assert_eq!((all.contents, all.bytes_done), (4, u64::from(CHUNK) + 71));
    assert_eq!(net.nodes[1].store.objects().iter().filter(|entry| entry.is_complete()).count(), 4);
}

/// Who asked may have that one object, and not what is below a directory of its name.
#[tokio::test]
async fn an_object_that_is_a_directory_is_not_walked() {
    let dir = TempDir::new().unwrap();
    std::fs::create_dir(dir.path().join("model")).unwrap();
    std::fs::write(dir.path().join("model/a"), noise(5, 10)).unwrap();
    let net = Setup::new(2, 1).origin("dir", &dir).start().await;
    let only = |path| {
        let origins = vec![PrefetchPath { object_only: true, ..PrefetchPath::new("dir", path) }];
        run(&net.nodes[1].swarm, Prefetch { origins, ..Prefetch::default() })
    };
    for directory in ["model", "model/", ""] {
        let job = only(directory).await;
        assert_eq!((job.state, job.contents), (JobState::Failed, 0), "{directory}");
        assert!(job.error.unwrap().contains("is a directory"));
    }
    assert_eq!(only("model/a").await.contents, 1);
}

#[tokio::test]
async fn a_prefetch_that_fails_says_why_and_brings_the_rest() {
    let net = Net::start(2, 1).await;
    let (id, nowhere) = (far_blob(&net, 6, 2 * CHUNK_LEN).await, BlobId::of(b"nowhere"));
    let wanted = Prefetch { blobs: vec![nowhere, id], ..paths("no-such", &["a"]) };
    let job = run(&net.nodes[1].swarm, wanted).await;
    assert_eq!(job.state, JobState::Failed);
    let error = job.error.unwrap();
    assert!(error.contains(&nowhere.to_string()) && error.contains("more of the like"), "{error}");
    assert!(net.nodes[1].store.get(&id.into()).unwrap().is_complete());
    assert!(matches!(net.nodes[1].swarm.prefetch(Prefetch::default()).await, Err(JobError::Nothing)));
    assert_eq!(net.nodes[1].swarm.job(Uuid::nil()), None);
}

#[tokio::test]
async fn what_a_job_is_about_is_told_to_who_asks_for_it_alone_and_until_it_is_over() {
    let net = Net::start(2, 1).await;
    let (id, gate) = (far_blob(&net, 11, CHUNK_LEN).await, Arc::new(Semaphore::new(0)));
    net.nodes[0].peer.set(Fault::HoldAnswer(gate.clone()));
    let (swarm, wanted) = (&net.nodes[1].swarm, blobs(&[id]));
    let job = swarm.prefetch(wanted.clone()).await.unwrap();
    assert_eq!(swarm.job(job).unwrap().wanted, wanted);
    assert!(swarm.jobs()[0].wanted.is_empty() && swarm.follow_job(job).unwrap().borrow().wanted.is_empty());
    gate.add_permits(Semaphore::MAX_PERMITS / 2);
    assert_eq!(ended(swarm, job).await.state, JobState::Done);
    assert!(swarm.job(job).unwrap().wanted.is_empty());
}

#[tokio::test]
async fn a_prefetch_that_does_not_fit_says_so() {
    let mut setup = Setup::new(2, 1);
    setup.capacity = |index| if index == 1 { 17 * u64::from(CHUNK) } else { 1 << 30 };
    let net = setup.start().await;
    let id = far_blob(&net, 7, 30 * CHUNK_LEN).await;
    let job = run(&net.nodes[1].swarm, blobs(&[id])).await;
    assert_eq!(job.state, JobState::Failed);
    assert!(job.error.clone().unwrap().contains("no room"), "{:?}", job.error);
    assert!(net.nodes[1].store.usage().bytes < 17 * u64::from(CHUNK), "room is left for readers");
}

/// Each fits, were the others not there: nothing is brought that would go again for what comes after it.
#[tokio::test]
async fn more_than_can_stay_is_refused_before_it_is_brought() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("huge"), noise(12, 60 * CHUNK_LEN)).unwrap();
    let mut setup = Setup::new(2, 1).origin("dir", &dir);
    setup.capacity = |index| if index == 1 { 50 * u64::from(CHUNK) } else { 1 << 30 };
    let net = setup.start().await;
    let blob = far_blob(&net, 13, 60 * CHUNK_LEN).await;
    let Node { swarm, store, .. } = &net.nodes[1];
    let chunks = |count: u64| (count * u64::from(CHUNK)).to_string();
    for wanted in [blobs(&[blob]), paths("dir", &["huge"])] {
        let job = run(swarm, wanted).await;
        let error = job.error.unwrap();
        assert!(job.state == JobState::Failed && error.contains("no room") && error.contains(&chunks(60)), "{error}");
        assert_eq!((job.bytes_total.to_string(), job.bytes_done, store.usage().chunks), (chunks(60), 0, 0));
    }
    let [pinned, beside] = [far_blob(&net, 14, 20 * CHUNK_LEN).await, far_blob(&net, 15, 35 * CHUNK_LEN).await];
    swarm.pin(&pinned.to_string(), HOUR).await.unwrap();
    assert_eq!(ended(swarm, swarm.jobs().pop().unwrap().job).await.state, JobState::Done);
    let error = run(swarm, blobs(&[pinned, beside])).await.error.unwrap();
    assert!(error.contains("no room") && error.contains(&chunks(35)), "what is pinned has its room: {error}");
    assert!(store.get(&pinned.into()).unwrap().is_complete());
}

#[tokio::test]
async fn what_went_again_before_the_end_was_not_brought() {
    let net = Net::start(2, 1).await;
    let [one, two] = [far_blob(&net, 16, 3 * CHUNK_LEN).await, far_blob(&net, 17, CHUNK_LEN).await];
    let Node { swarm, store, .. } = &net.nodes[1];
    assert_eq!(run(swarm, blobs(&[one])).await.state, JobState::Done);
    let gate = Arc::new(Semaphore::new(0));
    net.nodes[0].peer.set(Fault::HoldAnswer(gate.clone()));
    let job = swarm.prefetch(blobs(&[one, two])).await.unwrap();
    let mut states = swarm.follow_job(job).unwrap();
    states.wait_for(|job| job.bytes_done == 3 * u64::from(CHUNK)).await.unwrap();
    drop(states);
    assert!(store.remove(&one.into()).await.unwrap());
    gate.add_permits(Semaphore::MAX_PERMITS / 2);
    let job = ended(swarm, job).await;
    assert_eq!((job.state, job.bytes_total, job.bytes_done), (JobState::Failed, 4 * u64::from(CHUNK), u64::from(CHUNK)));
    assert!(job.error.clone().unwrap().contains("did not stay"), "{:?}", job.error);
}

/// One node alone, with a directory as its origin, that can be stopped and started again.
struct Lone {
    home: TempDir,
    dir: TempDir,
}

impl Lone {
    fn new() -> Self {
        Self { home: TempDir::new().unwrap(), dir: TempDir::new().unwrap() }
    }

    async fn start(&self) -> (Swarm, Store) {
        let dir: &Path = self.home.path();
        let store = open(StoreConfig { dir: dir.into(), capacity: 1 << 30 }).await;
        let net = Setup::new(0, 1).origin("dir", &self.dir);
        let view = watch::Sender::new(Arc::new(View::fixed("lone".parse().unwrap(), Vec::new())));
        let origins = Origins::new(net.origins.iter().cloned()).unwrap();
        let swarm = Swarm::new(net.config, store.clone(), PeerClient::new(patient()), view.subscribe(), origins);
        (swarm, store)
    }
}

/// The runtime has one thread, and each chunk is a task: the node is told to stop after some of them.
#[tokio::test]
async fn a_prefetch_goes_on_after_a_restart() {
    let lone = Lone::new();
    std::fs::write(lone.dir.path().join("a"), noise(8, 200 * CHUNK_LEN)).unwrap();
    let (swarm, store) = lone.start().await;
    let job = swarm.prefetch(paths("dir", &["a"])).await.unwrap();
    swarm.shutdown().await;
    assert!(!swarm.job(job).unwrap().state.is_final());
    drop((swarm, store));

    let (swarm, store) = lone.start().await;
    assert_eq!(swarm.job(job), None, "nothing begins by itself");
    swarm.resume_jobs();
    let done = ended(&swarm, job).await;
    assert_eq!((done.state, done.error, done.bytes_done), (JobState::Done, None, 200 * u64::from(CHUNK)));
    assert!(store.objects()[0].is_complete());
    swarm.shutdown().await;
    drop((swarm, store));

    let (swarm, _store) = lone.start().await;
    swarm.resume_jobs();
    assert_eq!(swarm.job(job).map(|job| job.state), Some(JobState::Done), "what is over can still be asked about");
}

#[tokio::test]
async fn a_job_that_is_cancelled_fetches_no_more_also_after_a_restart() {
    let mut net = Net::start(2, 1).await;
    let (id, gate) = (far_blob(&net, 18, 40 * CHUNK_LEN).await, Arc::new(Semaphore::new(0)));
    net.nodes[0].peer.set(Fault::HoldAnswer(gate.clone()));
    let swarm = &net.nodes[1].swarm;
    let job = swarm.prefetch(blobs(&[id])).await.unwrap();
    assert!(swarm.cancel_job(job).await && !swarm.cancel_job(Uuid::nil()).await);
    let over = swarm.job(job).unwrap();
    assert!(over.state == JobState::Cancelled && over.error.is_none() && over.ended_ms.is_some() && over.wanted.is_empty());
    assert!(swarm.cancel_job(job).await, "it is over already");
    net.nodes[0].peer.set(Fault::None);
    gate.add_permits(Semaphore::MAX_PERMITS / 2);
    net.restart(1).await;
    let swarm = &net.nodes[1].swarm;
    swarm.resume_jobs();
    assert_eq!(swarm.job(job), Some(over));
    let done = run(swarm, blobs(&[id])).await;
    assert_eq!(done.state, JobState::Done);
    assert!(swarm.cancel_job(done.job).await);
    assert_eq!(swarm.job(done.job).unwrap().state, JobState::Done);
}

/// Lets clients ask and go away while the disk is busy with something else, until it has `written` what they asked for.
async fn leave(store: &Store, ask: impl AsyncFn(), written: impl Fn() -> bool) {
    for patience in (1..).map(Duration::from_millis) {
        let (busy, done) = std::sync::mpsc::channel::<()>();
        let wait = move |_: Option<&[u8]>| {
            let _ = done.recv();
            Change::Keep(())
        };
        assert!(store.records().update(Table::Fates, "busy".into(), wait).now_or_never().is_none());
        let _ = timeout(patience, ask()).await;
        drop(busy);
        // Written in the order in which they came.
        store.records().update(Table::Fates, "after".into(), |_| Change::Keep(())).await.unwrap();
        if written() {
            return;
        }
    }
}

#[tokio::test]
async fn who_goes_away_while_it_is_written_leaves_nothing_half() {
    let net = Net::start(1, 1).await;
    let Node { swarm, store, .. } = &net.nodes[0];
    let id = net.nodes[0].put(&noise(10, CHUNK_LEN)).await.unwrap().stored.id;
    let written = |table| store.records().scan(table, "", None, 10).unwrap().len();
    let pin = async || drop(swarm.pin(&id.to_string(), HOUR).await);
    leave(store, pin, || written(Table::Pins) == 1).await;
    eventually("the lease is known", || swarm.pinned(&id.into())).await;
    let unpin = async || drop(swarm.unpin(&id.to_string()).await);
    leave(store, unpin, || written(Table::Pins) == 0).await;
    eventually("nor is it known any more", || swarm.pins().is_empty()).await;
    let prefetch = async || drop(swarm.prefetch(blobs(&[id])).await);
    leave(store, prefetch, || written(Table::Jobs) > 0).await;
    eventually("the job has run", || swarm.jobs().iter().any(|job| job.state == JobState::Done)).await;
}

#[tokio::test]
async fn a_prefetch_goes_on_however_many_others_ended_since_the_last_sweep() {
    let lone = Lone::new();
    let (swarm, store) = lone.start().await;
    let last = Uuid::max();
    let jobs = (1..=2500).map(Uuid::from_u128).map(|job| (job, JobState::Done)).chain([(last, JobState::Running)]);
    let written = jobs.map(|(job, state)| {
        let ended_ms = state.is_final().then_some(1);
        let (wanted, error) = (paths("no-such", &["a"]), None);
        let job = Job { job, state, wanted, bytes_total: 0, bytes_done: 0, contents: 0, error, created_ms: 0, ended_ms };
        let value = serde_json::to_vec(&job).unwrap();
        store.records().update(Table::Jobs, job.job.to_string(), |_| Change::Put(value, ()))
    });
    join_all(written).await.into_iter().for_each(Result::unwrap);
    swarm.resume_jobs();
    assert_eq!(swarm.jobs().len(), 2501);
    ended(&swarm, last).await;
}

#[tokio::test]
async fn a_lease_brings_keeps_and_ends() {
    let net = Net::start(2, 1).await;
    let id = far_blob(&net, 9, 3 * CHUNK_LEN).await;
    let swarm = &net.nodes[1].swarm;
    let before = swarm.jobs().len();
    let pin = swarm.pin(&format!("sha256:{id}"), HOUR).await.unwrap();
    assert_eq!((pin.target.clone(), pin.id), (id.to_string(), id));
    assert!(swarm.pinned(&id.into()) && !swarm.pinned(&BlobId::of(b"other").into()));
    ended(swarm, swarm.jobs()[before].job).await;
    assert!(net.nodes[1].store.get(&id.into()).unwrap().is_complete());

    let longer = swarm.pin(&id.to_string(), 2 * HOUR).await.unwrap();
    assert!(longer.until_ms > pin.until_ms);
    assert_eq!(swarm.pins(), [longer]);
    swarm.unpin(&id.to_string()).await.unwrap();
    assert!(swarm.pins().is_empty() && !swarm.pinned(&id.into()));
    assert!(matches!(swarm.unpin(&id.to_string()).await, Err(PinError::NotPinned { .. })));
    assert!(matches!(swarm.pin(&BlobId::of(b"nowhere").to_string(), HOUR).await, Err(PinError::Open(_))));
}

#[tokio::test]
async fn leases_outlive_a_restart_and_those_that_ended_are_swept() {
    let lone = Lone::new();
    let (swarm, store) = lone.start().await;
    store.create(herring_store::Description::Blob(Arc::new(empty()))).await.unwrap();
    let id = BlobId::of(b"");
    swarm.pin(&id.to_string(), HOUR).await.unwrap();
    swarm.shutdown().await;
    drop((swarm, store));

    let (swarm, store) = lone.start().await;
    assert!(swarm.pinned(&id.into()));
    swarm.pin(&id.to_string(), Duration::ZERO).await.unwrap();
    assert!(!swarm.pinned(&id.into()) && swarm.pins().is_empty());
    assert_eq!(store.records().scan(Table::Pins, "", None, 10).unwrap().len(), 1);
    swarm.sweep(HOUR).await;
    assert!(store.records().scan(Table::Pins, "", None, 10).unwrap().is_empty());
}

fn empty() -> herring_blob::Manifest {
    herring_blob::BlobHasher::new(CHUNK).finish().unwrap()
}
