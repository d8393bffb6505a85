use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::entry::{Admitted, Entry};
use super::slots::{Place, Slots};
use super::speech::{Begun, Speech};
use super::underway::UnderWay;
use super::untaken::Untaken;
use super::watched::UNREAD;
use super::{Backends, Limits, observe, router};
use crate::congestion;
use crate::tls::{ServerTls, Shown};

/// After an accept that failed for want of something, such as file descriptors: long enough for some to come free,
/// short enough that nobody waiting in the backlog notices.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Connections that wait in the kernel to be accepted. Whoever finds this full tries again a second later; with the usual 128 a flood of connections did that
/// to every other client. The kernel takes no more than its own limit, `net.core.somaxconn`: 4,096.
const BACKLOG: u32 = 4096;

/// How the server's sockets behave. The defaults are measured; change them only to measure again.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// The largest HTTP/2 frame that is taken, bytes: decides the speed of uploads, as the client's own decides that of
    /// downloads. 1 MiB: from the protocol's 16 KiB it takes eight streams from 2.0 to 6.8 GB/s; 4 MiB is no better.
    pub max_frame_size: u32,
    /// Bytes a stream may send ahead. 2 MiB: more gains nothing, and a small request beside bulk ones waits longer
    /// (2.4 ms at 2 MiB, 4.9 ms at 16 MiB).
    pub stream_window: u32,
    /// Bytes a connection may send ahead. 32 MiB: room for 16 streams at full window.
    pub connection_window: u32,
    /// Requests at once on one connection. Bounds what one client can hold: 256 is far above the 8–12 that fill a link.
    pub max_streams: u32,
    /// Bytes of a request's head.
    pub max_header_bytes: u32,
    /// How long a request's head may take, and how long a connection may be idle before its first request, or over
    /// HTTP/1 between two.
    pub header_timeout: Duration,
    /// An HTTP/2 peer that is silent for so long is asked whether it lives …
    pub keep_alive_interval: Duration,
    /// … and cut off after so long without an answer.
    pub keep_alive_timeout: Duration,
    /// A connection whose client takes no byte for so long while some are ready is cut off by the kernel.
    pub unread: Duration,
    /// Connections at once of those who showed no certificate, and as many again of nodes. When they are all there, the next one takes the
    /// place of the one that did nothing for longest; where each has a request under way it waits, and further ones in the kernel's backlog.
    /// Each is one file descriptor: twice 4,096 leaves most of a hard limit of 20,000 to the store.
    pub max_connections: usize,
    /// Requests at once of all connections.
    pub limits: Limits,
    /// How long requests in flight may go on after the shutdown began.
    pub drain: Duration,
    /// TLS 1.3 instead of clear text. Who asks in clear nevertheless is told so.
    pub tls: Option<ServerTls>,
    /// The congestion control that is sent under, such as `reno`; one that the kernel refuses is told and left. `None`: the kernel's default.
    pub congestion: Option<String>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            max_frame_size: 1 << 20,
            stream_window: 2 << 20,
            connection_window: 32 << 20,
            max_streams: 256,
            max_header_bytes: 64 << 10,
            header_timeout: Duration::from_secs(30),
            keep_alive_interval: Duration::from_secs(15),
            keep_alive_timeout: Duration::from_secs(10),
            unread: UNREAD,
            max_connections: 4096,
            limits: Limits::default(),
            drain: Duration::from_secs(5),
            tls: None,
            congestion: None,
        }
    }
}

/// Why the server could not take its address.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("cannot listen on {0}: something else already does; stop it, or choose another address with --listen")]
    InUse(SocketAddr),
    #[error("cannot listen on {0}: this user may not take that port; choose one above 1023 with --listen")]
    Denied(SocketAddr),
    #[error("cannot listen on {0}: this machine has no such address; choose one that it has with --listen")]
    NoSuchAddress(SocketAddr),
    #[error("cannot listen on {addr}: {source}; choose another address with --listen")]
    Other { addr: SocketAddr, source: io::Error },
}

impl BindError {
    fn new(addr: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse(addr),
            io::ErrorKind::PermissionDenied => Self::Denied(addr),
            io::ErrorKind::AddrNotAvailable => Self::NoSuchAddress(addr),
            _ => Self::Other { addr, source },
        }
    }
}

/// A port that is taken. Connections wait in its backlog until [`serve`](Self::serve).
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    addr: SocketAddr,
    config: ServerConfig,
}

impl Server {
    pub async fn bind(addr: SocketAddr, config: ServerConfig) -> Result<Self, BindError> {
        let listener = listen(addr).map_err(|error| BindError::new(addr, error))?;
        let addr = listener.local_addr().map_err(|error| BindError::new(addr, error))?;
        // Every connection has it from its listener.
        congestion::choose(&listener, config.congestion.as_deref());
        Ok(Self { listener, addr, config })
    }

    /// Where it listens; the port is the kernel's choice if 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// The congestion control that answers are sent under; empty where the kernel does not tell.
    pub fn congestion(&self) -> String {
        sockopt::tcp_congestion(&self.listener).unwrap_or_default()
    }

