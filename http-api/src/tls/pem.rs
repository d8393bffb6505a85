use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::pki_types::pem::{Error, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, RootCertStore};

use super::TlsError;

/// A certificate with those that lead from it to the authority, and its key; and where they are from, for errors.
pub(super) struct Pair<'a> {
    pub chain: Vec<CertificateDer<'static>>,
    pub private: PrivateKeyDer<'static>,
    pub cert: &'a Path,
    pub key: &'a Path,
}

impl<'a> Pair<'a> {
    pub(super) fn read(cert: &'a Path, key: &'a Path) -> Result<Self, TlsError> {
        let private = PrivateKeyDer::from_pem_file(key).map_err(|error| unread(key, error, "private key", "PRIVATE KEY"))?;
        Ok(Self { chain: certificates(cert)?, private, cert, key })
    }
}

/// The authorities of the file `ca`, each of which is trusted.
pub(super) fn roots(ca: &Path, authorities: &[CertificateDer<'static>]) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in authorities {
        roots.add(certificate.clone()).map_err(|error| unusable(ca, error))?;
    }
    Ok(Arc::new(roots))
}

/// At least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unread = |error| unread(path, error, "certificate", "CERTIFICATE");
    let all: Vec<_> = CertificateDer::pem_file_iter(path).map_err(unread)?.collect::<Result<_, _>>().map_err(unread)?;
    if all.is_empty() { Err(unread(Error::NoItemsFound)) } else { Ok(all) }
}

fn unread(path: &Path, error: Error, what: &'static str, label: &'static str) -> TlsError {
    let path = path.to_owned();
    match error {
        Error::Io(source) => TlsError::Read { path, source },
        Error::NoItemsFound => TlsError::Missing { path, what, label },
        other => TlsError::Broken { path, detail: other.to_string() },
    }
}

/// What rustls says of a pair of files.
pub(super) fn refused(cert: &Path, key: &Path, error: rustls::Error) -> TlsError {
    match error {
        rustls::Error::InconsistentKeys(_) => TlsError::Mismatch { cert: cert.to_owned(), key: key.to_owned() },
        other => unusable(cert, other),
    }
}

pub(super) fn unusable(path: &Path, error: impl ToString) -> TlsError {
    TlsError::Unusable { path: path.to_owned(), detail: error.to_string() }
}
