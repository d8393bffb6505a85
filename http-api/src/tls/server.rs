use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
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

use super::{TlsError, VERSIONS, WRITE_BUFFER, pem, provider};

/// How long a refused client may take to hear why. Its own bytes are read meanwhile: closing over them would reset the connection, and with
/// it the alert that tells.
const FAREWELL: Duration = Duration::from_secs(1);

/// How TLS is spoken to clients. Cheap to clone.
#[derive(Clone)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
    asks_clients: bool,
}

impl ServerTls {
    /// Shows the certificate in `cert`, with its chain, whose key is in `key`. With `clients_ca`, who asks what peers ask must show a
    /// certificate of those authorities; others need none, and a wrong one is refused. All in PEM.
    pub fn load(cert: &Path, key: &Path, clients_ca: Option<&Path>) -> Result<Self, TlsError> {
        let (chain, private) = pem::identity(cert, key)?;
        let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(VERSIONS);
        let builder = builder.expect("the provider has suites of TLS 1.3").with_client_cert_verifier(verifier(clients_ca)?);
        let mut config = builder.with_single_cert(chain, private).map_err(|error| pem::refused(cert, key, error))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ignore_client_order = true;
        // Tickets that the client keeps: a thousand peers cost this node no memory.
        config.ticketer = Ticketer::new().map_err(|error| pem::unusable(key, error))?;
        Ok(Self { config: Arc::new(config), asks_clients: clients_ca.is_some() })
    }

    /// Whether peers must show a certificate.
    pub fn asks_clients(&self) -> bool {
        self.asks_clients
    }

    /// Shakes hands; returns once the client may ask, or has been told why not.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<Accepted> {
        let accept = TlsAcceptor::from(self.config.clone()).accept_with(stream, |tls| tls.set_buffer_limit(Some(WRITE_BUFFER)));
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
    /// A certificate of the swarm's authority, DER.
    Certificate(CertificateDer<'static>),
}

pub(crate) fn shown(stream: &Accepted) -> Shown {
    let own = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    own.map_or(Shown::Nothing, |certificate| Shown::Certificate(certificate.clone().into_owned()))
}

pub(crate) fn is_resumed(stream: &Accepted) -> bool {
    stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed)
}

fn verifier(clients_ca: Option<&Path>) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let Some(ca) = clients_ca else { return Ok(Arc::new(NoClientAuth)) };
    let builder = WebPkiClientVerifier::builder_with_provider(pem::roots(ca)?, provider()).allow_unauthenticated();
    let verifier = builder.build().map_err(|error| pem::unusable(ca, error))?;
    Ok(verifier)
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
