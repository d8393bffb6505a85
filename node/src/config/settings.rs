use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use clap::Args;
use herring_http_api::ttl::Ttl;
use herring_ring::NodeId;
use serde::Deserialize;

use super::{file, parse_size};
use crate::error::Failure;

/// What may be said about a node, on the command line or in a file: a key of the file is a flag without its dashes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct NodeSettings {
    /// Name of this node, unique in its cluster [default: at the first start the one name in its certificate, or made up where it has
    /// none; kept in the data directory]
    #[arg(long, value_name = "ID")]
    pub id: Option<NodeId>,

    /// Name of the cluster; nodes of other clusters are ignored [default: herring]
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,

    /// Where blobs are kept; created if missing [default: $XDG_DATA_HOME/herring]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Most bytes that the data directory may hold, such as 500GB or 1TiB [default: 100GiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    #[serde(deserialize_with = "file::size")]
    pub capacity: Option<ByteSize>,

    /// TCP address of the HTTP API [default: 127.0.0.1:7070]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,

    /// TCP address under which peers reach the API [default: that of --listen]
    #[arg(long, value_name = "ADDR")]
    pub advertise: Option<SocketAddr>,

    /// UDP address of the gossip [default: that of --listen, one port above]
    #[arg(long, value_name = "ADDR")]
    pub gossip: Option<SocketAddr>,

    /// UDP address under which peers reach the gossip [default: that of --gossip, at the host of --advertise]
    #[arg(long, value_name = "ADDR")]
    pub gossip_advertise: Option<SocketAddr>,

    /// Gossip address of a node to begin with, HOST:PORT; may be repeated, in a file: a list
    #[arg(long, value_name = "ADDR")]
    #[serde(alias = "seeds", deserialize_with = "file::one_or_more")]
    pub seed: Vec<String>,

    /// Nodes that keep each chunk; the same on every node [default: 3]
    #[arg(long, value_name = "R")]
    pub replicas: Option<usize>,

    /// How long the swarm must have been the same before data is moved because of it, such as 10s or 5m: a node that restarts
    /// within it moves nothing [default: 10s]
    #[arg(long, value_name = "TIME")]
    pub rebalance_after: Option<Ttl>,

    /// Most bytes a second that this node gets of what it is to keep and has not yet; a quarter of it while somebody reads from it
    /// [default: 256MiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    #[serde(deserialize_with = "file::size")]
    pub rebalance_rate: Option<ByteSize>,

    /// Within how many days all that is kept is read back from the disk and verified; 0: never, but when it is read [default: 30]
    #[arg(long, value_name = "DAYS")]
    pub scrub_days: Option<u32>,

    /// What fails together with this node: a rack, a room, a region. Replicas are spread over zones [default: none]
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<String>,

    /// Share of the data: 200 owns twice as much as 100, 0 owns nothing [default: by --capacity, so that unlike nodes fill alike. The
    /// first node takes 100, who joins as much per byte as the others; it is kept in the data directory]
    #[arg(long, value_name = "WEIGHT")]
    pub weight: Option<u32>,

    /// Where the swarm is mounted as files; created if missing [default: not mounted]
    #[arg(long, value_name = "DIR")]
    pub mount: Option<PathBuf>,

    /// Lets other users see the mount
    #[arg(long)]
    pub allow_other: bool,

    /// Shows blobs that are whole on this node's disk as symbolic links to the store's files, for the native page cache: faster mmap, and
    /// blobs larger than memory; needs CAP_SYS_ADMIN, and not with --allow-other
    #[arg(long)]
    pub native_reads: bool,

    /// An origin by its name: models=file:///data, models=s3://bucket/prefix; may be repeated, in a file: a list; the same on
    /// every node
    #[arg(long, value_name = "NAME=URL")]
    #[serde(alias = "origins", deserialize_with = "file::one_or_more")]
    pub origin: Vec<String>,

    /// Certificate of this node in PEM, with its chain: it serves TLS 1.3 instead of clear text, and asks its peers so, who check that it is
    /// for the node's --id; with --tls-key and --tls-ca, on all nodes of a swarm. These three are read again while the node runs
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,

    /// Key of that certificate, in PEM
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,

    /// Authority of all nodes' certificates, in PEM: others are asked nothing, and not told what is for peers. People's programs
    /// need no certificate
    #[arg(long, value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,

    /// The cluster's secret key, a file that only its owner may read, with a line of 64 hexadecimal digits: gossip is sealed with it, and who has
    /// none is no member. The same on all nodes; read again while the node runs. Of several lines the first seals, and all open
    #[arg(long, value_name = "FILE")]
    pub cluster_key: Option<PathBuf>,

    /// The tokens that people and their programs show, a file that herring token writes and others may not change: nobody is let in without
    /// one, and nodes by their certificates; read again while the node runs. Needs TLS [default: nobody is asked]
    #[arg(long, value_name = "FILE")]
    pub tokens: Option<PathBuf>,

    /// TCP congestion control of all connections, such as reno or cubic [default: the kernel's]
    #[arg(long, value_name = "NAME")]
    pub congestion: Option<String>,

    /// Listens off loopback without TLS, a cluster key or tokens: for networks where everybody may read, write and delete
    #[arg(long)]
    pub insecure: bool,

    /// What is read first of a tree or an origin's directory is written down until nothing new was for so long; 0: never, and nobody's list
    /// is followed [default: 5]
    #[arg(long, value_name = "SECONDS", hide = true)]
    pub profile_idle: Option<u64>,

    /// All bytes come from owners: no node is pointed at others
    #[arg(long, hide = true)]
    pub no_redirects: bool,
}

