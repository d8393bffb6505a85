use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::{TryStreamExt, stream};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Response, StatusCode, response};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::alive::UnderWay;
use super::error::WireError;
use super::link::Link;
use super::route::Seat;
use crate::ByteStream;
use crate::types::Problem;

/// An error's body is read up to here.
const PROBLEM_LIMIT: usize = 64 << 10;
/// JSON above this is parsed off the runtime's threads: 1 MiB takes about 2 ms.
const PARSE_INLINE: usize = 1 << 20;
/// A connection that brings less than this while a body pauses brings pongs only.
const PONGS: u64 = 4 << 10;

/// The answer to a request: its head, and its body as it comes. Dropping it cancels the rest.
///
/// A body that pauses for longer than the config's `stall` is broken, unless the connection is merely slow: frames
/// of other requests still come, and not yet so many that it must have been this one's turn.
pub(super) struct Answer {
    head: response::Parts,
    body: Incoming,
    length: Option<u64>,
    received: u64,
    link: Arc<Link>,
    seat: Seat,
    _under_way: UnderWay,
}

impl Answer {
    pub(super) fn new(response: Response<Incoming>, link: Arc<Link>, seat: Seat, under_way: UnderWay) -> Self {
        let (head, body) = response.into_parts();
        let length = head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        Self { head, body, length, received: 0, link, seat, _under_way: under_way }
    }

    pub(super) fn status(&self) -> StatusCode {
        self.head.status
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// The body's length in bytes, where the head tells it.
    pub(super) fn length(&self) -> Option<u64> {
        self.length
    }

    /// Bytes of the body that came so far.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// This answer if it is one of success; else what the node says against it.
    pub(super) async fn accepted(self) -> Result<Self, Problem> {
        if self.status().is_success() { Ok(self) } else { Err(self.problem().await) }
    }

    async fn problem(mut self) -> Problem {
        let status = self.status();
        // A refusal whose reasons are lost on the way is a refusal still.
        let body = self.bounded(PROBLEM_LIMIT).await.unwrap_or_default();
        serde_json::from_slice(&body).unwrap_or_else(|_| Problem {
            kind: "about:blank".to_owned(),
            title: status.canonical_reason().unwrap_or("Unknown status").to_owned(),
            status: status.as_u16(),
            detail: String::from_utf8_lossy(&body).trim().to_owned(),
        })
    }

    /// The body, which must not be longer than `limit` bytes.
    pub(super) async fn bounded(&mut self, limit: usize) -> Result<Bytes, WireError> {
        let mut buffer = BytesMut::new();
        while let Some(piece) = self.next().await? {
            if buffer.len() + piece.len() > limit {
                return Err(WireError::Garbage(format!("more than {limit} bytes")));
            }
            buffer.extend_from_slice(&piece);
        }
        Ok(buffer.freeze())
    }

    /// The body as JSON of at most `limit` bytes.
    pub(super) async fn json<T: DeserializeOwned + Send + 'static>(mut self, limit: usize) -> Result<T, WireError> {
        let body = self.bounded(limit).await?;
        let parse = move || serde_json::from_slice(&body).map_err(|error| WireError::Garbage(error.to_string()));
        if self.received <= PARSE_INLINE as u64 {
            return parse();
        }
        let parsed = tokio::task::spawn_blocking(parse).await;
        parsed.unwrap_or_else(|_| Err(WireError::Broken("the runtime is going down".to_owned())))
    }

    /// The body as it flows. Ends in an error where it was cut off.
    pub(super) fn stream(self) -> ByteStream {
        let pieces = stream::try_unfold(self, |mut answer| async {
            let piece = answer.next().await?;
            Ok(piece.map(|piece| (piece, answer)))
        });
        Box::pin(pieces.map_err(WireError::into_io))
    }

    /// The next bytes; `None` at the end, which is an error where the head promised more.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, WireError> {
        while let Some(frame) = self.frame().await? {
            if let Ok(piece) = frame.into_data()
                && !piece.is_empty()
            {
                self.received += piece.len() as u64;
                return Ok(Some(piece));
            }
        }
        match self.length {
            // A stream that is reset with NO_ERROR looks like an end to hyper.
            Some(length) if length != self.received => {
                Err(WireError::Broken(format!("the body ended after {} of {length} bytes", self.received)))
            }
            _ => Ok(None),
        }
    }

    async fn frame(&mut self) -> Result<Option<Frame<Bytes>>, WireError> {
        let (start, pause) = (self.link.received(), self.seat.stall());
        let mut before = start;
        loop {
            if let Ok(frame) = timeout(pause, self.body.frame()).await {
                return frame.transpose().map_err(|error| WireError::broken(&error));
            }
            let now = self.link.received();
            if is_stalled(now - before, now - start, self.seat.window()) {
                let at = self.received;
                return Err(WireError::Broken(format!("nothing came for {} ms after byte {at}", pause.as_millis())));
            }
            before = now;
        }
    }
}

/// Whether a body that paused is stuck, where its connection brought `pause` bytes in the pause and `all` since the
/// body's last frame. Frames take turns, so once a whole connection window has gone by, this body's turn has too.
fn is_stalled(pause: u64, all: u64, window: u64) -> bool {
    pause < PONGS || all > window
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_link_is_not_a_stall() {
        let window = 32 << 20;
        assert!(is_stalled(17, 17, window), "only a pong came");
        assert!(!is_stalled(1 << 20, 1 << 20, window), "others' frames come, this one's is yet to");
        assert!(!is_stalled(1 << 20, 31 << 20, window));
        assert!(is_stalled(1 << 20, 33 << 20, window), "all others had their turn");
        assert!(is_stalled(0, 31 << 20, window), "and then nothing at all");
    }
}
