use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use herring_blob::{BlobId, ContentId};
use herring_gossip::View;
use herring_http_api::client::{Ask, PeerClient};
use herring_http_api::peer::Asker;
use herring_origin::Origins;
use herring_ring::{Epoch, Point};
use herring_store::{RecordError, Store, Usage};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, broadcast, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::candidates::{Candidate, Candidates};
use crate::config::{LATELY, MEETING, UPLOADS};
use crate::custody::Custodian;
use crate::fates::Fates;
use crate::fetch::{Key, Version};
use crate::flight::{Answer, Flights};
use crate::health::Health;
use crate::jobs::Jobs;
use crate::landing::{Held, Landing};
use crate::memory::Memory;
use crate::meta::Meta;
use crate::names::Names;
use crate::pins::Pins;
use crate::profile::Traces;
use crate::proof::Proofs;
use crate::readers::Readers;
use crate::tracker::Tracker;
use crate::trees::Trees;
use crate::{Content, OpenError, SwarmConfig};

/// The engine of one node. Cheap to clone.
#[derive(Clone)]
pub struct Swarm(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub config: SwarmConfig,
    pub store: Store,
    pub peers: PeerClient,
    pub view: watch::Receiver<Arc<View>>,
    /// The ring's epoch as this node was told it last, and when it changed.
    pub ring: Mutex<(Epoch, Instant)>,
    pub origins: Origins,
    pub health: Health,
    pub memory: Memory,
    pub put_memory: Memory,
    /// For the bytes of chunks that are being sent to owners.
    pub uploads: Semaphore,
    pub peer_memory: Memory,
    /// What read-ahead may take of `memory`.
    pub ahead_memory: Memory,
    pub readers: Readers,
    pub chunks: Arc<Flights<Key, Arc<Landing>>>,
    /// Who asked for which chunks lately, and what was promised to them.
    pub tracker: Tracker,
    /// Chunks that found no room on the disk, for those who read them in small pieces; until the next sweep.
    pub unkept: Cache<(Version, u32), Held, Bytes>,
    pub manifests: Arc<Flights<BlobId, Answer<Result<Content, OpenError>>>>,
    pub proofs: Proofs,
    pub verifications: Arc<Flights<BlobId, ()>>,
    /// Held by the verification whose turn it is.
    pub verifying: tokio::sync::Mutex<()>,
    pub meta: Meta,
    pub names: Names,
    pub trees: Trees,
    /// What became of blobs that were deleted.
    pub fates: Fates,
    pub custody: Custodian,
    pub deletions: broadcast::Sender<BlobId>,
    pub jobs: Jobs,
    pub pins: Pins,
    /// What is being written down of first reads.
    pub traces: Traces,
    pub tasks: TaskTracker,
    pub stop: CancellationToken,
    /// For what a mount's threads begin, which belong to no runtime.
    pub runtime: Handle,
}

/// A blob of which this node knows the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalBlob {
    pub id: BlobId,
    /// Bytes.
    pub size: u64,
    pub modified: SystemTime,
}

/// Weighs chunks by their bytes.
#[derive(Debug, Clone)]
pub(crate) struct Bytes;

impl Weighter<(Version, u32), Held> for Bytes {
    fn weight(&self, _: &(Version, u32), held: &Held) -> u64 {
        held.len()
    }
}

/// How many chunks that are not kept there may be, as a guess.
const UNKEPT_CHUNKS: usize = 64;
/// Which part of the readers' memory they may take: a quarter, 64 MiB.
const UNKEPT_SHARE: u64 = 4;
/// Deletions that a slow listener may be behind before it is told that it missed some.
const DELETIONS_BEHIND: usize = 1024;

impl Swarm {
    /// An engine over a store, its peers and its origins. It spawns nothing before it is asked something. Must be called inside
    /// the runtime that will run it.
    pub fn new(config: SwarmConfig, store: Store, peers: PeerClient, view: watch::Receiver<Arc<View>>, origins: Origins) -> Self {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let epoch = view.borrow().epoch();
        let swarm = Self(Arc::new(Inner {
            memory: Memory::new(config.memory),
            put_memory: Memory::new(config.put_memory),
            uploads: Semaphore::new(UPLOADS),
            peer_memory: Memory::new(config.peer_memory),
            ahead_memory: Memory::new(config.memory / 2),
            unkept: Cache::with_weighter(UNKEPT_CHUNKS, config.memory as u64 / UNKEPT_SHARE, Bytes),
            tracker: Tracker::default(),
            chunks: Flights::new(tasks.clone(), stop.clone()),
            manifests: Flights::new(tasks.clone(), stop.clone()),
            proofs: Proofs::new(&tasks, &stop),
            verifications: Flights::new(tasks.clone(), stop.clone()),
            verifying: tokio::sync::Mutex::new(()),
            meta: Meta::new(&tasks, &stop),
            names: Names::new(&tasks, &stop),
            trees: Trees::new(&tasks, &stop),
            deletions: broadcast::channel(DELETIONS_BEHIND).0,
            fates: Fates::load(store.records()),
            custody: Custodian::new(config.rebalance_rate),
            ring: Mutex::new((epoch, Instant::now())),
            traces: Traces::default(),
            health: Health::default(),
            readers: Readers::default(),
            jobs: Jobs::default(),
            pins: Pins::load(store.records()),
            config,
            store,
            peers,
            view,
            origins,
            tasks,
            stop,
            runtime: Handle::current(),
        }));
        swarm.spare_pinned();
        swarm.introduce(&swarm.view());
        swarm
    }

