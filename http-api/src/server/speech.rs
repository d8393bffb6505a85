//! HTTP/1.1, and HTTP/2 by prior knowledge, on one port. Not by hyper-util's builder for both, which cannot bound an HTTP/1 head apart from its bodies.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

use super::ServerConfig;
use super::slots::Doings;

/// What an HTTP/2 connection begins with.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long a connection may go on reading what is there before it lets others have the thread. Frames that cost their sender next to nothing, such as pings,
/// otherwise come by the megabyte between two looks at anyone else: some 40 ms. Turning to the others takes a microsecond.
const TURN: Duration = Duration::from_millis(1);

/// How each of the two is spoken.
#[derive(Clone)]
pub(super) struct Speech {
    one: http1::Builder,
    two: http2::Builder<TokioExecutor>,
}

impl Speech {
    pub(super) fn new(config: &ServerConfig) -> Self {
        let size = |bytes: u32| usize::try_from(bytes).unwrap_or(usize::MAX);
        let mut one = http1::Builder::new();
        one.timer(TokioTimer::new())
            .header_read_timeout(config.header_timeout)
            .max_header_size(size(config.max_header_bytes))
            // hyper refuses less than 8 KiB here; it is the read buffer as well, so heads and bodies share it.
            .max_buf_size(size(config.max_frame_size.max(config.max_header_bytes)));
        let mut two = http2::Builder::new(TokioExecutor::new());
        two.timer(TokioTimer::new())
            .max_frame_size(config.max_frame_size)
            .initial_stream_window_size(config.stream_window)
            .initial_connection_window_size(config.connection_window)
            .max_concurrent_streams(config.max_streams)
            .max_header_list_size(config.max_header_bytes)
            // Streams that were reset before they could be looked at, and errors of one stream each: as many as an honest client can make at
            // once, by leaving with all its requests in flight. One more, and the connection ends.
            .max_pending_accept_reset_streams(size(config.max_streams))
            .max_local_error_reset_streams(size(config.max_streams))
            .keep_alive_interval(config.keep_alive_interval)
            .keep_alive_timeout(config.keep_alive_timeout);
        Self { one, two }
    }

    /// Serves a connection to its end, or after `leave` to that of what is under way on it.
    pub(super) async fn serve<S, V>(self, socket: Begun<S>, service: V, leave: CancellationToken) -> hyper::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        V: Service<Request<Incoming>, Response = Response<Body>, Error = std::convert::Infallible> + Send,
        V::Future: Send + 'static,
    {
        if socket.is_http2() {
            let serving = self.two.serve_connection(TokioIo::new(socket), service);
            until(serving, leave, |serving| serving.graceful_shutdown()).await
        } else {
            let serving = self.one.serve_connection(TokioIo::new(socket), service);
            until(serving, leave, |serving| serving.graceful_shutdown()).await
        }
    }
}

async fn until<C: Future>(serving: C, leave: CancellationToken, bow_out: impl FnOnce(Pin<&mut C>)) -> C::Output {
    let mut serving = std::pin::pin!(serving);
    match leave.run_until_cancelled(serving.as_mut()).await {
        Some(ended) => ended,
        None => {
            bow_out(serving.as_mut());
            serving.await
        }
    }
}

/// A connection of which it is known how it begins.
pub(super) struct Begun<S> {
    socket: S,
    doings: Doings,
    first: [u8; PREFACE.len()],
    /// How many of these came, and how many of them were read.
    came: usize,
    read: usize,
    /// The client let what was written wait.
    waited: bool,
    /// Since when each read found something.
    reads_since: Option<Instant>,
}

impl<S: AsyncRead + Unpin> Begun<S> {
    /// Reads until it is clear what is spoken. Sets no limit of time.
    pub(super) async fn begin(mut socket: S, doings: Doings) -> io::Result<Self> {
        let (mut first, mut came) = ([0; PREFACE.len()], 0);
        while came < PREFACE.len() && first[..came] == PREFACE[..came] {
            match socket.read(&mut first[came..]).await? {
                0 => break,
                more => came += more,
            }
        }
        Ok(Self { socket, doings, first, came, read: 0, waited: false, reads_since: None })
    }

    fn is_http2(&self) -> bool {
        self.came == PREFACE.len() && self.first == *PREFACE
    }
}

impl<S> Begun<S> {
    /// Tells the place of a client that let a write wait and then took it.
    fn note(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() && self.waited {
            self.doings.took();
        }
        self.waited = written.is_pending();
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Begun<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.reads_since.is_some_and(|since| since.elapsed() > TURN) {
            self.reads_since = None;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.read == self.came {
            let read = Pin::new(&mut self.socket).poll_read(cx, buf);
            self.reads_since = read.is_ready().then(|| self.reads_since.unwrap_or_else(Instant::now));
            return read;
        }
        let count = buf.remaining().min(self.came - self.read);
        buf.put_slice(&self.first[self.read..self.read + count]);
        self.read += count;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Begun<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.note(written)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, bytes);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.socket).poll_flush(cx))?;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
