use std::fmt;
use std::path::Path;

use metrics::gauge;
use tokio_rustls::rustls::client::verify_server_cert_signed_by_trust_anchor;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use tokio_rustls::rustls::{CertificateError, Error};

use super::card::date;
use super::pem::{self, Pair};
use super::{Card, ClientTls, ServerTls, TlsError, provider};

/// When the node's own certificate ends, Unix seconds.
const CERTIFICATE: &str = "herring_tls_certificate_expiry_seconds";
/// When the authority that it is of ends, Unix seconds.
const AUTHORITY: &str = "herring_tls_authority_expiry_seconds";

/// What a node is to others, read from its files: whole, and such that its peers will believe it now.
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    private: PrivateKeyDer<'static>,
    authorities: Vec<CertificateDer<'static>>,
    card: Card,
    authority_until: i64,
    server: ServerTls,
    client: ClientTls,
}

impl Identity {
    /// The certificate in `cert`, with its chain and its key, which must be of one of the authorities in `ca`. All in PEM. Blocks.
    pub fn read(cert: &Path, key: &Path, ca: &Path) -> Result<Self, TlsError> {
        let (pair, authorities) = (Pair::read(cert, key)?, pem::certificates(ca)?);
        let (chain, private) = (pair.chain.clone(), pair.private.clone_key());
        let again = || Pair { chain: chain.clone(), private: private.clone_key(), cert, key };
        let server = ServerTls::new(pair, ca, authorities.clone())?;
        let client = ClientTls::new(pem::roots(ca, &authorities)?, Some(again()))?;
        let authority_until = authority_until(&chain, cert, &authorities, ca)?;
        let card = Card::of(&chain[0]).map_err(|why| pem::unusable(cert, why))?;
        Ok(Self { chain, private, authorities, card, authority_until, server, client })
    }

    /// Whom the certificate is for.
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// When the authority ends that the certificate is of, Unix seconds.
    pub fn authority_until(&self) -> i64 {
        self.authority_until
    }

    pub fn server(&self) -> &ServerTls {
        &self.server
    }

    pub fn client(&self) -> &ClientTls {
        &self.client
    }

    /// Tells in metrics when it ends.
    pub fn observe(&self) {
        #[expect(clippy::cast_precision_loss, reason = "seconds of some millennia are far below 2^53")]
        let tell = |name: &'static str, unix: i64| gauge!(name).set(unix as f64);
        tell(CERTIFICATE, self.card.until());
        tell(AUTHORITY, self.authority_until);
    }
}

/// The same files' content.
impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        (&self.chain, &self.private, &self.authorities) == (&other.chain, &other.private, &other.authorities)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("card", &self.card).finish_non_exhaustive()
    }
}

/// When the authority of the chain ends: the last one, where it is of several. An error where no peer that trusts `authorities` would
/// believe the chain.
fn authority_until(
    chain: &[CertificateDer<'static>],
    cert: &Path,
    authorities: &[CertificateDer<'static>],
    ca: &Path,
) -> Result<i64, TlsError> {
    verify(chain, ca, authorities)?.map_err(|error| unfit(cert, ca, error))?;
    let mut its = Vec::new();
    for authority in authorities {
        if verify(chain, ca, std::slice::from_ref(authority))?.is_ok() {
            its.push(Card::of(authority).map_err(|why| pem::unusable(ca, why))?);
        }
    }
    let last = its.iter().max_by_key(|card| card.until()).ok_or_else(|| foreign(cert, ca))?;
    // Nobody checks that of an authority in a handshake, but it was made to end then.
    let at = || date(u64::try_from(last.until()).unwrap_or(0));
    if last.is_over() { Err(TlsError::Expired { path: ca.to_owned(), at: at() }) } else { Ok(last.until()) }
}

/// As a peer does who is asked, and as one who asks.
fn verify(
    chain: &[CertificateDer<'static>],
    ca: &Path,
    authorities: &[CertificateDer<'static>],
) -> Result<Result<(), Error>, TlsError> {
    let (roots, now) = (pem::roots(ca, authorities)?, UnixTime::now());
    let asking = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider()).build();
    let asking = asking.map_err(|error| pem::unusable(ca, error))?;
    let algorithms = provider().signature_verification_algorithms.all;
    let asked = ParsedCertificate::try_from(&chain[0])
        .and_then(|parsed| verify_server_cert_signed_by_trust_anchor(&parsed, &roots, &chain[1..], now, algorithms));
    Ok(asked.and_then(|()| asking.verify_client_cert(&chain[0], &chain[1..], now).map(drop)))
}

fn unfit(cert: &Path, ca: &Path, error: Error) -> TlsError {
    let path = cert.to_owned();
    match error {
        Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. }) => {
            TlsError::Expired { path, at: date(not_after.as_secs()) }
        }
        Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. }) => {
            TlsError::Early { path, at: date(not_before.as_secs()) }
        }
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => foreign(cert, ca),
        other => pem::unusable(cert, other),
    }
}

fn foreign(cert: &Path, ca: &Path) -> TlsError {
    TlsError::Foreign { cert: cert.to_owned(), ca: ca.to_owned() }
}
