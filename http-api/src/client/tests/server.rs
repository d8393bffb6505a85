use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::{FutureExt, Stream, TryStreamExt};
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

pub type Reply = Response<UnsyncBoxBody<Bytes, io::Error>>;

/// A well-behaved HTTP/2 server with a handler. Ends when dropped.
pub struct Server {
    pub address: SocketAddr,
    state: Arc<State>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct State {
    accepts: AtomicUsize,
    ended: AtomicUsize,
    some_ended: Notify,
    hang_up: Notify,
}

impl Server {
    pub async fn start<H, F>(handler: H) -> Self
    where
        H: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
        F: Future<Output = Reply> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, state.clone(), Arc::new(handler)));
        Self { address, state, _tasks: tasks }
    }

    pub fn accepts(&self) -> usize {
        self.state.accepts.load(Ordering::SeqCst)
    }

    /// Ends all connections, as a node does that is shut down: GOAWAY, then what is under way.
    pub fn hang_up(&self) {
        self.state.hang_up.notify_waiters();
    }

    /// Waits until so many connections have ended.
    pub async fn ended(&self, count: usize) {
        loop {
            let notified = self.state.some_ended.notified();
            if self.state.ended.load(Ordering::SeqCst) >= count {
                return;
            }
            notified.await;
        }
    }
}

async fn accept<H, F>(listener: TcpListener, state: Arc<State>, handler: Arc<H>)
where
    H: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        state.accepts.fetch_add(1, Ordering::SeqCst);
        connections.spawn(serve(socket, state.clone(), handler.clone()));
    }
}

async fn serve<H, F>(socket: TcpStream, state: Arc<State>, handler: Arc<H>)
where
    H: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    socket.set_nodelay(true).unwrap();
    let hang_up = state.hang_up.notified();
    let service = service_fn(move |request| handler(request).map(Ok::<_, Infallible>));
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.timer(TokioTimer::new()).max_frame_size(1 << 20);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(socket), service));
    tokio::select! {
        _ = connection.as_mut() => {}
        () = hang_up => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
    state.ended.fetch_add(1, Ordering::SeqCst);
    state.some_ended.notify_waiters();
}

pub fn reply(status: u16, body: impl Into<Bytes>) -> Reply {
    let body = Full::new(body.into()).map_err(|never| match never {}).boxed_unsync();
    Response::builder().status(status).body(body).unwrap()
}

pub fn streamed(pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Reply {
    Response::new(StreamBody::new(pieces.map_ok(Frame::data)).boxed_unsync())
}

pub fn problem(status: u16, detail: &str) -> Reply {
    let body = serde_json::json!({"type": "urn:herring:problem:test", "title": "Test", "status": status, "detail": detail});
    reply(status, body.to_string())
}

pub trait With {
    fn with(self, name: &'static str, value: impl ToString) -> Self;
}

impl With for Reply {
    fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.headers_mut().insert(name, value.to_string().parse().unwrap());
        self
    }
}
