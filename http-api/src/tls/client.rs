use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::pki_types::ServerName;

use super::{READ_BUFFER, TlsError, VERSIONS, WRITE_BUFFER, pem, provider};

/// Servers whose tickets are kept: a swarm of a thousand nodes reconnects at half the price.
const SESSIONS: usize = 1024;

/// How TLS is spoken to nodes: whom to trust, and what to show who asks for it. Cheap to clone; clones share the tickets.
#[derive(Clone)]
pub struct ClientTls(Arc<ClientConfig>);

impl ClientTls {
    /// Trusts the authorities in `ca`. `own`: a certificate with its chain, and its key, for nodes that ask for one. All in PEM.
    pub fn load(ca: &Path, own: Option<(&Path, &Path)>) -> Result<Self, TlsError> {
        let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(VERSIONS);
        let builder = builder.expect("the provider has suites of TLS 1.3").with_root_certificates(pem::roots(ca)?);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                let (chain, private) = pem::identity(cert, key)?;
                builder.with_client_auth_cert(chain, private).map_err(|error| pem::refused(cert, key, error))?
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        Ok(Self(Arc::new(config)))
    }

    /// Shakes hands over an open socket to `target`, `host:port`. The certificate must be for that host, or that IP address.
    pub(crate) async fn connect(&self, target: &str, socket: TcpStream) -> io::Result<Connected> {
        let name = name(target)?;
        let socket = BufReader::with_capacity(READ_BUFFER, socket);
        let connect =
            TlsConnector::from(self.0.clone()).connect_with(name, socket, |tls| tls.set_buffer_limit(Some(WRITE_BUFFER)));
        connect.await.map(Box::new)
    }
}

/// Boxed: 2 KiB where a socket is a few words.
pub(crate) type Connected = Box<TlsStream<BufReader<TcpStream>>>;

fn name(target: &str) -> io::Result<ServerName<'static>> {
    if let Ok(address) = target.parse::<SocketAddr>() {
        return Ok(ServerName::IpAddress(address.ip().into()));
    }
    let host = target.rsplit_once(':').map_or(target, |(host, _)| host);
    ServerName::try_from(host.to_owned()).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").finish_non_exhaustive()
    }
}
