//! A running node: built from the inside out, and taken down in the opposite order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytesize::ByteSize;
use herring_fuse::{Mount, MountConfig, MountError};
use herring_gossip::{Gossip, GossipConfig, NodeInfo, NodeState, View};
use herring_http_api::client::{PeerClient, PeerConfig};
use herring_http_api::server::{Backends, Server, ServerConfig};
use herring_http_api::types::differences;
use herring_origin::Origins;
use herring_ring::{NodeId, ORDINARY_WEIGHT};
use herring_store::{Store, StoreConfig};
use herring_swarm::{Swarm, SwarmConfig};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::sync::watch;
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::Api;
use crate::config::NodeConfig;
use crate::doors::doors;
use crate::error::{Failure, OrFail};
use crate::limits::raise_open_files;
use crate::reread::Reread;
use crate::signals::Stop;
use crate::tls::{self, Tls};
use crate::{id, keys, tokens, weight};

/// Puts that nobody has continued for this long are dropped. A put has no deadline while its body flows, and of a slow one in a large
/// swarm a node sees a chunk now and then only.
const UPLOAD_IDLE: Duration = Duration::from_secs(6 * 3600);
/// How often idle puts are looked for and histograms are tidied.
const HOUSEKEEPING: Duration = Duration::from_secs(30);
/// How long a leaving node's goodbye travels before it closes its door: three gossip rounds of 200 ms.
const GOODBYE: Duration = Duration::from_millis(600);
/// How long a node that starts waits for those that start with it. Three of them choose their weights within 0.7 s of each other.
const STARTERS: Duration = Duration::from_secs(3);
/// Other nodes whose settings a node that starts looks at.
const COMPARED: usize = 3;
/// The most that each step of the shutdown may take: an orderly stop takes
/// about 2 s, and four steps at their worst end just when `herring up` gives up on a child after 27 s.
const STEP: Duration = Duration::from_secs(6);

/// Runs a node until SIGINT or SIGTERM.
pub async fn run(config: NodeConfig) -> Result<(), Failure> {
    let mut stop = Stop::listen()?;
    raise_open_files();
    let mut node = Node::start(config).await?;
    tokio::select! {
        () = stop.asked() => {}
        () = node.follow_drain() => {}
    }
    node.shutdown().await;
    Ok(())
}

