use std::net::TcpListener as Port;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;
use std::{fs, iter};

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use reqwest::Client;
use s3s::service::{S3Service, S3ServiceBuilder};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use url::Url;

/// A real S3 server in this process. It ends with the test's runtime.
pub async fn serve(service: S3Service) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let service = service.clone();
            tokio::spawn(async move { Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await });
        }
    });
    endpoint
}

/// Shows `root`, where every directory is a bucket.
pub fn bucket_server(root: &Path) -> S3ServiceBuilder {
    S3ServiceBuilder::new(s3s_fs::FileSystem::new(root).unwrap())
}

/// Another program that answers HTTP, until it is dropped.
pub struct Server {
    program: Child,
    pub url: String,
    _dir: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

impl Server {
    /// Returns when it takes connections.
    async fn start(mut command: Command, port: u16, dir: TempDir) -> Self {
        let program = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut server = Self { program, url: format!("http://127.0.0.1:{port}"), _dir: dir };
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            assert_eq!(server.program.try_wait().unwrap(), None, "{command:?} ended");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        server
    }

    /// nginx over `root`, with these directives. `None` where there is no nginx.
    pub async fn nginx(root: &Path, directives: &str) -> Option<Self> {
        if !available("nginx", Command::new("nginx").arg("-v")) {
            return None;
        }
        let (dir, port) = (TempDir::new().unwrap(), free_port());
        let here = dir.path().display();
        let temporary =
            ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|kind| format!("{kind}_temp_path {here}/{kind};"));
        let config = format!(
            "daemon off; master_process off; pid {here}/pid; error_log {here}/errors; events {{}}
             http {{ access_log {here}/access; {}
             server {{ listen 127.0.0.1:{port}; root {}; {directives} }} }}",
            temporary.join(" "),
            root.display(),
        );
        fs::write(dir.path().join("nginx.conf"), config).unwrap();
        let mut command = Command::new("nginx");
        command.arg("-p").arg(dir.path()).arg("-e").arg(dir.path().join("errors")).arg("-c").arg(dir.path().join("nginx.conf"));
        Some(Self::start(command, port, dir).await)
    }

    /// moto's S3, with the empty bucket `models`. `None` where there is no moto.
    pub async fn moto() -> Option<Self> {
        if !available("moto", Command::new("python3").args(["-c", "import moto.server, flask"])) {
            return None;
        }
        let (dir, port) = (TempDir::new().unwrap(), free_port());
        let mut command = Command::new("python3");
        command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()]);
        let server = Self::start(command, port, dir).await;
        let created = Client::new().put(format!("{}/models", server.url)).send().await.unwrap();
        created.error_for_status().unwrap();
        Some(server)
    }

    /// Azurite, with the empty container `models`, and the URL by which it is written to. `None` where there is no Azurite.
    pub async fn azurite() -> Option<(Self, Url)> {
        if !available("azurite", Command::new("azurite-blob").arg("--version")) {
            return None;
        }
        let (dir, port) = (TempDir::new().unwrap(), free_port());
        let mut command = Command::new("azurite-blob");
        command.args([
            "--silent",
            "--inMemoryPersistence",
            "--disableTelemetry",
            "--skipApiVersionCheck",
            "--blobHost",
            "127.0.0.1",
        ]);
        command.args(["--blobPort", &port.to_string()]).current_dir(dir.path());
        let server = Self::start(command, port, dir).await;
        let container: Url = format!("{}/devstoreaccount1/models?{EMULATORS_SIGNATURE}", server.url).parse().unwrap();
        let created = Client::new().put(format!("{container}&restype=container")).send().await.unwrap();
        created.error_for_status().unwrap();
        Some((server, container))
    }
}

/// Of the key that all emulators have: reads and writes until the year 2099.
const EMULATORS_SIGNATURE: &str =
    "se=2099-01-01T00%3A00%3A00Z&sp=rwdlc&sv=2026-10-06&ss=b&srt=sco&sig=7sVbVSR1WZEUo/FmnT%2BzAHfrmvtZlJBuW21kYQW45VU%3D";

/// A port that nobody has just now, below those that the kernel hands out by itself to whoever asks until the server has it.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 200 * 10).unwrap();
    let ports = || 10_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 2000;
    iter::repeat_with(ports).find(|port| Port::bind(("127.0.0.1", *port)).is_ok()).expect("it goes on for ever")
}

/// Whether this machine has what a test needs. Where `HERRING_REQUIRE` names it, it must.
fn available(need: &str, probe: &mut Command) -> bool {
    let there = probe.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    let required = std::env::var("HERRING_REQUIRE").unwrap_or_default();
    assert!(there || !required.split(',').any(|one| one == need), "HERRING_REQUIRE names {need}, which is not here");
    if !there {
        eprintln!("skipped: this machine has no {need}");
    }
    there
}
