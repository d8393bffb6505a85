use std::net::SocketAddr;

use crate::tls::Shown;

/// How a request came to this node: an extension of each.
#[derive(Debug, Clone)]
pub(super) struct Came {
    pub from: SocketAddr,
    /// `None`: in clear.
    pub shown: Option<Shown>,
}
