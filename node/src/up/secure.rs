use std::path::{Path, PathBuf};

use herring_http_api::client::PeerConfig;
use herring_http_api::tls::{ClientTls, Identity};
use serde::{Deserialize, Serialize};

use crate::certs::{self, IssueArgs};
use crate::error::Failure;
use crate::tls::ends_soon;
use crate::token;

/// Beside the nodes' directories.
const DIR: &str = "certs";
/// What the token of who started it is called.
const ADMIN: &str = "admin";
const AUTHORITY_DAYS: u16 = 3650;
const CERTIFICATE_DAYS: u16 = 365;

/// The secrets of a swarm on this machine: its authority, a certificate for each node, the key of its gossip, and a token for who started it. Made once,
/// and kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secrets(PathBuf);

impl Secrets {
    /// Makes what is not there in the directory of a `herring up`, and renews what ends soon.
    pub fn prepare(up: &Path, ids: impl IntoIterator<Item = String>) -> Result<Self, Failure> {
        let secrets = Self(up.join(DIR));
        // The last that is made.
        if !secrets.cluster_key().exists() {
            certs::init(&secrets.0, AUTHORITY_DAYS)?;
        }
        ids.into_iter().try_for_each(|id| secrets.provide(&id))?;
        token::provide(ADMIN, &secrets.tokens(), &secrets.token())?;
        Ok(secrets)
    }

    /// Makes a certificate for the node `id`, unless there is one that lasts.
    pub fn provide(&self, id: &str) -> Result<(), Failure> {
        if self.lasts(id) { Ok(()) } else { self.issue(id) }
    }

    /// Words of the command line of the node `id`.
    pub fn flags(&self, id: &str) -> [(&'static str, PathBuf); 5] {
        let (cert, key) = (self.file(id, "pem"), self.file(id, "key"));
        [
            ("--tls-cert", cert),
            ("--tls-key", key),
            ("--tls-ca", self.ca()),
            ("--cluster-key", self.cluster_key()),
            ("--tokens", self.tokens()),
        ]
    }

    /// Variables with which all commands talk to the node at `url`.
    pub fn environment(&self, url: &str) -> Vec<(&'static str, String)> {
        let files = [("HERRING_CA", self.ca()), ("HERRING_TOKEN_FILE", self.token())];
        let files = files.map(|(name, path)| (name, path.display().to_string()));
        [("HERRING_NODE", url.to_owned())].into_iter().chain(files).collect()
    }

    /// How our own client speaks to the nodes.
    pub fn speech(&self) -> Result<PeerConfig, Failure> {
        let tls = Some(ClientTls::load(&self.ca(), None).map_err(Failure::failed)?);
        let token = token::shown(Some(&self.token()))?;
        Ok(PeerConfig { tls, token, ..PeerConfig::patient() })
    }

    pub fn ca(&self) -> PathBuf {
        self.0.join("ca.pem")
    }

    /// Holds the token itself.
    pub fn token(&self) -> PathBuf {
        self.0.join("admin.token")
    }

    fn tokens(&self) -> PathBuf {
        self.0.join("tokens.toml")
    }

    fn cluster_key(&self) -> PathBuf {
        self.0.join("cluster.key")
    }

    fn file(&self, id: &str, end: &str) -> PathBuf {
        self.0.join(format!("{id}.{end}"))
    }

    fn lasts(&self, id: &str) -> bool {
        let identity = Identity::read(&self.file(id, "pem"), &self.file(id, "key"), &self.ca());
        identity.is_ok_and(|identity| identity.card().is_for(id) && !ends_soon(identity.card().until()))
    }

    fn issue(&self, id: &str) -> Result<(), Failure> {
        let address = ["127.0.0.1", "localhost"].map(str::to_owned).into();
        let id = id.parse().map_err(Failure::failed)?;
        let (dir, out, days) = (self.0.clone(), None, CERTIFICATE_DAYS);
        certs::issue(&IssueArgs { id, address, dir, out, days, renew: true }).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepare(dir: &Path) -> Secrets {
        Secrets::prepare(dir, ["n1", "n2"].map(str::to_owned)).unwrap()
    }

    #[test]
    fn what_is_there_is_kept_and_what_ends_is_renewed() {
        let dir = tempfile::tempdir().unwrap();
        let secrets = prepare(dir.path());
        let read = |name: &str| std::fs::read(dir.path().join("certs").join(name)).unwrap();
        let all = ["ca.pem", "ca.key", "cluster.key", "tokens.toml", "admin.token", "n1.pem", "n1.key", "n2.pem"];
        let before = all.map(read);
        prepare(dir.path());
        assert_eq!(all.map(read), before);
        let ending = IssueArgs {
            id: "n2".parse().unwrap(),
            address: vec![],
            dir: dir.path().join("certs"),
            out: None,
            days: 3,
            renew: true,
        };
        certs::issue(&ending).unwrap();
        assert!(!secrets.lasts("n2"));
        prepare(dir.path());
        assert!(secrets.lasts("n1") && secrets.lasts("n2"));
        assert_eq!(all[..7].iter().map(|name| read(name)).collect::<Vec<_>>(), before[..7]);
    }
}