impl NodeSettings {
    pub fn load(path: &Path) -> Result<Self, Failure> {
        let refuse = |why: String| Failure::usage(format_args!("config file {}{why}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| refuse(format!(" cannot be read: {error}")))?;
        Self::parse(&text).map_err(|error| refuse(format!(", {error}")))
    }

    /// Reads TOML; the error starts with the line and names the key.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| file::explain(text, &error))
    }

    /// These settings, and `lower`'s where these say nothing.
    pub fn over(self, lower: Self) -> Self {
        Self {
            id: self.id.or(lower.id),
            cluster: self.cluster.or(lower.cluster),
            data_dir: self.data_dir.or(lower.data_dir),
            capacity: self.capacity.or(lower.capacity),
            listen: self.listen.or(lower.listen),
            advertise: self.advertise.or(lower.advertise),
            gossip: self.gossip.or(lower.gossip),
            gossip_advertise: self.gossip_advertise.or(lower.gossip_advertise),
            seed: some_of(self.seed, lower.seed),
            replicas: self.replicas.or(lower.replicas),
            rebalance_after: self.rebalance_after.or(lower.rebalance_after),
            rebalance_rate: self.rebalance_rate.or(lower.rebalance_rate),
            scrub_days: self.scrub_days.or(lower.scrub_days),
            zone: self.zone.or(lower.zone),
            weight: self.weight.or(lower.weight),
            mount: self.mount.or(lower.mount),
            allow_other: self.allow_other || lower.allow_other,
            native_reads: self.native_reads || lower.native_reads,
            origin: some_of(self.origin, lower.origin),
            tls_cert: self.tls_cert.or(lower.tls_cert),
            tls_key: self.tls_key.or(lower.tls_key),
            tls_ca: self.tls_ca.or(lower.tls_ca),
            cluster_key: self.cluster_key.or(lower.cluster_key),
            tokens: self.tokens.or(lower.tokens),
            congestion: self.congestion.or(lower.congestion),
            insecure: self.insecure || lower.insecure,
            profile_idle: self.profile_idle.or(lower.profile_idle),
            no_redirects: self.no_redirects || lower.no_redirects,
        }
    }
}

fn some_of(list: Vec<String>, lower: Vec<String>) -> Vec<String> {
    if list.is_empty() { lower } else { list }
}
