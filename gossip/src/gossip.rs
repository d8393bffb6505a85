use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chitchat::transport::Transport;
use herring_ring::MAX_WEIGHT;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::warn;

use crate::owner::{Change, Order, Owner};
use crate::roster::Roster;
use crate::server::Setup;
use crate::socket::Sockets;
use crate::{ClusterKeys, InfoError, NodeInfo, NodeState, View, wire};

/// Rounds of gossip between saying that one leaves and leaving. Each round reaches three nodes and each of those three
/// more, so three rounds reach 60.
const LEAVE_ROUNDS: u32 = 3;

/// For each step of a shutdown. What has not ended by then is ended.
const STEP_DEADLINE: Duration = Duration::from_secs(2);

/// More than the states that a node goes through, so that none is lost while gossip is down.
const QUEUED_ORDERS: usize = 8;

/// How a node takes part.
#[derive(Debug, Clone)]
pub struct GossipConfig {
    /// Nodes of other clusters are ignored.
    pub cluster: String,
    /// The UDP address to bind; port 0 for any free one.
    pub listen: SocketAddr,
    /// What others reach it under; `listen` where nothing is said. Port 0 stands for the bound one.
    pub advertise: Option<SocketAddr>,
    /// `host:port` of nodes to begin with, this one among them or not. Names are resolved again every minute.
    pub seeds: Vec<String>,
    /// Between two rounds of gossip. The same on all nodes.
    pub interval: Duration,
    /// How long a member that seems dead stays one, as a suspect.
    pub grace: Duration,
    /// How long a node that has seeds waits for the first other member before it takes its view for
    /// [settled](View::settled).
    pub settle: Duration,
    /// Who has these is a member, as they are at each moment; `None`: everybody who knows the cluster's name.
    pub keys: Option<watch::Receiver<Arc<ClusterKeys>>>,
    /// What this node says of itself.
    pub me: NodeInfo,
}

impl GossipConfig {
    /// No seeds, and the measured intervals: at 200 ms a join is seen everywhere in 0.4 s and a death suspected after 1 s,
    /// to which the grace adds 1 s more: gone after 2.0 to 2.6 s among three nodes. A second of silence is what a busy
    /// machine produces now and then, and taking that for a death would move data. A join is seen in 0.4 s, so
    /// who has met nobody in 3 s is a lone survivor.
    pub fn new(me: NodeInfo, listen: SocketAddr) -> Self {
        Self {
            cluster: "herring".into(),
            listen,
            advertise: None,
            seeds: Vec::new(),
            interval: Duration::from_millis(200),
            grace: Duration::from_secs(1),
            settle: Duration::from_secs(3),
            keys: None,
            me,
        }
    }
}

/// Why gossip does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot use {listen} for gossip (UDP): {reason}; choose another address, or end what uses it")]
    Bind { listen: SocketAddr, reason: String },
    #[error("{listen} stands for every address of this machine, which others cannot reach it under: say which one to advertise")]
    Unreachable { listen: SocketAddr },
    #[error("the seeds' names ({}) were not resolved within {waited:?}: check the names and the resolver", seeds.join(", "))]
    Seeds { seeds: Vec<String>, waited: Duration },
    #[error("the others would not believe what this node says of itself: {0}")]
    Me(#[from] InfoError),
}

/// This node's part in the gossip. Leave with [`shutdown`](Self::shutdown); merely dropped it falls silent, and the others
/// have to find that out.
#[derive(Debug)]
pub struct Gossip {
    views: watch::Receiver<Arc<View>>,
    orders: mpsc::Sender<Order>,
    address: SocketAddr,
    interval: Duration,
    owner: JoinHandle<()>,
    cancel: DropGuard,
}

impl Gossip {
    pub async fn start(config: GossipConfig) -> Result<Self, StartError> {
        let sockets = Sockets(config.keys.clone());
        Self::start_over(config, Arc::new(sockets), generation_after(0)).await
    }

    pub(crate) async fn start_over(
        config: GossipConfig,
        transport: Arc<dyn Transport>,
        generation: u64,
    ) -> Result<Self, StartError> {
        wire::check(&config.me)?;
        let (setup, socket) = Setup::open(&config, &*transport).await?;
        let server = setup.spawn(&config.me, generation, socket).await?;
        let company = setup.company(Instant::now() + config.settle);
        let (interval, address) = (setup.interval, setup.advertise);
        let roster = Roster::new(config.me, generation, config.grace, company);
        let (publisher, views) = watch::channel(Arc::new(roster.view(None)));
        let (orders, ordered) = mpsc::channel(QUEUED_ORDERS);
        let token = CancellationToken::new();
        let owner = Owner::new(setup, transport, server, roster, publisher, ordered).await;
        let owner = tokio::spawn(owner.run(token.clone()));
        Ok(Self { views, orders, address, interval, owner, cancel: token.drop_guard() })
    }

    /// The views, from the present one on. The first has this node in it, and perhaps nobody else yet. One that follows
    /// differs in members, suspects, or in being alone or settled; data moves only where the epoch differs.
    pub fn view(&self) -> watch::Receiver<Arc<View>> {
        self.views.clone()
    }

    /// What others reach this node's gossip under.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Says so to the others. It is in this node's own view when this returns, and in theirs some rounds later.
    /// While gossip itself is down this returns after two seconds, and it is said when gossip is up again.
    pub async fn set_state(&self, state: NodeState) {
        self.say(Change::State(state)).await;
    }

    /// Says so to the others, as [`set_state`](Self::set_state) does. What is said after it is not heard before it, so a node that is
    /// [`Joining`](NodeState::Joining) may choose its weight and then be ready without anything moving twice.
    /// More than [`MAX_WEIGHT`] is said as that.
    pub async fn set_weight(&self, weight: u32) {
        self.say(Change::Weight(weight.min(MAX_WEIGHT))).await;
    }

    async fn say(&self, change: Change) {
        let (done, said) = oneshot::channel();
        let saying = async {
            // An owner that is gone has nobody left to tell.
            if self.orders.send(Order { change, done }).await.is_ok() {
                let _ = said.await;
            }
        };
        if timeout(STEP_DEADLINE, saying).await.is_err() {
            warn!(?change, "gossip is down: the others do not know this yet");
        }
    }

    /// Says that it is draining, gives that some rounds to spread, and stops. Ends within seven seconds whatever happens.
    pub async fn shutdown(self) {
        let leaving = async {
            self.set_state(NodeState::Draining).await;
            sleep(LEAVE_ROUNDS * self.interval).await;
        };
        let _ = timeout(STEP_DEADLINE, leaving).await;
        drop(self.cancel);
        let mut owner = self.owner;
        if timeout(2 * STEP_DEADLINE, &mut owner).await.is_err() {
            owner.abort();
        }
    }
}

/// A generation later than `last` and than those of earlier runs: the time, in milliseconds.
pub(crate) fn generation_after(last: u64) -> u64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX).max(last + 1)
}

#[cfg(test)]
mod tests;
