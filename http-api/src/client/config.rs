use std::time::Duration;

use crate::access::Token;
use crate::tls::ClientTls;

/// How peers are connected to. The defaults were measured between two processes of one machine with bodies of 4 MiB:
/// 8 streams of 1 MiB frames move 5.6 GB/s where hyper's 16 KiB frames move 1.5, at a quarter of the CPU.
#[derive(Debug, Clone)]
pub struct PeerConfig {
    /// For the TCP handshake. A node in the same network answers within 1 ms.
    pub connect_timeout: Duration,
    /// After a failed dial, for so long everyone is told of that failure instead of dialling again:
    /// a dead peer costs its timeout once, not once per request.
    pub redial_after: Duration,
    /// How long a head may take where the asker brings no deadline of its own ([`super::ApiClient`]).
    pub answer_timeout: Duration,
    /// How long a body may pause. A link that is merely slow or shared is not a pause: see `Answer`.
    pub stall: Duration,
    /// Connections for chunks, per peer. Small requests have one of their own: a small GET beside 8 streams of
    /// chunks waits 2.4 ms instead of 0.1.
    pub bulk_connections: usize,
    /// Chunks under way per bulk connection; more wait for their turn.
    pub bulk_streams: usize,
    /// Small requests under way per peer; more wait for their turn.
    pub control_streams: usize,
    /// Commits under way per peer; more wait for their turn. Each waits for a disk, up to minutes, so they have a connection
    /// of their own: neither small requests nor chunks wait behind them.
    pub commit_streams: usize,
    /// A connection with requests under way that brought nothing for so long is pinged, …
    pub ping_interval: Duration,
    /// … and given up when after that for so long not a single byte came, of a pong or of anything else. A peer whose process is stopped fails its
    /// requests after the sum; one that waits for a slow origin answers pings, so deadlines may be long.
    pub ping_timeout: Duration,
    /// The largest DATA frame that peers may send us, in bytes. For downloads this is the lever: one system call a frame.
    pub frame_size: u32,
    /// Bytes that may be under way per stream. More gains nothing locally and delays those who share the connection;
    /// a path of a high bandwidth-delay product wants more.
    pub stream_window: u32,
    /// Bytes that may be under way per connection.
    pub connection_window: u32,
    /// TLS 1.3 instead of clear text.
    pub tls: Option<ClientTls>,
    /// What people's programs show with every request ([`super::ApiClient`]). Nodes show their certificates.
    pub token: Option<Token>,
    /// The congestion control that is sent under, such as `reno`; one that the kernel refuses is told and left. `None`: the kernel's default.
    pub congestion: Option<String>,
}

impl Default for PeerConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_millis(300),
            redial_after: Duration::from_millis(500),
            answer_timeout: Duration::from_secs(30),
            stall: Duration::from_secs(1),
            bulk_connections: 2,
            bulk_streams: 8,
            control_streams: 64,
            commit_streams: 64,
            ping_interval: Duration::from_millis(500),
            ping_timeout: Duration::from_secs(1),
            frame_size: 1 << 20,
            stream_window: 2 << 20,
            connection_window: 32 << 20,
            tls: None,
            token: None,
            congestion: None,
        }
    }
}

impl PeerConfig {
    /// For people's programs, whose node may be far away and which would rather wait than fail.
    ///
    /// A node may take 100 s for an answer, and in the middle of a body for the next chunk, before it gives up itself; its word on
    /// why says more than ours. One that died is noticed by its pings.
    pub fn patient() -> Self {
        Self {
            connect_timeout: Duration::from_secs(3),
            answer_timeout: Duration::from_secs(110),
            stall: Duration::from_secs(110),
            ping_interval: Duration::from_secs(5),
            ping_timeout: Duration::from_secs(10),
            ..Self::default()
        }
    }
}