    /// The membership as it is now.
    pub fn view(&self) -> Arc<View> {
        self.0.view.borrow().clone()
    }

    /// The membership once it may be relied on; what it is after [`MEETING`] at the latest.
    pub(crate) async fn met_view(&self) -> Arc<View> {
        let _ = timeout(MEETING, self.0.view.clone().wait_for(|view| view.settled())).await;
        self.view()
    }

    pub fn replicas(&self) -> usize {
        self.0.config.replicas
    }

    pub fn origin_names(&self) -> Vec<String> {
        self.0.origins.names().map(str::to_owned).collect()
    }

    /// The blobs whose manifests are on this node's disk, whole or not.
    pub fn local_blobs(&self) -> Vec<LocalBlob> {
        let local = |entry: herring_store::Entry| match entry.id() {
            ContentId::Blob(id) => Some(LocalBlob { id, size: entry.geometry().size(), modified: entry.modified() }),
            ContentId::Object(_) => None,
        };
        self.0.store.blobs().into_iter().filter_map(local).collect()
    }

    pub fn usage(&self) -> Usage {
        self.0.store.usage()
    }

    /// Every blob that is deleted from this node from now on.
    pub fn deletions(&self) -> broadcast::Receiver<BlobId> {
        self.0.deletions.subscribe()
    }

    /// Forgets what is only about members that left: their connections and how they behaved. Called when the view changed.
    pub fn view_changed(&self) {
        let view = self.view();
        let mut ring = self.ring();
        if ring.0 != view.epoch() {
            *ring = (view.epoch(), Instant::now());
        }
        drop(ring);
        self.note_members(&view);
        self.0.health.view_changed(&view);
        self.0.meta.health.view_changed(&view);
        self.introduce(&view);
        self.0.custody.kick();
        self.repair_names_soon();
        self.confirm_commits_soon();
    }

    /// Tells the peers' client who is where. Of two at one address the one that is not suspect is there: it came when the other was gone.
    fn introduce(&self, view: &View) {
        let (gone, here): (Vec<_>, Vec<_>) = view.members().iter().partition(|node| view.suspect(&node.id));
        self.0.peers.members(gone.into_iter().chain(here).map(|node| (node.http, node.id.to_string())).collect());
    }

    /// How long an owner may be silent before it begins to answer.
    pub(crate) fn owner_patience(&self) -> std::time::Duration {
        self.0.health.patience(self.0.config.owner_patience_least, self.0.config.owner_patience)
    }

    /// Whether owners may not have yet what former owners have.
    pub(crate) fn ring_changed_lately(&self) -> bool {
        self.ring_age() < LATELY
    }

    /// How long the ring is what it is.
    pub(crate) fn ring_age(&self) -> std::time::Duration {
        self.ring().1.elapsed()
    }

    fn ring(&self) -> MutexGuard<'_, (Epoch, Instant)> {
        // Replaced whole.
        self.0.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops puts that nobody has continued for `idle`, what is in memory for want of room, leases that ended, jobs that ended long
    /// ago and old boot profiles. Called from time to time.
    pub async fn sweep(&self, idle: std::time::Duration) {
        self.0.unkept.clear();
        self.0.store.sweep_uploads(idle).await;
        self.sweep_pins().await;
        self.sweep_jobs().await;
        self.sweep_profiles().await;
        self.sweep_fates().await;
        self.repair_names_soon();
        self.confirm_commits_soon();
    }

    /// Ends what is under way. Readers that still wait get an error.
    pub async fn shutdown(&self) {
        self.0.stop.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    /// In a task of its own: a client that goes away does not part what is written from what is in memory.
    pub(crate) async fn to_the_end<T: Send + 'static, E: From<RecordError> + Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<T, E> {
        self.0.tasks.spawn(work).await.unwrap_or_else(|_| Err(RecordError::Closed.into()))
    }

    pub(crate) fn candidates(&self, view: &View, point: Point) -> Candidates {
        Candidates::of(view, point, self.0.config.replicas)
    }

    pub(crate) fn is_me(&self, view: &View, one: &Candidate) -> bool {
        one.id == *view.me()
    }

    pub(crate) fn ask(&self, view: &View, deadline: std::time::Duration) -> Ask {
        let asker = Asker { from: view.me().to_string(), background: false };
        Ask { epoch: view.epoch().to_string(), deadline, asker }
    }
}