/// Everything a running node owns, in the order in which it is taken down.
struct Node {
    mount: Option<Mount>,
    gossip: Gossip,
    /// Whether it was told to give away what it keeps.
    drain: watch::Receiver<bool>,
    swarm: Swarm,
    /// Stops the server and the housekeeping.
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Node {
    async fn start(config: NodeConfig) -> Result<Self, Failure> {
        let metrics = install_metrics()?;
        let origins = Origins::new(config.origins.iter().cloned()).map_err(Failure::usage)?;
        let identity = config.tls.as_ref().map(|files| tls::open(files, config.id.as_ref())).transpose()?;
        let store = open_store(&config).await?;
        warn_of_a_small_disk(&store, config.capacity);
        let id = id::choose(&config, identity.as_ref())?;
        let tls = config.tls.clone().zip(identity).map(|(files, identity)| Tls::new(files, identity, id.clone())).transpose()?;
        let (server_config, peer_config) = transport(&config, tls.as_ref());
        let server = Server::bind(config.listen, server_config).await.map_err(Failure::failed)?;
        // What comes back with its data is an owner at once: a restart moves nothing.
        let returns = store.usage().chunks > 0;
        let state = if returns { NodeState::Ready } else { NodeState::Joining };
        let weight = weight::standing(&config, returns)?;
        let me = NodeInfo { weight: weight.unwrap_or(ORDINARY_WEIGHT), ..about(&config, id, state) };
        let keys = config.cluster_key.as_deref().map(keys::load).transpose()?;
        let tokens = config.tokens.as_deref().map(tokens::load).transpose()?;
        let gossip = GossipConfig { keys: keys.as_ref().map(Reread::subscribe), ..gossip_config(&config, me) };
        let gossip = Gossip::start(gossip).await.map_err(Failure::failed)?;
        let peers = PeerClient::new(peer_config);
        let swarm = Swarm::new(engine_config(&config), store, peers, gossip.view(), origins);
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        swarm.resume_jobs();
        swarm.keep_custody();
        let started = Arc::new(AtomicBool::new(false));
        let (draining, drain) = watch::channel(false);
        let api = Arc::new(Api { swarm: swarm.clone(), metrics: metrics.clone(), started: started.clone(), draining });
        let doors = doors(&config, &swarm);
        let known = tokens.as_ref().map(Reread::subscribe);
        tasks.spawn(server.serve(Backends { doors, tokens: known, ..Backends::of(api) }, stop.clone()));
        tasks.spawn(stop.clone().run_until_cancelled_owned(follow_view(swarm.clone(), gossip.view())));
        tasks.spawn(stop.clone().run_until_cancelled_owned(keep_house(swarm.clone(), metrics)));
        tasks.spawn(stop.clone().run_until_cancelled_owned(compare(swarm.clone(), gossip.view())));
        if let Some(keys) = keys {
            tasks.spawn(stop.clone().run_until_cancelled_owned(keys.follow()));
        }
        if let Some(tokens) = tokens {
            tasks.spawn(stop.clone().run_until_cancelled_owned(tokens.follow()));
        }
        if let Some(tls) = tls {
            tasks.spawn(stop.clone().run_until_cancelled_owned(tls.follow()));
        }
        let mut node = Self { mount: None, gossip, drain, swarm, stop, tasks };
        if let Err(failure) = node.settle(&config, weight).await {
            node.shutdown().await;
            return Err(failure);
        }
        node.gossip.set_state(NodeState::Ready).await;
        meet_starters(node.gossip.view()).await;
        started.store(true, Ordering::Release);
        tracing::info!(listen = %config.listen, tls = config.tls.is_some(), sealed = config.cluster_key.is_some(), tokens = config.tokens.is_some(), gossip = %config.gossip, data = %config.data_dir.display(), "this node is up");
        Ok(node)
    }

    /// All that is left before it is ready to own something.
    async fn settle(&mut self, config: &NodeConfig, weight: Option<u32>) -> Result<(), Failure> {
        self.mount = self.mount(config)?;
        match weight {
            Some(_) => Ok(()),
            None => weight::settle(&self.gossip, config).await,
        }
    }

    /// Where there is no FUSE, or none for this user, there is still HTTP: it says so and goes on.
    fn mount(&self, config: &NodeConfig) -> Result<Option<Mount>, Failure> {
        let Some(at) = &config.mount else { return Ok(None) };
        let mount = MountConfig { at: at.clone(), allow_other: config.allow_other, native_reads: config.native_reads };
        match Mount::start(mount, self.swarm.clone(), tokio::runtime::Handle::current()) {
            Ok(mount) => Ok(Some(mount)),
            Err(error @ (MountError::NoDevice | MountError::NotPermitted { .. })) => {
                tracing::warn!("{error}; going on with HTTP alone");
                Ok(None)
            }
            Err(error) => Err(Failure::failed(error)),
        }
    }

    /// Tells the others that this node drains, or takes part again, as its API is told. Does not end.
    async fn follow_drain(&mut self) {
        while self.drain.changed().await.is_ok() {
            let away = *self.drain.borrow_and_update();
            self.swarm.drain(away);
            self.gossip.set_state(if away { NodeState::Draining } else { NodeState::Ready }).await;
        }
        // The server ended, and nobody can tell this node anything.
        std::future::pending().await
    }

    /// No new work comes in, then what is under way ends, then the node is silent. Every step has its deadline.
    async fn shutdown(self) {
        tracing::info!("this node is stopping");
        self.gossip.set_state(NodeState::Draining).await;
        tokio::time::sleep(GOODBYE).await;
        if let Some(mount) = self.mount {
            step("unmounting", tokio::task::spawn_blocking(move || mount.unmount())).await;
        }
        self.stop.cancel();
        self.tasks.close();
        step("closing the server", self.tasks.wait()).await;
        step("ending transfers", self.swarm.shutdown()).await;
        step("leaving the swarm", self.gossip.shutdown()).await;
    }
}

async fn step<T>(what: &str, work: impl Future<Output = T>) {
    if timeout(STEP, work).await.is_err() {
        tracing::warn!(what, seconds = STEP.as_secs(), "not done in time, going on");
    }
}

fn install_metrics() -> Result<PrometheusHandle, Failure> {
    PrometheusBuilder::new().install_recorder().or_fail(|| "cannot set up metrics".to_owned())
}

/// How this node is spoken to, and speaks to its peers.
fn transport(config: &NodeConfig, tls: Option<&Tls>) -> (ServerConfig, PeerConfig) {
    let congestion = config.congestion.clone();
    (
        ServerConfig { tls: tls.map(Tls::server), congestion: congestion.clone(), ..ServerConfig::default() },
        PeerConfig { tls: tls.map(Tls::client), congestion, ..PeerConfig::default() },
    )
}

/// What is not said is as the engine has it.
fn engine_config(config: &NodeConfig) -> SwarmConfig {
    let engine = SwarmConfig::default();
    SwarmConfig {
        replicas: config.replicas,
        redirects: config.redirects,
        profile_idle: config.profile_idle.unwrap_or(engine.profile_idle),
        rebalance_after: config.rebalance_after.unwrap_or(engine.rebalance_after),
        rebalance_rate: config.rebalance_rate.map_or(engine.rebalance_rate, |rate| rate.as_u64()),
        scrub_period: config.scrub_period.unwrap_or(engine.scrub_period),
        ..engine
    }
}

async fn open_store(config: &NodeConfig) -> Result<Store, Failure> {
    let store = StoreConfig { dir: config.data_dir.clone(), capacity: config.capacity.as_u64() };
    let opened = tokio::task::spawn_blocking(move || Store::open(store)).await;
    opened.or_fail(|| "opening the store".to_owned())?.map_err(Failure::failed)
}

/// What others keep on that disk, it cannot hold.
fn warn_of_a_small_disk(store: &Store, capacity: ByteSize) {
    let missing = store.room().saturating_sub(store.free());
    if missing > 0 {
        let disk = ByteSize(capacity.as_u64().saturating_sub(missing));
        tracing::warn!(%capacity, %disk, "the disk has less room for this node than --capacity says: give it no more than that, or it is given more than it can hold");
    }
}

/// Says once whether this node is told otherwise than others in what must be the same on all. These settings are of a start, so it is those that start
/// who look, and at a few.
async fn compare(swarm: Swarm, mut views: watch::Receiver<Arc<View>>) {
    if views.wait_for(|view| view.settled() && view.members().len() > 1).await.is_err() {
        return;
    }
    for difference in differences(&swarm.sample(COMPARED).await) {
        tracing::warn!(difference, "nodes of this swarm are told otherwise than this one");
    }
}

/// What this node says of itself.
fn about(config: &NodeConfig, id: NodeId, state: NodeState) -> NodeInfo {
    NodeInfo {
        id,
        http: config.advertise,
        zone: config.zone.clone(),
        weight: ORDINARY_WEIGHT,
        capacity: Some(config.capacity.as_u64()),
        state,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

fn gossip_config(config: &NodeConfig, me: NodeInfo) -> GossipConfig {
    GossipConfig {
        cluster: config.cluster.clone(),
        advertise: Some(config.gossip_advertise),
        seeds: config.seeds.clone(),
        ..GossipConfig::new(me, config.gossip)
    }
}

/// Whoever starts at the same time is waited for, and asked for nothing: who finds one of them ready can put to all of them. One that hangs in
/// its start keeps nobody for long.
async fn meet_starters(mut views: watch::Receiver<Arc<View>>) {
    let all_own = |view: &Arc<View>| view.settled() && view.members().iter().all(|node| node.state != NodeState::Joining);
    let _ = timeout(STARTERS, views.wait_for(all_own)).await;
}

async fn follow_view(swarm: Swarm, mut view: watch::Receiver<Arc<View>>) {
    while view.changed().await.is_ok() {
        let now = view.borrow_and_update().clone();
        let owners = now.ring().members().len();
        tracing::info!(epoch = %now.epoch(), members = now.members().len(), owners, "the swarm changed");
        // One that is leaving owns nothing any more.
        if now.settled() && !now.alone() && now.members().len() == 1 && owners == 1 {
            match swarm.missing() {
                gone if gone.is_empty() => tracing::warn!(
                    "no other node is seen, and this one goes on by itself: a seed is another node's gossip address, the port above its API's"
                ),
                gone => tracing::warn!(
                    missing = gone.join(", "),
                    "no other node is seen any more: this one is cut off from them, has another cluster.key than they, or they ended"
                ),
            }
        }
        swarm.view_changed();
    }
}

async fn keep_house(swarm: Swarm, metrics: PrometheusHandle) {
    let mut tick = interval(HOUSEKEEPING);
    loop {
        tick.tick().await;
        swarm.sweep(UPLOAD_IDLE).await;
        metrics.run_upkeep();
    }
}
