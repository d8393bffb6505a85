//! Bodies on their way out and in.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http_body::{Frame, SizeHint};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};

use super::admission::Crowd;
use super::observe;
use super::watched::Watched;
use crate::ByteStream;

/// A client that sends no byte of its body for so long has gone, or is starving us: 408.
pub(super) const STALL: Duration = Duration::from_secs(30);

/// Where places are scarce a client must send so much for each [`STALL`] that it is waited for: 17 kbit/s. A few hundred that send a byte now and
/// then would keep all others out.
pub(super) const PACE: u64 = 64 << 10;

/// A body of exactly as many bytes as were promised, or an error, which breaks the stream: what has failed never looks
/// like something complete.
pub(super) struct Outgoing {
    bytes: Watched,
    left: u64,
}

impl Outgoing {
    pub(super) fn new(bytes: ByteStream, length: u64) -> Self {
        Self { bytes: Watched::new(bytes), left: length }
    }

    fn account(&mut self, bytes: Bytes) -> Result<Frame<Bytes>, io::Error> {
        let length = bytes.len() as u64;
        self.left =
            self.left.checked_sub(length).ok_or_else(|| io::Error::other("the body has more bytes than were promised"))?;
        observe::sent(length);
        Ok(Frame::data(bytes))
    }

    fn short(&self) -> io::Error {
        io::Error::new(io::ErrorKind::UnexpectedEof, format!("the body ended {} bytes too early", self.left))
    }
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let frame = match ready!(self.bytes.poll_next_unpin(cx)) {
            Some(bytes) => bytes.and_then(|bytes| self.account(bytes)),
            None => Err(self.short()),
        };
        Poll::Ready(Some(frame.inspect_err(|error| tracing::warn!(%error, "a body broke off"))))
    }

    /// HTTP/2 then ends the stream with the last bytes, rather than with an empty frame after them.
    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// How the reading of a request's body ended.
pub(super) enum BodyEnd {
    /// It was read to its end.
    Complete,
    /// The client fell silent for [`STALL`], or kept less than [`PACE`] where places are scarce.
    Stalled,
    /// More bytes than its bound.
    TooLarge,
    /// The client broke off.
    Broken,
    /// Dropped before its end; `begun` tells whether any of it was asked for.
    Unread { rest: BodyDataStream, begun: bool },
}

/// A request's body as the backend reads it. However that ends, `ended` hears of it.
pub(super) struct Incoming {
    body: Option<BodyDataStream>,
    begun: bool,
    limit: u64,
    patience: Patience,
    ended: Option<oneshot::Sender<BodyEnd>>,
}

impl Incoming {
    /// `limit`: bytes.
    pub(super) fn new(body: Body, limit: u64, crowd: Option<Crowd>) -> (Self, oneshot::Receiver<BodyEnd>) {
        let (ended, end) = oneshot::channel();
        let patience = Patience::new(crowd);
        (Self { body: Some(body.into_data_stream()), begun: false, limit, patience, ended: Some(ended) }, end)
    }

    /// What is left of a body that nobody wants any more.
    pub(super) fn rest(body: BodyDataStream, crowd: Option<Crowd>) -> Self {
        Self { body: Some(body), begun: false, limit: u64::MAX, patience: Patience::new(crowd), ended: None }
    }

    fn end(&mut self, how: BodyEnd) {
        self.body = None;
        if let Some(ended) = self.ended.take() {
            // Nobody listens where the request itself was dropped.
            let _ = ended.send(how);
        }
    }

    fn account(&mut self, bytes: Bytes) -> Result<Bytes, io::Error> {
        let length = bytes.len() as u64;
        observe::received(length);
        match self.limit.checked_sub(length) {
            Some(left) => {
                self.limit = left;
                self.patience.came(length);
                Ok(bytes)
            }
            None => {
                self.end(BodyEnd::TooLarge);
                Err(io::Error::new(io::ErrorKind::FileTooLarge, "the body is larger than its bound"))
            }
        }
    }
}

/// How long a client is still waited for. Time in which nobody asks for its bytes is not its fault.
struct Patience {
    crowd: Option<Crowd>,
    left: Duration,
    /// Bytes of [`PACE`] that came.
    came: u64,
    waits_since: Option<Instant>,
    over: Pin<Box<Sleep>>,
}

impl Patience {
    fn new(crowd: Option<Crowd>) -> Self {
        Self { crowd, left: STALL, came: 0, waits_since: None, over: Box::pin(tokio::time::sleep(STALL)) }
    }

    fn came(&mut self, bytes: u64) {
        if let Some(since) = self.waits_since.take() {
            self.left = self.left.saturating_sub(since.elapsed());
        }
        self.came += bytes;
        if self.came >= PACE {
            (self.came, self.left) = (0, STALL);
        }
    }

    /// Ready when there is none left.
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let since = *self.waits_since.get_or_insert_with(|| {
            let now = Instant::now();
            self.over.as_mut().reset(now + self.left);
            now
        });
        ready!(self.over.as_mut().poll(cx));
        if self.came == 0 || self.crowd.as_ref().is_some_and(Crowd::is_dense) {
            return Poll::Ready(());
        }
        // It is slow, and not silent.
        (self.came, self.left) = (0, STALL);
        self.over.as_mut().reset(since + STALL);
        self.over.as_mut().poll(cx)
    }
}

impl Stream for Incoming {
    type Item = Result<Bytes, io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // Only now does a client that expects `100 Continue` get it, so only now does its time run.
        self.begun = true;
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        match body.poll_next_unpin(cx) {
            Poll::Ready(Some(Ok(bytes))) => Poll::Ready(Some(self.account(bytes))),
            Poll::Ready(Some(Err(error))) => {
                self.end(BodyEnd::Broken);
                Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::ConnectionAborted, error))))
            }
            Poll::Ready(None) => {
                self.end(BodyEnd::Complete);
                Poll::Ready(None)
            }
            Poll::Pending => {
                ready!(self.patience.poll_over(cx));
                self.end(BodyEnd::Stalled);
                Poll::Ready(Some(Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("nothing, or too little, came for {STALL:?}"),
                ))))
            }
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let Some(rest) = self.body.take() {
            let begun = self.begun;
            self.end(BodyEnd::Unread { rest, begun });
        }
    }
}
