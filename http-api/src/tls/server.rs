use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs::Ticketer;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{NoClientAuth, WebPkiClientVerifier};
use tokio_rustls::rustls::{HandshakeKind, ServerConfig};
use tokio_rustls::server::TlsStream;

use super::pem::{self, Pair};
use super::{Card, TlsError, VERSIONS, WRITE_BUFFER, provider};

/// How long a refused client may take to hear why. Its own bytes are read meanwhile: closing over them would reset the connection, and with
/// it the alert that tells.
const FAREWELL: Duration = Duration::from_secs(1);

/// How TLS is spoken to clients. Cheap to clone; clones share what they are replaced by.
#[derive(Clone)]
pub struct ServerTls {
    now: Arc<RwLock<Now>>,
    asks_clients: bool,
}

/// What the next handshake goes by.
#[derive(Clone)]
struct Now {
    config: Arc<ServerConfig>,
    /// Whose certificates count. Tickets stand for them.
    authorities: Arc<[CertificateDer<'static>]>,
}

impl ServerTls {
    /// Shows the certificate in `cert`, with its chain, whose key is in `key`. With `clients_ca`, who asks what peers ask must show a
    /// certificate of those authorities; others need none, and a wrong one is refused. All in PEM.
    pub fn load(cert: &Path, key: &Path, clients_ca: Option<&Path>) -> Result<Self, TlsError> {
        let pair = Pair::read(cert, key)?;
        match clients_ca {
            None => Self::build(pair, Arc::new(NoClientAuth), Vec::new(), false),
            Some(ca) => Self::new(pair, ca, pem::certificates(ca)?),
        }
    }

    /// One that asks peers for a certificate of `authorities`, which are from the file `ca`.
    pub(super) fn new(pair: Pair<'_>, ca: &Path, authorities: Vec<CertificateDer<'static>>) -> Result<Self, TlsError> {
        let builder = WebPkiClientVerifier::builder_with_provider(pem::roots(ca, &authorities)?, provider());
        let verifier = builder.allow_unauthenticated().build().map_err(|error| pem::unusable(ca, error))?;
        Self::build(pair, verifier, authorities, true)
    }

    fn build(
        Pair { chain, private, cert, key }: Pair<'_>,
        verifier: Arc<dyn ClientCertVerifier>,
        authorities: Vec<CertificateDer<'static>>,
        asks_clients: bool,
    ) -> Result<Self, TlsError> {
        let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(VERSIONS);
        let builder = builder.expect("the provider has suites of TLS 1.3").with_client_cert_verifier(verifier);
        let mut config = builder.with_single_cert(chain, private).map_err(|error| pem::refused(cert, key, error))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ignore_client_order = true;
        // Tickets that the client keeps: a thousand peers cost this node no memory.
        config.ticketer = Ticketer::new().map_err(|error| pem::unusable(key, error))?;
        let now = Now { config: Arc::new(config), authorities: authorities.into() };
        Ok(Self { now: Arc::new(RwLock::new(now)), asks_clients })
    }

    /// Whether peers must show a certificate.
    pub fn asks_clients(&self) -> bool {
        self.asks_clients
    }

    /// From now on shakes hands as `other` does, in all clones. Open connections stay. Tickets stay good while the authorities are the same; where
    /// they are not, one of an authority that is no longer trusted would still let its holder in.
    pub fn replace(&self, other: &Self) {
        let (old, mut new) = (self.now(), other.now());
        if old.authorities == new.authorities {
            let ticketer = old.config.ticketer.clone();
            Arc::make_mut(&mut new.config).ticketer = ticketer;
        }
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = new;
    }

    fn now(&self) -> Now {
        // Replaced whole.
        self.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Shakes hands; returns once the client may ask, or has been told why not.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<Accepted> {
        let accept = TlsAcceptor::from(self.now().config).accept_with(stream, |tls| tls.set_buffer_limit(Some(WRITE_BUFFER)));
        match accept.into_fallible().await {
            Ok(stream) => Ok(Box::new(stream)),
            Err((error, stream)) => {
                let _ = timeout(FAREWELL, hear_out(stream)).await;
                Err(error)
            }
        }
    }
}

/// Boxed: 2 KiB where a socket is a few words.
pub(crate) type Accepted = Box<TlsStream<TcpStream>>;

/// What the client has shown over TLS; a wrong certificate has ended the handshake.
#[derive(Debug, Clone)]
pub(crate) enum Shown {
    Nothing,
    /// A certificate of the swarm's authority: a node's.
    Certificate(Arc<Card>),
}

/// A ticket stands for the certificate that was shown for it, which may have expired since: that is an error.
pub(crate) fn shown(stream: &Accepted) -> io::Result<Shown> {
    let refuse = |why: String| io::Error::new(io::ErrorKind::PermissionDenied, why);
    let Some(certificate) = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()) else {
        return Ok(Shown::Nothing);
    };
    match Card::of(certificate).map_err(refuse)? {
        card if card.is_over() => Err(refuse(format!("the certificate of {card} has expired since its ticket was given"))),
        card => Ok(Shown::Certificate(Arc::new(card))),
    }
}

pub(crate) fn is_resumed(stream: &Accepted) -> bool {
    stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed)
}

/// Says that nothing more comes, and reads what still does.
async fn hear_out(mut stream: TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.map(drop)
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").field("asks_clients", &self.asks_clients).finish_non_exhaustive()
    }
}
