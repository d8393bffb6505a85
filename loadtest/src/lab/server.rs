use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::error::LabError;
use super::members::at;
use super::nginx::Nginx;
use super::relay::Relays;
use super::wires::Wires;

const WEB: u16 = 80;
/// Where it is asked when its answers take longer.
const RELAYED: u16 = 8080;

/// The web server on the last host, which is in no zone.
pub struct Server {
    nginx: Nginx,
    _relay: Option<Relays>,
    /// Where it is asked.
    pub address: SocketAddr,
}

impl Server {
    /// Serves the files below `root`; its own are in `dir`.
    pub fn start(wires: &Wires, dir: &Path, root: &Path, delay: Duration) -> Result<Self, LabError> {
        let (number, host) = (wires.last(), wires.host(wires.last()));
        let address = at(number, WEB)?;
        let nginx = Nginx::start(&host, address, dir, root)?;
        if delay.is_zero() {
            return Ok(Self { nginx, _relay: None, address });
        }
        let near = at(number, RELAYED)?;
        let relay = Relays::between(&host, near, address, delay)?;
        Ok(Self { nginx, _relay: Some(relay), address: near })
    }

    /// Bytes of bodies that were sent from the beginning, without what is being sent.
    pub fn sent(&self) -> Result<u64, LabError> {
        self.nginx.sent()
    }
}
