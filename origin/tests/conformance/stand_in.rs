//! `hub.py`, running: a hub and its CDN over a directory.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// It ends with this.
pub struct StandIn {
    hub: u16,
    root: TempDir,
    process: Child,
}

/// A request, as the stand-in noted it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `hub` or `cdn`.
    pub side: String,
    pub method: String,
    pub target: String,
    pub status: u16,
    /// Bytes of the body that it gave.
    pub bytes: u64,
    /// As it was asked for: `bytes=0-9`, or `-`.
    pub range: String,
    pub authorized: bool,
}

impl StandIn {
    /// `None`, with a word about it, where there is no python3 to run it; an error where `HERRING_REQUIRE` names that.
    pub fn start(options: &[&str]) -> Option<Self> {
        let root = TempDir::new().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../origin/tests/hub.py");
        let mut command = Command::new("python3");
        command.arg(script).arg(root.path().join("truth")).arg(root.path().join("log")).args(options);
        let Ok(mut process) = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() else {
            let required = std::env::var("HERRING_REQUIRE").unwrap_or_default();
            assert!(!required.split(',').any(|one| one == "python3"), "HERRING_REQUIRE names python3, which is not here");
            eprintln!("skipped: no python3 to run the hub's stand-in with");
            return None;
        };
        let mut ports = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut ports).unwrap();
        let hub = ports.split(' ').next().unwrap().parse().expect("the stand-in tells its ports when it runs");
        Some(Self { hub, root, process })
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.hub)
    }

    /// Where its repositories are: `models/ORG/NAME/REVISION`.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.path().join("truth").join(path)
    }

    /// A file of `models/ORG/NAME/REVISION/…`, which moves that revision to a new commit.
    pub fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// `break?bytes=N&times=K`, `throttle?seconds=S&times=K` or `expire`.
    #[allow(dead_code, reason = "the gateway's tests need none")]
    pub fn fault(&self, fault: &str) {
        let mut socket = TcpStream::connect(("127.0.0.1", self.hub)).unwrap();
        write!(socket, "POST /_test/{fault} HTTP/1.1\r\nHost: hub\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    }

    /// What it was asked from this many requests on, faults not counted.
    pub fn asked_since(&self, first: usize) -> Vec<Request> {
        let log = fs::read_to_string(self.root.path().join("log")).unwrap_or_default();
        log.lines().map(Request::parse).filter(|request| request.method != "POST").skip(first).collect()
    }

    pub fn asked(&self) -> Vec<Request> {
        self.asked_since(0)
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Request {
    fn parse(line: &str) -> Self {
        let fields: Vec<&str> = line.split(' ').collect();
        let [side, method, target, status, bytes, range, authorized] = fields[..] else { panic!("{line:?} is no request") };
        Self {
            side: side.to_owned(),
            method: method.to_owned(),
            target: target.to_owned(),
            status: status.parse().unwrap(),
            bytes: bytes.parse().unwrap(),
            range: range.trim_start_matches("range=").to_owned(),
            authorized: authorized == "auth=yes",
        }
    }
}
