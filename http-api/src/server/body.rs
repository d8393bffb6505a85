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

use super::observe;
use super::watched::Watched;
use crate::ByteStream;

/// A client that sends no byte of its body for so long has gone, or is starving us: 408.
pub(super) const STALL: Duration = Duration::from_secs(30);

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
    /// The client fell silent for [`STALL`].
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
    patience: Pin<Box<Sleep>>,
    ended: Option<oneshot::Sender<BodyEnd>>,
}

impl Incoming {
    /// `limit`: bytes.
    pub(super) fn new(body: Body, limit: u64) -> (Self, oneshot::Receiver<BodyEnd>) {
        let (ended, end) = oneshot::channel();
        let patience = Box::pin(tokio::time::sleep(STALL));
        (Self { body: Some(body.into_data_stream()), begun: false, limit, patience, ended: Some(ended) }, end)
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
                self.patience.as_mut().reset(Instant::now() + STALL);
                Ok(bytes)
            }
            None => {
                self.end(BodyEnd::TooLarge);
                Err(io::Error::new(io::ErrorKind::FileTooLarge, "the body is larger than its bound"))
            }
        }
    }
}

impl Stream for Incoming {
    type Item = Result<Bytes, io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if !self.begun {
            // Only now does a client that expects `100 Continue` get it, so only now does its time run.
            self.begun = true;
            self.patience.as_mut().reset(Instant::now() + STALL);
        }
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
                ready!(self.patience.as_mut().poll(cx));
                self.end(BodyEnd::Stalled);
                Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::TimedOut, format!("no byte came for {STALL:?}")))))
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
