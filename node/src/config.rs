//! What a node is told: flags over a file over defaults, wholly checked before anything is bound.

mod file;
mod settings;
#[cfg(test)]
mod tests;

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use herring_blob::CHUNK_SIZE;
use herring_http_api::ttl::Ttl;
use herring_http_api::types::PutWish;
use herring_origin::{OriginSpec, Origins};
use herring_ring::{MAX_WEIGHT, NodeId};

pub use settings::NodeSettings;

use crate::error::Failure;

/// The port of the HTTP API where nothing is said; gossip is one above.
pub const PORT: u16 = 7070;
/// Replicas of each chunk where nothing is said.
pub const REPLICAS: usize = 3;

const CAPACITY: ByteSize = ByteSize::gib(100);
const DAY: u64 = 24 * 3600;
const CLUSTER: &str = "herring";

/// How a node runs. It exists only if it can be: see [`new`](Self::new).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeConfig {
    /// `None`: take the one kept in the data directory, or one from the certificate, or make one up, and keep it there.
    pub id: Option<NodeId>,
    pub cluster: String,
    /// Absolute; may not exist yet.
    pub data_dir: PathBuf,
    pub capacity: ByteSize,
    pub listen: SocketAddr,
    /// The HTTP address that peers are told.
    pub advertise: SocketAddr,
    pub gossip: SocketAddr,
    /// The gossip address that peers are told.
    pub gossip_advertise: SocketAddr,
    /// Each `HOST:PORT`.
    pub seeds: Vec<String>,
    pub replicas: usize,
    /// `None`, as for the next two: the engine's own.
    pub rebalance_after: Option<Duration>,
    /// Bytes a second.
    pub rebalance_rate: Option<ByteSize>,
    /// Zero: never.
    pub scrub_period: Option<Duration>,
    /// Empty where nothing is said.
    pub zone: String,
    /// `None`: chosen by the capacity, see [`crate::weight`].
    pub weight: Option<u32>,
    /// Absolute; may not exist yet.
    pub mount: Option<PathBuf>,
    pub allow_other: bool,
    pub native_reads: bool,
    /// Each is known to be possible.
    pub origins: Vec<OriginSpec>,
    /// `None`: clear text.
    pub tls: Option<TlsFiles>,
    /// `None`: gossip in clear.
    pub cluster_key: Option<PathBuf>,
    /// `None`: everybody may everything.
    pub tokens: Option<PathBuf>,
    /// `None`: the kernel's.
    pub congestion: Option<String>,
    pub insecure: bool,
    /// Zero: no boot profiles. `None`: the engine's own.
    pub profile_idle: Option<Duration>,
    /// `false`: static owners only.
    pub redirects: bool,
}

/// What a node shows, and whom it trusts: PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
    pub ca: PathBuf,
}

impl TlsFiles {
    fn new(settings: &NodeSettings) -> Result<Option<Self>, Failure> {
        match (settings.tls_cert.clone(), settings.tls_key.clone(), settings.tls_ca.clone()) {
            (None, None, None) => Ok(None),
            (Some(cert), Some(key), Some(ca)) => Ok(Some(Self { cert, key, ca })),
            _ => Err(Failure::usage("--tls-cert, --tls-key and --tls-ca are one thing: give all three, or none for clear text")),
        }
    }
}

