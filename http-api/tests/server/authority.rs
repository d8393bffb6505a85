//! A swarm's authority, for tests: it signs certificates for nodes, on files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
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

    /// For the node `id`, at this machine's loopback address.
    pub fn issue(&self, id: &str) -> Pair {
        self.sign(params(&[id, "127.0.0.1"]))
    }

    /// For these names and addresses alone.
    pub fn issue_for(&self, names: &[&str]) -> Pair {
        self.sign(params(names))
    }

    /// As [`issue`](Self::issue), until a day that is past.
    pub fn issue_expired(&self, id: &str) -> Pair {
        self.issue_until(id, 2020)
    }

    /// As [`issue`](Self::issue), until that year begins.
    pub fn issue_until(&self, id: &str, year: i32) -> Pair {
        let mut params = params(&[id, "127.0.0.1"]);
        params.not_after = date_time_ymd(year, 1, 1);
        self.sign(params)
    }

    /// As [`issue`](Self::issue), from a day on that is to come.
    pub fn issue_early(&self, id: &str) -> Pair {
        let mut params = params(&[id, "127.0.0.1"]);
        params.not_before = date_time_ymd(4000, 1, 1);
        self.sign(params)
    }

    /// A file of this authority and another.
    pub fn ca_with(&self, other: &Self) -> PathBuf {
        let both = self.dir.path().join("both.pem");
        fs::write(&both, [fs::read(self.ca()).unwrap(), fs::read(other.ca()).unwrap()].concat()).unwrap();
        both
    }

    fn sign(&self, params: CertificateParams) -> Pair {
        static SERIAL: AtomicUsize = AtomicUsize::new(0);
        let (key, serial) = (KeyPair::generate().unwrap(), SERIAL.fetch_add(1, Ordering::Relaxed));
        let file = |end| self.dir.path().join(format!("{serial}.{end}"));
        let pair = Pair { cert: file("pem"), key: file("key") };
        fs::write(&pair.cert, params.signed_by(&key, &self.issuer).unwrap().pem()).unwrap();
        fs::write(&pair.key, key.serialize_pem()).unwrap();
        fs::set_permissions(&pair.key, fs::Permissions::from_mode(0o600)).unwrap();
        pair
    }
}

fn params(names: &[&str]) -> CertificateParams {
    CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap()
}
