//! One node in this process, its doors served on loopback.

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::process::Output;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use herring_gateway::{Body, HubDoor, S3Door};
use herring_gossip::{NodeInfo, NodeState, View};
use herring_http_api::client::{PeerClient, PeerConfig};
use herring_origin::{OriginSpec, Origins};
use herring_store::{Store, StoreConfig};
use herring_swarm::{Swarm, SwarmConfig};
use http::{Request, Response, header};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::sync::watch;
use tower::ServiceExt;

pub struct Node {
    pub url: String,
    pub hub: HubDoor,
    pub s3: S3Door,
    asked: Arc<Mutex<Vec<String>>>,
    _home: TempDir,
    _view: watch::Sender<Arc<View>>,
}

impl Node {
    /// Serves until the test's runtime ends. The first origin that is a whole hub is the one behind the hub's door.
    pub async fn start(origins: &[String]) -> Self {
        let home = TempDir::new().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let http = listener.local_addr().unwrap();
        let info = NodeInfo {
            id: "n0".parse().unwrap(),
            http,
            zone: String::new(),
            weight: 100,
            capacity: None,
            state: NodeState::Ready,
            version: String::new(),
        };
        let view = watch::Sender::new(Arc::new(View::fixed(info.id.clone(), vec![info])));
        let dir = home.path().to_owned();
        let store = tokio::task::spawn_blocking(move || Store::open(StoreConfig { dir, capacity: 1 << 30 }).unwrap());
        let specs: Vec<OriginSpec> = origins.iter().map(|origin| origin.parse().unwrap()).collect();
        let whole = specs.iter().find(|spec| spec.is_whole_hub()).map(|spec| spec.name().to_owned());
        // Chunks of which a test's files have several.
        let config = SwarmConfig { replicas: 1, chunk_size: 1 << 20, ..SwarmConfig::default() };
        let peers = PeerClient::new(PeerConfig::patient());
        let swarm = Swarm::new(config, store.await.unwrap(), peers, view.subscribe(), Origins::new(specs).unwrap());
        let (hub, s3) = (HubDoor::new(swarm.clone(), whole), S3Door::new(swarm));
        let asked = Arc::default();
        let doors = Doors { hub: hub.clone(), s3: s3.clone(), asked: Arc::clone(&asked) };
        tokio::spawn(serve(listener, doors));
        Self { url: format!("http://{http}"), hub, s3, asked, _home: home, _view: view }
    }

    /// The requests since the last call: `GET /hf/path`, with its range and the status of its answer.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

async fn serve(listener: TcpListener, doors: Doors) {
    while let Ok((socket, _)) = listener.accept().await {
        let service = TowerToHyperService::new(doors.clone());
        tokio::spawn(async move { Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await });
    }
}

/// What the node's router does: each door sees the path without its own.
#[derive(Clone)]
struct Doors {
    hub: HubDoor,
    s3: S3Door,
    asked: Arc<Mutex<Vec<String>>>,
}

impl<B> tower::Service<Request<B>> for Doors
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let doors = self.clone();
        let whole = request.uri().path_and_query().unwrap().as_str().to_owned();
        let range = request.headers().get(header::RANGE).map_or("", |range| range.to_str().unwrap());
        let line = format!("{} {whole} {range}", request.method());
        let (door, inner) = whole[1..].split_at(whole[1..].find('/').unwrap_or(whole.len() - 1));
        *request.uri_mut() = if inner.is_empty() { "/" } else { inner }.parse().unwrap();
        let hub = door == "hf";
        Box::pin(async move {
            let answer = if hub { doors.hub.oneshot(request).await } else { doors.s3.oneshot(request).await };
            let Ok(answer) = answer;
            doors.asked.lock().unwrap().push(format!("{line} {}", answer.status().as_u16()));
            Ok(answer)
        })
    }
}

/// A way to `to` that breaks the first connection through which this many bytes came back.
pub async fn breaking(to: &str, after: usize) -> String {
    let to: SocketAddr = to.trim_start_matches("http://").parse().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let whole = Arc::new(Mutex::new(true));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(to).await.unwrap();
            tokio::spawn(relay(client, server, after, Arc::clone(&whole)));
        }
    });
    url
}

async fn relay(client: TcpStream, server: TcpStream, after: usize, whole: Arc<Mutex<bool>>) {
    let ((mut asks, mut hears), (mut answers, mut tells)) = (client.into_split(), server.into_split());
    let forth = tokio::spawn(async move { tokio::io::copy(&mut asks, &mut tells).await });
    let (mut buffer, mut given) = (vec![0; 16 << 10], 0);
    while let Ok(length @ 1..) = answers.read(&mut buffer).await {
        given += length;
        if given > after && std::mem::take(&mut *whole.lock().unwrap()) {
            break;
        }
        if hears.write_all(&buffer[..length]).await.is_err() {
            break;
        }
    }
    forth.abort();
}

/// Whether python3 can import this; where `HERRING_REQUIRE` names `need`, it must.
pub async fn have(need: &str, module: &str) -> bool {
    let found = python(&["-c", &format!("import {module}")], &[]).await;
    let there = found.is_some_and(|output| output.status.success());
    let required = std::env::var("HERRING_REQUIRE").unwrap_or_default();
    assert!(there || !required.split(',').any(|one| one == need), "HERRING_REQUIRE names {need}, which is not here");
    if !there {
        eprintln!("skipped: no {module} for python3 on this machine");
    }
    there
}

/// Runs a script beside this file; what it prints.
pub async fn script(name: &str, args: &[&str], environment: &[(&str, &str)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/doors").join(name);
    let args: Vec<&str> = std::iter::once(path.to_str().unwrap()).chain(args.iter().copied()).collect();
    let output = python(&args, environment).await.expect("python3 was there before");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name} {args:?}\n{out}\n{err}");
    out.trim().to_owned()
}

async fn python(args: &[&str], environment: &[(&str, &str)]) -> Option<Output> {
    let mut python = Command::new("python3");
    python.args(args).envs(environment.iter().copied()).kill_on_drop(true).output().await.ok()
}
