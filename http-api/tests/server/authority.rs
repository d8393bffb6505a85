//! A swarm's authority, for tests: it signs certificates for IP addresses, on files.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tempfile::TempDir;

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    dir: TempDir,
}

/// A certificate and its key.
pub struct Pair {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    pub fn new() -> Self {
        Self::named("a swarm")
    }

    pub fn named(name: &str) -> Self {
        let (dir, key) = (TempDir::new().unwrap(), KeyPair::generate().unwrap());
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        fs::write(dir.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { issuer: Issuer::new(params, key), dir }
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// For a node of this machine.
    pub fn issue(&self) -> Pair {
        self.issue_for(Ipv4Addr::LOCALHOST.into())
    }

    pub fn issue_for(&self, ip: IpAddr) -> Pair {
        self.sign(params(ip))
    }

    /// For a node of this machine, until a day that is past.
    pub fn issue_expired(&self) -> Pair {
        let mut params = params(Ipv4Addr::LOCALHOST.into());
        params.not_after = date_time_ymd(2020, 1, 1);
        self.sign(params)
    }

    fn sign(&self, params: CertificateParams) -> Pair {
        static SERIAL: AtomicUsize = AtomicUsize::new(0);
        let (key, serial) = (KeyPair::generate().unwrap(), SERIAL.fetch_add(1, Ordering::Relaxed));
        let file = |end| self.dir.path().join(format!("{serial}.{end}"));
        let pair = Pair { cert: file("pem"), key: file("key") };
        fs::write(&pair.cert, params.signed_by(&key, &self.issuer).unwrap().pem()).unwrap();
        fs::write(&pair.key, key.serialize_pem()).unwrap();
        pair
    }
}

fn params(ip: IpAddr) -> CertificateParams {
    CertificateParams::new([ip.to_string()]).unwrap()
}