    /// Serves until `shutdown`. Then takes no more connections, lets requests in flight end within
    /// [`ServerConfig::drain`], and closes what is left.
    pub async fn serve(self, backends: Backends, shutdown: CancellationToken) {
        observe::congestion(&self.congestion());
        let (all, tls) = (router(backends, self.config.limits, shutdown.clone()), self.config.tls.clone());
        let entry = Entry::new(all, tls, self.config.header_timeout, shutdown.clone());
        let connections = Connections::new(&self.config, entry, shutdown.clone());
        // `run_until_cancelled` drops the listener's wait, never a connection: those are tasks.
        shutdown.run_until_cancelled(connections.accept_from(&self.listener)).await;
        drop(self.listener);
        connections.drain(self.config.drain).await;
    }
}

/// All connections of a server.
struct Connections {
    each: Arc<Each>,
    slots: Arc<Slots>,
    tasks: TaskTracker,
    /// Ends what outlived the drain.
    cut: CancellationToken,
}

/// What every connection is served by.
struct Each {
    speech: Speech,
    entry: Entry,
    unread: Duration,
    closing: CancellationToken,
}

impl Connections {
    fn new(config: &ServerConfig, entry: Entry, closing: CancellationToken) -> Self {
        Self {
            each: Arc::new(Each { speech: Speech::new(config), entry, unread: config.unread, closing }),
            slots: Arc::new(Slots::new(config.max_connections)),
            tasks: TaskTracker::new(),
            cut: CancellationToken::new(),
        }
    }

    async fn accept_from(&self, listener: &TcpListener) -> Infallible {
        loop {
            let (stream, from) = accept(listener).await;
            let place = self.slots.enter(&self.cut).await;
            self.start(stream, from, place);
        }
    }

    fn start(&self, stream: TcpStream, from: SocketAddr, place: Place) {
        prepare(&stream, self.each.unread);
        let (each, slots) = (Arc::clone(&self.each), Arc::clone(&self.slots));
        self.tasks.spawn(async move {
            place.cut().run_until_cancelled(connection(&each, (stream, from), &slots, &place)).await;
            drop(place);
        });
    }

    async fn drain(self, limit: Duration) {
        self.tasks.close();
        // Each was told to leave by the shutdown.
        if tokio::time::timeout(limit, self.tasks.wait()).await.is_err() {
            tracing::info!(
                connections = self.tasks.len(),
                "closing connections that are still busy {limit:?} after the shutdown began"
            );
        }
        self.cut.cancel();
        self.tasks.wait().await;
    }
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // As the standard library does: a node that restarts takes its port again.
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// The next connection. An accept that fails leaves the listener as it was, so none is a reason to stop.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            // The client was gone before it was accepted.
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection, trying again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Sets what would only make the connection worse if it could not be set, as where the client has gone already.
fn prepare(stream: &TcpStream, unread: Duration) {
    // Replies are written whole; waiting for a fuller packet costs 40 ms against a client that delays its ACKs.
    let _ = stream.set_nodelay(true);
    congestion::keep_short(stream);
    // Counts a window that stays closed as well, though its owner answers every probe.
    let _ = sockopt::set_tcp_user_timeout(stream, u32::try_from(unread.as_millis()).unwrap_or(u32::MAX));
}

/// One connection, to its end. It ends as well where its client takes nothing of an answer for `unread`.
async fn connection(each: &Each, (stream, from): (TcpStream, SocketAddr), slots: &Slots, place: &Place) {
    let Some(Admitted { socket, router, came }) = each.entry.admit(stream, from).await else { return };
    if matches!(came.shown, Some(Shown::Certificate(_))) {
        slots.know_as_node(place).await;
    }
    let (asked, leave) = (Arc::new(AtomicBool::new(false)), came.leave.clone());
    let untaken = Arc::new(Untaken::default());
    let (mark, watching, doings) = (Arc::clone(&asked), Arc::clone(&untaken), place.doings());
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(came.clone());
        mark.store(true, Ordering::Relaxed);
        let (mut asking, answer, watching) = (doings.ask(), router.clone().oneshot(request), Arc::clone(&watching));
        async move {
            let answer = answer.await?;
            asking.answered();
            Ok(answer.map(|body| Body::new(UnderWay::holding(watching.watch(body), asking))))
        }
    });
    let doings = place.doings();
    let mut serving = std::pin::pin!(async move {
        // Nothing was asked yet, so a shutdown need not wait.
        match each.closing.run_until_cancelled(Begun::begin(socket, doings)).await {
            Some(Ok(socket)) => each.speech.clone().serve(socket, service, leave).await,
            Some(Err(_)) | None => Ok(()),
        }
    });
    let served = async {
        match tokio::time::timeout(each.entry.patience(), &mut serving).await {
            Ok(ended) => ended,
            // hyper limits the heads of HTTP/1, but neither what comes before the first frame of HTTP/2 nor how long that may be away.
            Err(_) if !asked.load(Ordering::Relaxed) => Ok(()),
            Err(_) => serving.await,
        }
    };
    tokio::select! {
        ended = served => ended.unwrap_or_else(|error| tracing::debug!(%error, "a connection broke")),
        () = untaken.until_stuck(each.unread) => tracing::info!("a client took nothing of an answer for {:?}: its connection is closed", each.unread),
    }
}
