use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::{Duration, SystemTime};

use tokio_rustls::rustls::pki_types::{CertificateDer, DnsName};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::{TlsError, pem};

/// What a certificate says of who holds it. Nothing is verified here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    names: Vec<String>,
    addresses: Vec<IpAddr>,
    /// Unix seconds.
    until: i64,
}

impl Card {
    /// Of the first certificate in a PEM file.
    pub fn read(path: &Path) -> Result<Self, TlsError> {
        Self::of(&pem::certificates(path)?[0]).map_err(|why| pem::unusable(path, why))
    }

    pub(super) fn of(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        let broken = |why: &dyn fmt::Display| format!("it cannot be understood: {why}");
        let (_, certificate) = X509Certificate::from_der(certificate).map_err(|error| broken(&error))?;
        let subject = certificate.subject_alternative_name().map_err(|error| broken(&error))?;
        let mut card = Self { names: Vec::new(), addresses: Vec::new(), until: certificate.validity().not_after.timestamp() };
        subject.iter().flat_map(|subject| &subject.value.general_names).for_each(|name| card.take(name));
        Ok(card)
    }

    fn take(&mut self, name: &GeneralName<'_>) {
        match name {
            GeneralName::DNSName(name) => self.names.push((*name).to_owned()),
            GeneralName::IPAddress(bytes) => self.addresses.extend(address(bytes)),
            _ => {}
        }
    }

    /// Node ids, and hosts.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// Unix seconds.
    pub fn until(&self) -> i64 {
        self.until
    }

    /// Whether it makes its holder the node of this id.
    pub fn is_for(&self, id: &str) -> bool {
        self.names.iter().any(|name| name == id) && can_be_named(id)
    }

    pub(super) fn is_over(&self) -> bool {
        SystemTime::UNIX_EPOCH.elapsed().is_ok_and(|now| i64::try_from(now.as_secs()).is_ok_and(|now| now > self.until))
    }
}

/// Its names and addresses.
impl fmt::Display for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self.names.iter().cloned().chain(self.addresses.iter().map(IpAddr::to_string)).collect();
        f.write_str(if all.is_empty() { "nobody" } else { "" })?;
        f.write_str(&all.join(", "))
    }
}

/// Whether a certificate can be for the node of this id: others check it as a host's name, so it must be one.
pub fn can_be_named(id: &str) -> bool {
    DnsName::try_from(id).is_ok()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(|four| Ipv4Addr::from(four).into());
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(|sixteen| Ipv6Addr::from(sixteen).into())).ok()
}

/// A day and a time for people.
pub(super) fn date(unix: u64) -> String {
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(unix))
}
