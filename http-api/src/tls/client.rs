use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::pem::{self, Pair};
use super::{READ_BUFFER, TlsError, VERSIONS, WRITE_BUFFER, provider};

/// Servers whose tickets are kept: a swarm of a thousand nodes reconnects at half the price.
const SESSIONS: usize = 1024;

/// How TLS is spoken to nodes: whom to trust, and what to show who asks for it. Cheap to clone; clones share the tickets, and what they are
/// replaced by.
#[derive(Clone)]
pub struct ClientTls(Arc<RwLock<Now>>);

/// What the next handshake goes by.
struct Now {
    config: Arc<ClientConfig>,
    /// How often it was replaced.
    generation: u64,
}

impl ClientTls {
    /// Trusts the authorities in `ca`. `own`: a certificate with its chain, and its key, for nodes that ask for one. All in PEM.
    pub fn load(ca: &Path, own: Option<(&Path, &Path)>) -> Result<Self, TlsError> {
        let own = own.map(|(cert, key)| Pair::read(cert, key)).transpose()?;
        Self::new(pem::roots(ca, &pem::certificates(ca)?)?, own)
    }

    pub(super) fn new(roots: Arc<RootCertStore>, own: Option<Pair<'_>>) -> Result<Self, TlsError> {
        let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(VERSIONS);
        let builder = builder.expect("the provider has suites of TLS 1.3").with_root_certificates(roots);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some(Pair { chain, private, cert, key }) => {
                builder.with_client_auth_cert(chain, private).map_err(|error| pem::refused(cert, key, error))?
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        Ok(Self(Arc::new(RwLock::new(Now { config: Arc::new(config), generation: 0 }))))
    }

    /// From now on connects as `other` does, in all clones. Tickets are forgotten, as they stand for what was shown and trusted before. So do open
    /// connections: what is under way there goes on to its end, and nothing more is asked on them.
    pub fn replace(&self, other: &Self) {
        let config = other.config();
        let mut now = self.0.write().unwrap_or_else(PoisonError::into_inner);
        *now = Now { config, generation: now.generation + 1 };
    }

    fn now(&self) -> RwLockReadGuard<'_, Now> {
        // Replaced whole.
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.now().config)
    }

    /// Another once this was replaced.
    pub(crate) fn generation(&self) -> u64 {
        self.now().generation
    }

    /// Shakes hands over an open socket to `target`, `host:port`. The certificate must be for the node of the id `whom`, wherever it is; where
    /// that is not known, for the target's host or IP address.
    pub(crate) async fn connect(&self, target: &str, whom: Option<&str>, socket: TcpStream) -> io::Result<Connected> {
        let name = whom.map_or_else(|| host(target), dns)?;
        let socket = BufReader::with_capacity(READ_BUFFER, socket);
        let connect =
            TlsConnector::from(self.config()).connect_with(name, socket, |tls| tls.set_buffer_limit(Some(WRITE_BUFFER)));
        connect.await.map(Box::new)
    }
}

/// Boxed: 2 KiB where a socket is a few words.
pub(crate) type Connected = Box<TlsStream<BufReader<TcpStream>>>;

fn host(target: &str) -> io::Result<ServerName<'static>> {
    if let Ok(address) = target.parse::<SocketAddr>() {
        return Ok(ServerName::IpAddress(address.ip().into()));
    }
    dns(target.rsplit_once(':').map_or(target, |(host, _)| host))
}

fn dns(name: &str) -> io::Result<ServerName<'static>> {
    ServerName::try_from(name.to_owned()).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, format!("{name}: {error}")))
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").finish_non_exhaustive()
    }
}
