use std::io;

use herring_http_api::client::ClientError;

use crate::error::FuseError;

/// Why a measurement between hosts ended early. One failed read ends it: figures that leave failures out would be too good.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    #[error(transparent)]
    Swarm(#[from] FuseError),
    #[error("{what}: {detail}")]
    Wires { what: String, detail: String },
    #[error("network namespaces cannot be made here: this needs root and iproute2 (apt-get install iproute2)")]
    NoNamespaces,
    #[error("there is no nginx to compare with: install it (apt-get install nginx-light)")]
    NoNginx,
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("host {host}: {source}")]
    Client { host: usize, source: ClientError },
    #[error("host {host}: {detail}")]
    Broken { host: usize, detail: String },
    #[error("{what} was not done after {seconds} s{detail}")]
    TimedOut { what: String, seconds: u64, detail: String },
    #[error("host {host} has wrong bytes of {what} from {at} on")]
    Wrong { host: usize, what: String, at: u64 },
    #[error("somebody else's failure ended it")]
    Stopped,
}

impl LabError {
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    pub fn client(host: usize) -> impl Fn(ClientError) -> Self {
        move |source| Self::Client { host, source }
    }
}
