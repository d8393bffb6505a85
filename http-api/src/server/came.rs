use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use tokio_util::sync::CancellationToken;

use crate::tls::Shown;

/// How a request came to this node: an extension of each.
#[derive(Debug, Clone)]
pub(super) struct Came {
    pub from: SocketAddr,
    /// This node's own end.
    pub to: IpAddr,
    /// `None`: in clear.
    pub shown: Option<Shown>,
    /// How many of its requests have a slot: see [`Admission`](super::admission::Admission).
    pub slots: Arc<AtomicUsize>,
    /// Closes the connection once what is under way on it is answered.
    pub leave: CancellationToken,
}
