use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::either::Either;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::PeerConfig;
use super::alive::{Alive, UnderWay};
use super::error::reasons;
use crate::congestion;
use crate::tls::{self, ClientTls, Connected};

/// When hyper itself gives a connection up, however much it brings.
const PONG: Duration = Duration::from_secs(60);

/// Any request's body.
pub(super) type SentBody = UnsyncBoxBody<Bytes, io::Error>;

/// One open HTTP/2 connection. Dropping it closes the socket and ends the tasks that drive it.
pub(super) struct Link {
    send: SendRequest<SentBody>,
    alive: Arc<Alive>,
    /// What was shown and trusted when it was opened.
    tls: Option<(ClientTls, u64)>,
    _tasks: DropGuard,
}

impl Link {
    /// Opens a connection to `target` (`host:port`), where the node of the id `whom` must be, if it is known. It is open once the peer's *program* has answered: the kernel
    /// accepts connections for a stopped process too, and each request would find that out anew.
    pub(super) async fn open(target: &str, whom: Option<&str>, config: &PeerConfig) -> Result<Self, String> {
        let tls = config.tls.as_ref().map(|tls| (tls.clone(), tls.generation()));
        let (socket, alive, hello) = Metered::new(connect(target, whom, config).await?);
        let tasks = CancellationToken::new();
        let guard = tasks.clone().drop_guard();
        let executor = Tasks(tasks.clone());
        let handshake = builder(&executor, config).handshake(TokioIo::new(socket));
        let (send, driver) = handshake.await.map_err(|error| reasons(&error))?;
        executor.execute(async { driver.await.unwrap_or_else(|error| tracing::debug!(%error, "connection ended")) });
        let (watched, limit) = (Arc::clone(&alive), config.ping_interval + config.ping_timeout);
        executor.execute(async move {
            watched.until_silent(limit).await;
            tracing::debug!("a connection brought nothing for {} ms: it is closed", limit.as_millis());
            tasks.cancel();
        });
        match timeout(config.ping_timeout, hello).await {
            Ok(Ok(Ok(()))) => Ok(Self { send, alive, tls, _tasks: guard }),
            Ok(Ok(Err(reason))) => Err(reason),
            Ok(Err(_)) => Err("it hung up without a word".to_owned()),
            Err(_) => Err(silent(config.ping_timeout)),
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.send.is_closed()
    }

    /// Whether something else is shown or trusted by now.
    pub(super) fn is_outdated(&self) -> bool {
        self.tls.as_ref().is_some_and(|(tls, generation)| tls.generation() != *generation)
    }

    /// Bytes that this connection brought so far.
    pub(super) fn received(&self) -> u64 {
        self.alive.received()
    }

    /// A request is under way until what this returns is dropped.
    pub(super) fn begin(&self) -> UnderWay {
        self.alive.begin()
    }

    /// Sends a request and waits for the head of its answer. A request that never left comes back with the error.
    pub(super) async fn send(
        &self,
        request: Request<SentBody>,
    ) -> Result<Response<Incoming>, Box<TrySendError<Request<SentBody>>>> {
        self.send.clone().try_send_request(request).await.map_err(Box::new)
    }
}

fn silent(limit: Duration) -> String {
    format!("it accepts, but says nothing for {} ms", limit.as_millis())
}

async fn connect(target: &str, whom: Option<&str>, config: &PeerConfig) -> Result<Socket, String> {
    let socket = dial(target, config.connect_timeout).await?;
    congestion::choose(&socket, config.congestion.as_deref());
    congestion::keep_short(&socket);
    match &config.tls {
        Some(tls) => secure(tls.connect(target, whom, socket), config.ping_timeout).await.map(Either::Right),
        None => Ok(Either::Left(socket)),
    }
}

async fn secure(handshake: impl Future<Output = io::Result<Connected>>, limit: Duration) -> Result<Connected, String> {
    match timeout(limit, handshake).await {
        Ok(connected) => connected.map_err(|error| tls::told(&error)),
        Err(_) => Err(silent(limit)),
    }
}

async fn dial(target: &str, limit: Duration) -> Result<TcpStream, String> {
    let socket = match timeout(limit, TcpStream::connect(target)).await {
        Ok(connected) => connected.map_err(|error| error.to_string())?,
        Err(_) => return Err(format!("no connection within {} ms", limit.as_millis())),
    };
    // Heads and window updates are small: Nagle's algorithm would hold them back for a delayed ACK, 40 ms.
    socket.set_nodelay(true).map_err(|error| error.to_string())?;
    Ok(socket)
}

fn builder(executor: &Tasks, config: &PeerConfig) -> Builder<Tasks> {
    let mut builder = Builder::new(executor.clone());
    builder
        .timer(TokioTimer::new())
        .max_frame_size(config.frame_size)
        .initial_stream_window_size(config.stream_window)
        .initial_connection_window_size(config.connection_window)
        .keep_alive_interval(config.ping_interval)
        // Pongs are signs of life as all bytes are: see `alive.rs`.
        .keep_alive_timeout(PONG);
    builder
}

/// Spawns hyper's tasks for one connection so that they end with its [`Link`].
#[derive(Clone)]
struct Tasks(CancellationToken);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, task: F) {
        let end = self.0.clone();
        tokio::spawn(async move { end.run_until_cancelled(task).await });
    }
}

type Socket = Either<TcpStream, Connected>;

/// Whether the first byte came, or why it will not: a server refuses a certificate only after the handshake, as this side sees it.
type Hello = Result<(), String>;

/// A socket that counts what it reads, and tells of the first byte.
struct Metered {
    socket: Socket,
    alive: Arc<Alive>,
    hello: Option<oneshot::Sender<Hello>>,
    /// The kernel took no more when it was last written to.
    full: bool,
}

impl Metered {
    fn new(socket: Socket) -> (Self, Arc<Alive>, oneshot::Receiver<Hello>) {
        let alive = Arc::new(Alive::default());
        let (hello, heard) = oneshot::channel();
        (Self { socket, alive: Arc::clone(&alive), hello: Some(hello), full: false }, alive, heard)
    }

    fn count(&mut self, bytes: usize) {
        self.alive.count(bytes);
        if bytes > 0 {
            self.tell(|| Ok(()));
        }
    }

    /// Where the kernel takes more again of what it took no more of, the peer has acknowledged some. What it takes at once says nothing: a peer that is gone
    /// gets a few hundred KiB as well.
    fn note_sent(&mut self, written: &Poll<io::Result<usize>>) {
        if std::mem::replace(&mut self.full, written.is_pending()) && matches!(written, Poll::Ready(Ok(_))) {
            self.alive.count_acknowledged();
        }
    }

    fn tell(&mut self, hello: impl FnOnce() -> Hello) {
        if let Some(waiting) = self.hello.take() {
            // Nobody may be waiting any more.
            let _ = waiting.send(hello());
        }
    }
}

impl AsyncRead for Metered {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut self.socket).poll_read(cx, buf));
        match &read {
            Ok(()) => self.count(buf.filled().len() - before),
            Err(error) => self.tell(|| Err(tls::told(error))),
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.note_sent(&written);
        written
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.note_sent(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