impl NodeConfig {
    /// Fills in the defaults and refuses what cannot be, in one sentence.
    pub fn new(settings: NodeSettings) -> Result<Self, Failure> {
        let (addresses, tls) = (Addresses::new(&settings)?, TlsFiles::new(&settings)?);
        let config = Self {
            id: settings.id,
            cluster: settings.cluster.unwrap_or_else(|| CLUSTER.to_owned()),
            data_dir: absolute(settings.data_dir.map_or_else(default_data_dir, Ok)?)?,
            capacity: settings.capacity.unwrap_or(CAPACITY),
            listen: addresses.listen,
            advertise: addresses.advertise,
            gossip: addresses.gossip,
            gossip_advertise: addresses.gossip_advertise,
            seeds: settings.seed,
            replicas: settings.replicas.unwrap_or(REPLICAS),
            rebalance_after: settings.rebalance_after.map(|Ttl(after)| after),
            rebalance_rate: settings.rebalance_rate,
            scrub_period: settings.scrub_days.map(|days| Duration::from_secs(u64::from(days) * DAY)),
            zone: settings.zone.unwrap_or_default(),
            weight: settings.weight,
            mount: settings.mount.map(absolute).transpose()?,
            allow_other: settings.allow_other,
            native_reads: settings.native_reads,
            origins: parse_origins(&settings.origin)?,
            tls,
            cluster_key: settings.cluster_key.map(absolute).transpose()?,
            tokens: settings.tokens.map(absolute).transpose()?,
            congestion: settings.congestion,
            insecure: settings.insecure,
            profile_idle: settings.profile_idle.map(Duration::from_secs),
            redirects: !settings.no_redirects,
        };
        config.check().map_err(Failure::usage)?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        self.check_figures()?;
        self.check_exposure()?;
        check_reachable("--advertise", self.advertise)?;
        check_reachable("--gossip-advertise", self.gossip_advertise)?;
        self.seeds.iter().try_for_each(|seed| check_seed(seed))?;
        self.check_directories()?;
        if self.allow_other && self.mount.is_none() {
            return Err("--allow-other opens a mount to others, but there is none: add --mount DIR".to_owned());
        }
        if self.native_reads && self.mount.is_none() {
            return Err("--native-reads is about a mount, but there is none: add --mount DIR".to_owned());
        }
        if self.native_reads && self.allow_other {
            return Err("--native-reads is not for --allow-other: other users cannot read the store's files that its links lead to; leave one out"
                .to_owned());
        }
        Ok(())
    }

    fn check_figures(&self) -> Result<(), String> {
        if self.cluster.is_empty() {
            return Err("--cluster is empty: leave it out or give a name".to_owned());
        }
        if self.replicas == 0 {
            return Err("--replicas 0 would keep nothing: it must be at least 1".to_owned());
        }
        if self.replicas > PutWish::MAX_REPLICAS.into() {
            return Err(format!("--replicas {} is over the most there can be, {}", self.replicas, PutWish::MAX_REPLICAS));
        }
        let least = ByteSize(CHUNK_SIZE.into());
        if let Some(rate) = self.rebalance_rate.filter(|rate| *rate < least) {
            return Err(format!("--rebalance-rate {rate} is less than a chunk a second: give it {least} or more"));
        }
        if let Some(weight) = self.weight.filter(|weight| *weight > MAX_WEIGHT) {
            return Err(format!("--weight {weight} is over the most there is, {MAX_WEIGHT}"));
        }
        if self.capacity < least {
            return Err(format!("--capacity {} does not hold a single chunk of {least}: give it more", self.capacity));
        }
        Ok(())
    }

    /// What is off loopback is for those who show who they are: nodes to nodes, in gossip, and people to nodes.
    fn check_exposure(&self) -> Result<(), String> {
        if self.insecure {
            return Ok(());
        }
        if self.tokens.is_some() && self.tls.is_none() {
            return Err("--tokens without TLS would let tokens be read on their way, and what is for nodes be asked by all: add --tls-cert, \
                        --tls-key and --tls-ca, or --insecure where that is nobody's loss"
                .to_owned());
        }
        let exposed =
            [("--listen", self.listen), ("--gossip", self.gossip)].into_iter().find(|(_, addr)| !addr.ip().is_loopback());
        let wanted = [
            (self.tls.is_some(), "TLS (--tls-cert, --tls-key, --tls-ca)"),
            (self.cluster_key.is_some(), "a cluster key (--cluster-key)"),
            (self.tokens.is_some(), "tokens (--tokens)"),
        ];
        let missing: Vec<_> = wanted.into_iter().filter(|(there, _)| !there).map(|(_, what)| what).collect();
        match exposed {
            Some((flag, address)) if !missing.is_empty() => Err(format!(
                "{flag} {address} is off loopback, which needs TLS, a cluster key and tokens; missing: {}. herring certs and herring token \
                 make them; or add --insecure if everybody in that network may read, write and delete",
                missing.join(", ")
            )),
            _ => Ok(()),
        }
    }

