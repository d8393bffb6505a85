//! The chitchat server underneath: how it is set up, and how it gets its socket.

use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use chitchat::transport::{Socket, Transport};
use chitchat::{ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, ProtocolVersion, spawn_chitchat};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::company::Company;
use crate::{GossipConfig, NodeInfo, StartError, wire};

/// Resolving the seeds' names is all that takes long at a start.
const START_DEADLINE: Duration = Duration::from_secs(30);

/// No key of ours is ever deleted, so an hour, instead of chitchat's day, is ample for tombstones.
const TOMBSTONES: Duration = Duration::from_secs(3600);

/// So long a node that died is remembered and now and then asked, in case it was but cut off; for half of it, it is told of to others.
/// Each restart leaves one dead under the old generation, of 22 bytes in every message and 8 KB of memory. In chitchat's day, one node
/// that restarts every five seconds fills the datagrams of the whole swarm, and gossip ends. Two halves that were apart for longer
/// meet again by their seeds.
const DEAD: Duration = Duration::from_secs(3600);

/// How to set up chitchat, again and again if need be.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub cluster: String,
    pub listen: SocketAddr,
    pub advertise: SocketAddr,
    pub seeds: Vec<String>,
    pub interval: Duration,
}

impl Setup {
    /// Opens the socket, to know its port where any will do.
    pub async fn open(config: &GossipConfig, transport: &dyn Transport) -> Result<(Self, Box<dyn Socket>), StartError> {
        let unreachable = StartError::Unreachable { listen: config.listen };
        if config.advertise.unwrap_or(config.listen).ip().is_unspecified() {
            return Err(unreachable);
        }
        let socket = bind(config.listen, transport).await?;
        let listen = socket.local_addr().map_err(|error| bind_error(config.listen, &error))?;
        let mut advertise = config.advertise.unwrap_or(listen);
        if advertise.port() == 0 {
            advertise.set_port(listen.port());
        }
        let (cluster, seeds, interval) = (config.cluster.clone(), config.seeds.clone(), config.interval);
        Ok((Self { cluster, listen, advertise, seeds, interval }, socket))
    }

    /// Whom this node expects at its start. A name counts as another node, whatever it resolves to just now: one that all
    /// share stands for the first of them alone until the second is up.
    pub fn company(&self, until: Instant) -> Company {
        let own = |seed: &String| seed.parse().is_ok_and(|seed: SocketAddr| seed == self.listen || seed == self.advertise);
        if self.seeds.iter().all(own) { Company::Alone } else { Company::awaited(until) }
    }

    /// A server for one generation of this node.
    pub async fn spawn(&self, me: &NodeInfo, generation: u64, socket: Box<dyn Socket>) -> Result<ChitchatHandle, StartError> {
        let id = ChitchatId::new(me.id.as_str(), generation, self.advertise);
        let opened = Opened(Mutex::new(Some(socket)));
        let spawning = spawn_chitchat(self.chitchat(id), wire::key_values(me), &opened);
        match timeout(START_DEADLINE, spawning).await {
            Ok(spawned) => spawned.map_err(|error| bind_error(self.listen, &error)),
            Err(_) => Err(StartError::Seeds { seeds: self.seeds.clone(), waited: START_DEADLINE }),
        }
    }

    fn chitchat(&self, chitchat_id: ChitchatId) -> ChitchatConfig {
        ChitchatConfig {
            chitchat_id,
            cluster_id: self.cluster.clone(),
            gossip_interval: self.interval,
            listen_addr: self.listen,
            seed_nodes: self.seeds.clone(),
            failure_detector_config: FailureDetectorConfig {
                // The detector begins with this guess: chitchat's 5 s let a death go unseen for tens of seconds.
                initial_interval: self.interval,
                // Longer is an outage, not a sample of how often a healthy node is heard.
                max_interval: 10 * self.interval,
                dead_node_grace_period: DEAD,
                ..FailureDetectorConfig::default()
            },
            marked_for_deletion_grace_period: TOMBSTONES,
            catchup_callback: None,
            extra_liveness_predicate: None,
            // V0's digests do not fit a datagram at 2,000 nodes.
            protocol_version: ProtocolVersion::V1,
        }
    }
}

pub(crate) async fn bind(listen: SocketAddr, transport: &dyn Transport) -> Result<Box<dyn Socket>, StartError> {
    transport.open(listen).await.map_err(|error| bind_error(listen, &error))
}

fn bind_error(listen: SocketAddr, error: &anyhow::Error) -> StartError {
    StartError::Bind { listen, reason: format!("{:#}", error) }
}

/// Gives chitchat a socket that is open already.
struct Opened(Mutex<Option<Box<dyn Socket>>>);

#[async_trait]
impl Transport for Opened {
    async fn open(&self, listen: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        let socket = self.0.lock().await.take();
        socket.ok_or_else(|| anyhow::anyhow!("the socket of {listen} was taken already"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_names_only_itself_has_no_seeds() {
        let until = Instant::now();
        let company = |seeds: &[&str]| {
            let [listen, advertise] = ["0.0.0.0:1", "127.0.0.2:1"].map(|address| address.parse().unwrap());
            let seeds = seeds.iter().map(ToString::to_string).collect();
            Setup { cluster: String::new(), listen, advertise, seeds, interval: Duration::ZERO }.company(until)
        };
        for own in [&[][..], &["127.0.0.2:1"], &["0.0.0.0:1", "127.0.0.2:1"]] {
            assert_eq!(company(own), Company::Alone, "{own:?}");
        }
        for others in [&["127.0.0.3:1"][..], &["127.0.0.2:2"], &["127.0.0.2:1", "127.0.0.3:1"], &["localhost:1"]] {
            assert_eq!(company(others), Company::awaited(until), "{others:?}");
        }
    }
}
