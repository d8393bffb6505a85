use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chitchat::transport::Transport;
use chitchat::{ChitchatHandle, ChitchatId, NodeState as ChitchatState};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::gossip::generation_after;
use crate::roster::Roster;
use crate::server::{Setup, bind};
use crate::{NodeState, StartError, View, wire};

/// At least so long between two starts of the server, so that what kills it at once does not burn a core.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// Members that a restarted server asks beside the seeds. Any one that answers knows all the others.
const KNOWN_PEERS: usize = 16;

const STOP_DEADLINE: Duration = Duration::from_secs(1);

type Live = watch::Receiver<BTreeMap<ChitchatId, ChitchatState>>;

/// What this node says of itself from now on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Change {
    State(NodeState),
    Weight(u32),
}

/// Make this change, and say when it is done.
#[derive(Debug)]
pub(crate) struct Order {
    pub change: Change,
    pub done: oneshot::Sender<()>,
}

/// The one task that holds everything about membership that changes.
pub(crate) struct Owner {
    setup: Setup,
    transport: Arc<dyn Transport>,
    server: ChitchatHandle,
    live: Live,
    started: Instant,
    roster: Roster,
    views: watch::Sender<Arc<View>>,
    orders: mpsc::Receiver<Order>,
}

impl Owner {
    pub async fn new(
        setup: Setup,
        transport: Arc<dyn Transport>,
        server: ChitchatHandle,
        roster: Roster,
        views: watch::Sender<Arc<View>>,
        orders: mpsc::Receiver<Order>,
    ) -> Self {
        let live = live_nodes(&server).await;
        Self { setup, transport, server, live, started: Instant::now(), roster, views, orders }
    }

    pub async fn run(mut self, cancel: CancellationToken) {
        tokio::select! {
            () = cancel.cancelled() => {}
            () = self.serve() => {}
        }
        // Else the socket would stay open until the server is polled again.
        if timeout(STOP_DEADLINE, self.server.shutdown()).await.is_err() {
            warn!("the gossip server did not stop within {STOP_DEADLINE:?}");
        }
    }

    async fn serve(&mut self) {
        loop {
            let change = self.roster.next_change();
            let due = change.unwrap_or_else(Instant::now);
            tokio::select! {
                Ok(()) = self.live.changed() => self.hear(),
                () = sleep_until(due), if change.is_some() => self.roster.advance(Instant::now()),
                Some(order) = self.orders.recv() => self.obey(order).await,
                ended = self.server.termination_watcher() => self.revive(ended).await,
            }
            self.publish();
        }
    }

    fn hear(&mut self) {
        let sightings: Vec<_> =
            self.live.borrow_and_update().iter().filter_map(|(id, state)| wire::sighting(id, state)).collect();
        self.roster.update(sightings, Instant::now());
    }

    async fn obey(&mut self, order: Order) {
        let me = self.roster.me_mut();
        let (key, value) = match order.change {
            Change::State(state) => {
                me.state = state;
                (wire::STATE, state.to_string())
            }
            Change::Weight(weight) => {
                me.weight = weight;
                (wire::WEIGHT, weight.to_string())
            }
        };
        self.server.with_chitchat(|chitchat| chitchat.self_node_state().set(key, &value)).await;
        self.publish();
        // Whoever asked may have given up waiting.
        let _ = order.done.send(());
    }

    fn publish(&self) {
        let view = self.roster.view(Some(&self.views.borrow()));
        self.views.send_if_modified(|current| {
            let differs = !view.same(current);
            if differs {
                *current = Arc::new(view);
            }
            differs
        });
    }

    /// chitchat asserts some of what it reads from the network, and a socket can break: neither may end the membership.
    /// Back within the grace, it is a restart that moves nothing.
    async fn revive(&mut self, ended: anyhow::Result<()>) {
        error!(reason = ?ended.err(), "the gossip server ended; starting it again");
        loop {
            sleep_until(self.started + RESTART_PAUSE).await;
            self.started = Instant::now();
            match self.restart().await {
                Ok(()) => return,
                Err(error) => warn!(%error, "gossip does not start again; trying on"),
            }
        }
    }

    async fn restart(&mut self) -> Result<(), StartError> {
        let setup = Setup { seeds: self.known_peers().await, ..self.setup.clone() };
        let generation = generation_after(self.server.chitchat_id().generation_id);
        let socket = bind(setup.listen, &*self.transport).await?;
        self.server = setup.spawn(self.roster.reborn(generation), generation, socket).await?;
        self.live = live_nodes(&self.server).await;
        Ok(())
    }

    /// The seeds, and some whom the server that ended knew: this node may be the others' only seed.
    async fn known_peers(&self) -> Vec<String> {
        let chitchat = self.server.chitchat();
        let chitchat = chitchat.lock().await;
        let peers = chitchat.live_nodes().map(|id| id.gossip_advertise_addr.to_string()).take(KNOWN_PEERS);
        self.setup.seeds.iter().cloned().chain(peers).collect()
    }
}

/// The live nodes, from the present ones on.
async fn live_nodes(server: &ChitchatHandle) -> Live {
    let mut live = server.with_chitchat(|chitchat| chitchat.live_nodes_watcher()).await;
    live.mark_changed();
    live
}
