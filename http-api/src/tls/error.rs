use std::error::Error as _;
use std::io;
use std::path::PathBuf;

use tokio_rustls::rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

/// Why a certificate, a key or an authority cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{path} cannot be read: {source}; name a PEM file that this user may read")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is no PEM file: {detail}")]
    Broken { path: PathBuf, detail: String },
    #[error("{path} holds no {what}: name a PEM file with a line BEGIN {label}")]
    Missing { path: PathBuf, what: &'static str, label: &'static str },
    #[error("the certificate in {cert} is not of the key in {key}: name the two that were made together")]
    Mismatch { cert: PathBuf, key: PathBuf },
    #[error(
        "the certificate in {cert} is not of the authority in {ca}: name the one that made it, or have it made anew with herring certs issue --renew"
    )]
    Foreign { cert: PathBuf, ca: PathBuf },
    #[error("the certificate in {path} expired on {at}: have it made anew with herring certs issue --renew")]
    Expired { path: PathBuf, at: String },
    #[error("the certificate in {path} is good from {at} on only: is this machine's clock right?")]
    Early { path: PathBuf, at: String },
    #[error("{path} cannot be used for TLS: {detail}")]
    Unusable { path: PathBuf, detail: String },
}

/// What a connection failed for, as a sentence's end for people: "cannot be reached: …".
pub(crate) fn told(error: &io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::InvalidCertificate(CertificateError::NotValidForNameContext { expected, presented })) => {
            format!("its certificate is for {}, not for {}", named(presented), expected.to_str())
        }
        Some(inner) => cause(inner).map_or_else(|| inner.to_string(), |cause| format!("{cause} ({inner})")),
        None => error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}")),
    }
}

/// rustls writes them `DnsName("n1")`.
fn named(presented: &[String]) -> String {
    let bare = |name: &String| {
        let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
        inner.trim_matches('"').to_owned()
    };
    if presented.is_empty() { "nobody".to_owned() } else { presented.iter().map(bare).collect::<Vec<_>>().join(", ") }
}

fn cause(error: &Error) -> Option<&'static str> {
    Some(match error {
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => "it does not speak TLS there",
        // A bad signature: of an authority of the same name that was made anew.
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            "its certificate is not of the authority that is trusted here"
        }
        Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "its certificate has expired"
        }
        Error::InvalidCertificate(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) => {
            "its certificate is not good yet, or this machine's clock is wrong"
        }
        Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::DecryptError
            | AlertDescription::UnsupportedCertificate,
        ) => "it refused the certificate of this side",
        Error::AlertReceived(AlertDescription::ProtocolVersion) => "it does not speak TLS 1.3",
        _ => return None,
    })
}
