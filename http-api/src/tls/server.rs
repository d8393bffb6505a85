use std::fmt;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs::Ticketer;
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
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
    verifier: Arc<dyn ClientCertVerifier>,
    /// Whose certificates count. Tickets stand for them.
    authorities: Arc<[CertificateDer<'static>]>,
    /// How often the authorities became others.
    generation: u64,
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
        let builder = builder.expect("the provider has suites of TLS 1.3").with_client_cert_verifier(verifier.clone());
        let mut config = builder.with_single_cert(chain, private).map_err(|error| pem::refused(cert, key, error))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ignore_client_order = true;
        // Tickets that the client keeps: a thousand peers cost this node no memory.
        config.ticketer = Ticketer::new().map_err(|error| pem::unusable(key, error))?;
        let now = Now { config: Arc::new(config), verifier, authorities: authorities.into(), generation: 0 };
        Ok(Self { now: Arc::new(RwLock::new(now)), asks_clients })
    }

    /// Whether peers must show a certificate.
    pub fn asks_clients(&self) -> bool {
        self.asks_clients
    }

    /// From now on shakes hands as `other` does, in all clones. Tickets stay good while the authorities are the same; where they are not, one of an
    /// authority that is no longer trusted would still let its holder in. Open connections stay, and who showed a certificate that is of none of
    /// the new authorities is trusted there no more.
    pub fn replace(&self, other: &Self) {
        let mut new = other.now().clone();
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        new.generation = now.generation;
        if now.authorities == new.authorities {
            Arc::make_mut(&mut new.config).ticketer = now.config.ticketer.clone();
        } else {
            new.generation += 1;
        }
        *now = new;
    }

    fn now(&self) -> RwLockReadGuard<'_, Now> {
        // Replaced whole.
        self.now.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shakes hands; returns once the client may ask, or has been told why not.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<(Accepted, Shown)> {
        let now = self.now().clone();
        let accept = TlsAcceptor::from(now.config).accept_with(stream, |tls| tls.set_buffer_limit(Some(WRITE_BUFFER)));
        match accept.into_fallible().await {
            Ok(stream) => {
                let shown = self.shown(&stream, now.generation)?;
                Ok((Box::new(stream), shown))
            }
            Err((error, stream)) => {
                let _ = timeout(FAREWELL, hear_out(stream)).await;
                Err(error)
            }
        }
    }

    /// A ticket stands for the certificate that was shown for it, which may have expired since: that is an error.
    fn shown(&self, stream: &TlsStream<TcpStream>, generation: u64) -> io::Result<Shown> {
        let refuse = |why: String| io::Error::new(io::ErrorKind::PermissionDenied, why);
        let Some(chain) = stream.get_ref().1.peer_certificates().filter(|chain| !chain.is_empty()) else {
            return Ok(if self.asks_clients { Shown::Nothing } else { Shown::Unasked });
        };
        match Card::of(&chain[0]).map_err(refuse)? {
            card if card.is_over() => Err(refuse(format!("the certificate of {card} has expired since its ticket was given"))),
            card => Ok(Shown::Certificate(Arc::new(Member {
                card: Arc::new(card),
                chain: chain.iter().cloned().map(CertificateDer::into_owned).collect(),
                tls: self.clone(),
                good_for: AtomicU64::new(generation),
            }))),
        }
    }
}

/// Boxed: 2 KiB where a socket is a few words.
pub(crate) type Accepted = Box<TlsStream<TcpStream>>;

/// What the client has shown over TLS; a wrong certificate has ended the handshake.
#[derive(Debug, Clone)]
pub(crate) enum Shown {
    /// Nobody is asked for a certificate here.
    Unasked,
    Nothing,
    /// A certificate of the swarm's authority: a node's.
    Certificate(Arc<Member>),
}

/// A node at the other end of a connection.
#[derive(Debug)]
pub(crate) struct Member {
    card: Arc<Card>,
    /// As it was shown, to be verified again.
    chain: Vec<CertificateDer<'static>>,
    tls: ServerTls,
    /// The generation of authorities that the chain was last found good for.
    good_for: AtomicU64,
}

impl Member {
    pub(crate) fn card(&self) -> &Arc<Card> {
        &self.card
    }

    /// Why it is not to be believed any more, if it is not: its time is over, or its authority was taken away. Its chain is verified again once
    /// after each change of the authorities, as in a handshake; else this is a look at the clock and at a number.
    pub(crate) fn distrust(&self) -> Option<String> {
        if self.card.is_over() {
            return Some(format!("the certificate that this connection showed, for {}, has expired", self.card));
        }
        let (generation, verifier) = {
            let now = self.tls.now();
            if self.good_for.load(Ordering::Relaxed) == now.generation {
                return None;
            }
            (now.generation, Arc::clone(&now.verifier))
        };
        match verifier.verify_client_cert(&self.chain[0], &self.chain[1..], UnixTime::now()) {
            Ok(_) => {
                self.good_for.store(generation, Ordering::Relaxed);
                None
            }
            Err(error) => Some(format!(
                "the certificate that this connection showed, for {}, is not of an authority that is trusted here now ({error})",
                self.card
            )),
        }
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};

    use super::*;

    struct Swarm {
        ca: CertifiedIssuer<'static, KeyPair>,
    }

    impl Swarm {
        fn new() -> Self {
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
            Self { ca }
        }

        fn issue(&self, year: i32) -> (CertificateDer<'static>, KeyPair) {
            let (mut params, key) = (CertificateParams::new(["n1".to_owned()]).unwrap(), KeyPair::generate().unwrap());
            params.not_after = date_time_ymd(year, 1, 1);
            (params.signed_by(&key, &self.ca).unwrap().der().clone(), key)
        }

        fn tls(&self) -> ServerTls {
            let (cert, key) = self.issue(4000);
            let private = key.serialize_der().try_into().unwrap();
            let pair = Pair { chain: vec![cert], private, cert: Path::new("cert"), key: Path::new("key") };
            ServerTls::new(pair, Path::new("ca"), vec![self.ca.der().clone()]).unwrap()
        }

        fn member(&self, tls: &ServerTls, year: i32) -> Member {
            let chain = vec![self.issue(year).0];
            let card = Arc::new(Card::of(&chain[0]).unwrap());
            Member { card, chain, tls: tls.clone(), good_for: AtomicU64::new(tls.now().generation) }
        }
    }

    #[test]
    fn a_node_is_believed_while_its_certificate_and_its_authority_last() {
        let (ours, theirs) = (Swarm::new(), Swarm::new());
        let tls = ours.tls();
        let (member, over) = (ours.member(&tls, 4000), ours.member(&tls, 2020));
        assert_eq!(member.distrust(), None);
        assert!(over.distrust().unwrap().contains("for n1, has expired"));
        tls.replace(&ours.tls());
        assert_eq!((member.distrust(), tls.now().generation), (None, 0), "a new certificate is no new authority");
        tls.replace(&theirs.tls());
        assert!(member.distrust().unwrap().contains("not of an authority that is trusted here now"));
        assert!(member.distrust().is_some(), "and so it stays");
        tls.replace(&ours.tls());
        assert_eq!((member.distrust(), member.good_for.into_inner()), (None, 2));
    }
}
