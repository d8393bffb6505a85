use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

/// An answer's body that holds what its request has, such as a slot, until its end, or breaks off when its client's time is over.
pub(super) struct UnderWay {
    body: Body,
    _held: Option<Box<dyn Send>>,
    until: Option<Pin<Box<Sleep>>>,
}

impl UnderWay {
    pub(super) fn holding(body: Body, held: impl Send + 'static) -> Self {
        Self { body, _held: Some(Box::new(held)), until: None }
    }

    pub(super) fn until(body: Body, end: Instant) -> Self {
        Self { body, _held: None, until: Some(Box::pin(sleep_until(end))) }
    }
}

impl HttpBody for UnderWay {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.until.as_mut().is_some_and(|until| until.as_mut().poll(cx).is_ready()) {
            let over = io::Error::new(io::ErrorKind::TimedOut, "the client's deadline is over");
            return Poll::Ready(Some(Err(axum::Error::new(over))));
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
