use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use herring_http_api::tls::ClientTls;
use tempfile::TempDir;

use super::TransportError;
use super::tool::{exists, failed};

/// Of a certificate that is thrown away at the end.
const DAYS: &str = "2";

/// Who asks nodes as a peer.
pub const ASKER: &str = "loadtest";

/// A certificate for this machine's loopback address and the nodes there, its key, and an authority, which it is itself. All who are measured show it.
pub struct Seal {
    pub cert: PathBuf,
    pub key: PathBuf,
    pub tls: ClientTls,
    _dir: TempDir,
}

impl Seal {
    /// `None` where there is no openssl.
    pub fn make() -> Result<Option<Self>, TransportError> {
        if !exists("openssl") {
            return Ok(None);
        }
        let dir = tempfile::Builder::new().prefix("loadtest-tls-").tempdir().map_err(failed("a directory for keys"))?;
        let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        make(&cert, &key)?;
        let wrong = |error| TransportError::Answer { what: "openssl".to_owned(), detail: format!("{error}") };
        let tls = ClientTls::load(&cert, Some((&cert, &key))).map_err(wrong)?;
        Ok(Some(Self { cert, key, tls, _dir: dir }))
    }

    /// What a node is told.
    pub fn settings(&self) -> Vec<String> {
        let (cert, key) = (self.cert.display().to_string(), self.key.display().to_string());
        [["--tls-cert", &cert], ["--tls-key", &key], ["--tls-ca", &cert]].concat().into_iter().map(str::to_owned).collect()
    }
}

fn make(cert: &Path, key: &Path) -> Result<(), TransportError> {
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", DAYS]);
    command.args(["-subj", "/CN=loadtest", "-addext", &format!("subjectAltName=IP:127.0.0.1,DNS:n1,DNS:n2,DNS:{ASKER}")]);
    command.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    command.arg("-keyout").arg(key).arg("-out").arg(cert).stdin(Stdio::null());
    let output = command.output().map_err(failed("openssl"))?;
    let said = || String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(TransportError::Answer { what: "openssl".to_owned(), detail: said() }) }
}