    fn check_directories(&self) -> Result<(), String> {
        check_directory("--data-dir", &self.data_dir)?;
        let Some(mount) = &self.mount else { return Ok(()) };
        check_directory("--mount", mount)?;
        if self.data_dir.starts_with(mount) {
            let (mount, data) = (mount.display(), self.data_dir.display());
            return Err(format!("--mount {mount} would cover the data directory {data}: mount beside or below it"));
        }
        Ok(())
    }
}

/// The four addresses, of which at most one need be said.
struct Addresses {
    listen: SocketAddr,
    advertise: SocketAddr,
    gossip: SocketAddr,
    gossip_advertise: SocketAddr,
}

impl Addresses {
    fn new(settings: &NodeSettings) -> Result<Self, Failure> {
        let listen = settings.listen.unwrap_or((Ipv4Addr::LOCALHOST, PORT).into());
        let advertise = settings.advertise.unwrap_or(listen);
        let gossip = settings.gossip.map_or_else(|| above(listen), Ok)?;
        let host = if gossip.ip().is_unspecified() { advertise.ip() } else { gossip.ip() };
        let gossip_advertise = settings.gossip_advertise.unwrap_or(SocketAddr::new(host, gossip.port()));
        Ok(Self { listen, advertise, gossip, gossip_advertise })
    }
}

/// The same host, one port above.
fn above(listen: SocketAddr) -> Result<SocketAddr, Failure> {
    let no_port = || Failure::usage(format_args!("--listen {listen} leaves no port for gossip one above: give --gossip ADDR"));
    let port = listen.port().checked_add(1).filter(|_| listen.port() != 0).ok_or_else(no_port)?;
    Ok(SocketAddr::new(listen.ip(), port))
}

fn check_reachable(flag: &str, address: SocketAddr) -> Result<(), String> {
    if !address.ip().is_unspecified() && address.port() != 0 {
        return Ok(());
    }
    Err(format!("peers cannot reach {address}: say with {flag} HOST:PORT which address they are to use"))
}

fn check_seed(seed: &str) -> Result<(), String> {
    let port = |(host, port): (&str, &str)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0);
    if seed.rsplit_once(':').is_some_and(port) {
        return Ok(());
    }
    Err(format!("--seed {seed:?} is no HOST:PORT of a node's gossip, such as 10.0.0.1:7071"))
}

/// A directory that is there or can be made. Whether it can be written to shows when it is.
fn check_directory(flag: &str, path: &Path) -> Result<(), String> {
    match std::fs::metadata(path) {
        Ok(meta) if !meta.is_dir() => Err(format!("{flag} {} is not a directory: name one, or a path to create", path.display())),
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            Err(format!("{flag} {} leads through something that is not a directory", path.display()))
        }
        // A mount left behind by a killed process cannot be looked at; it is cleared when mounting.
        _ => Ok(()),
    }
}

/// A size as people write it.
pub fn parse_size(text: &str) -> Result<ByteSize, String> {
    text.parse().map_err(|_| format!("{text:?} is no size: write it like 500GB, 1.5TiB or 64MiB, or as a number of bytes"))
}

/// Refuses whatever no node could start with: it is looked at as a node would.
pub fn parse_origins(texts: &[String]) -> Result<Vec<OriginSpec>, Failure> {
    let specs: Vec<OriginSpec> = texts.iter().map(|text| text.parse()).collect::<Result<_, _>>().map_err(Failure::usage)?;
    Origins::new(specs.iter().cloned()).map_err(Failure::usage)?;
    Ok(specs)
}

/// `$XDG_DATA_HOME/herring`, or where the standard puts it.
pub fn default_data_dir() -> Result<PathBuf, Failure> {
    let set = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let data = set("XDG_DATA_HOME").or_else(|| set("HOME").map(|home| home.join(".local/share")));
    let data = data
        .ok_or_else(|| Failure::usage("neither XDG_DATA_HOME nor HOME is set: say with a flag where the data is to be kept"))?;
    Ok(data.join("herring"))
}

pub fn absolute(path: PathBuf) -> Result<PathBuf, Failure> {
    std::path::absolute(&path).map_err(|error| Failure::usage(format_args!("{path:?} is no path: {error}")))
}
