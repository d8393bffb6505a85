//! Other people's servers, which note what they are asked.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::swarm::{free_port, have, noise, request, wait_until};

/// A program that answers HTTP, until it is killed or dropped.
pub struct Server {
    program: Child,
    pub address: SocketAddr,
    dir: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Serves a bucket `models` with 2,500 small objects below `many/`.
const MOTO: &str = "
import sys
from moto.backends import get_backend
from moto.core import DEFAULT_ACCOUNT_ID
from moto.server import main
bucket = get_backend('s3')[DEFAULT_ACCOUNT_ID]['aws']
bucket.create_bucket('models', 'us-east-1')
for n in range(2500):
    bucket.put_object('models', f'many/{n:04}', b'x' * (n % 7))
main(['-H', '127.0.0.1', '-p', sys.argv[1]])
";

impl Server {
    /// Returns when it takes connections. What it says is in `log` of its directory.
    fn start(mut command: Command, address: SocketAddr, dir: TempDir) -> Self {
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let program = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let mut server = Self { program, address, dir };
        wait_until("a server to take connections", || {
            assert_eq!(server.program.try_wait().unwrap(), None, "{command:?} ended");
            TcpStream::connect(address).is_ok()
        });
        server
    }

    /// nginx over `root` with an index in JSON, and these directives. `None` where there is no nginx.
    pub fn nginx(root: &Path, directives: &str) -> Option<Self> {
        if !have("nginx", runs(Command::new("nginx").arg("-v"))) {
            return None;
        }
        let (dir, address) = (TempDir::new().unwrap(), free_port());
        let (here, root) = (dir.path().display(), root.display());
        let config = format!(
            "daemon off; master_process off; pid {here}/pid; error_log {here}/errors; events {{}}
             http {{ log_format what '$request_method $status $body_bytes_sent $uri $http_range'; access_log {here}/access what;
             client_body_temp_path {here}/b; proxy_temp_path {here}/p; fastcgi_temp_path {here}/f; uwsgi_temp_path {here}/u; scgi_temp_path {here}/s;
             server {{ listen {address}; root {root}; autoindex on; autoindex_format json; {directives} }} }}",
        );
        let file = dir.path().join("nginx.conf");
        fs::write(&file, config).unwrap();
        let mut command = Command::new("nginx");
        command.arg("-p").arg(dir.path()).arg("-e").arg(dir.path().join("errors")).arg("-c").arg(file);
        Some(Self::start(command, address, dir))
    }

    /// moto's S3. `None` where there is no moto.
    pub fn moto() -> Option<Self> {
        if !have("moto", runs(Command::new("python3").args(["-c", "import moto.server, flask"]))) {
            return None;
        }
        let address = free_port();
        let mut command = Command::new("python3");
        command.args(["-c", MOTO, &address.port().to_string()]);
        Some(Self::start(command, address, TempDir::new().unwrap()))
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `kill -9`, and reaped.
    pub fn kill(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }

    /// What nginx noted of all that it has answered. It notes an answer behind its last byte, and does one thing after the other: with this question,
    /// all before it are noted.
    fn access(&self) -> String {
        const NOTED: &str = "HEAD 404 0 /noted";
        let read = || fs::read_to_string(self.dir.path().join("access")).unwrap();
        let count = |log: &str| log.lines().filter(|line| line.starts_with(NOTED)).count();
        let before = count(&read());
        request(self.address, "HEAD /noted HTTP/1.1", b"");
        wait_until("nginx to note what it answered", || count(&read()) > before);
        read()
    }

    /// How many questions by this method nginx noted, for paths that begin so.
    pub fn asked(&self, method: &str, path: &str) -> usize {
        let log = self.access();
        let is = |line: &&str| {
            let words: Vec<_> = line.split(' ').collect();
            words[0] == method && words.get(3).is_some_and(|uri| uri.starts_with(path))
        };
        log.lines().filter(is).count()
    }

    /// Bytes that nginx noted as sent in answers to GETs of this path, and how many those were.
    pub fn sent(&self, path: &str) -> (u64, usize) {
        let log = self.access();
        let fields = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let gets: Vec<Vec<String>> = log.lines().map(fields).filter(|line| line[0] == "GET" && line[3] == path).collect();
        (gets.iter().map(|line| line[2].parse::<u64>().unwrap()).sum(), gets.len())
    }

    /// How many requests moto noted that have this in them.
    pub fn noted(&self, what: &str) -> usize {
        let log = fs::read_to_string(self.dir.path().join("log")).unwrap();
        log.lines().filter(|line| line.contains(what)).count()
    }

    /// Writes an object of moto's, this many bytes of noise, which are given.
    pub fn write(&self, key: &str, len: usize, seed: u64) -> Vec<u8> {
        let bytes = noise(len, seed);
        // A signature that is not looked at, but without any a writer would be nobody.
        let head = format!(
            "PUT /models/{key} HTTP/1.1\r\nx-amz-acl: public-read\r\nAuthorization: AWS4-HMAC-SHA256 \
             Credential=a/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
        );
        let (status, answer) = request(self.address, &head, &bytes);
        assert_eq!(status, 200, "{answer}");
        bytes
    }
}

pub fn runs(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}
