//! What every request with a body goes through: bounds, stalls, and an orderly end where the body is not wanted.

use std::future::Future;
use std::time::Duration;

use axum::body::{Body, BodyDataStream, HttpBody};
use axum::extract::FromRequest;
use bytes::BytesMut;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use http::{Request, header};
use serde::de::DeserializeOwned;

use super::body::{BodyEnd, Incoming, STALL};
use super::deadline::{REPLY, within};
use super::{ApiError, ErrorKind};
use crate::ByteStream;

/// How long the rest of a body is read once it is in vain. Long enough for a client nearby to end, and to read why it
/// was refused; nobody should upload a terabyte to learn that the disk is full.
const LINGER: Duration = Duration::from_secs(5);

/// A request's body, not yet asked for.
pub(super) struct Upload {
    body: Body,
    length: Option<u64>,
    /// The client waits for `100 Continue` before it sends.
    expects: bool,
}

impl<S: Send + Sync> FromRequest<S> for Upload {
    type Rejection = ApiError;

    async fn from_request(request: Request<Body>, _: &S) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let length = parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let expects = parts.headers.contains_key(header::EXPECT);
        Ok(Self { body, length, expects })
    }
}

impl Upload {
    /// A body of JSON, of at most `limit` bytes.
    pub(super) async fn json<T: DeserializeOwned>(self, limit: u64) -> Result<T, ApiError> {
        self.feed(limit, REPLY, read_json).await
    }

    /// Hands a body of at most `limit` bytes to `take`, which may go on for `settle` once the whole body is here. What
    /// went wrong with the body itself outranks what `take` made of it.
    pub(super) async fn feed<T, F>(self, limit: u64, settle: Duration, take: impl FnOnce(ByteStream) -> F) -> Result<T, ApiError>
    where
        F: Future<Output = Result<T, ApiError>>,
    {
        if self.length.is_some_and(|length| length > limit) {
            return Err(too_large(limit));
        }
        let (incoming, end) = Incoming::new(self.body, limit);
        let mut end = end.fuse();
        let mut taking = std::pin::pin!(take(Box::pin(incoming)));
        let mut ended = None;
        let taken = tokio::select! {
            biased;
            taken = &mut taking => taken,
            how = &mut end => {
                ended = how.ok();
                within(settle, taking).await
            }
        };
        // The backend may keep the body for a moment longer than its answer took; that moment is not waited for.
        match ended.or_else(|| end.now_or_never()?.ok()) {
            // Whoever still waits for `100 Continue` has sent nothing.
            Some(BodyEnd::Unread { begun: false, .. }) if self.expects => {}
            Some(BodyEnd::Unread { rest, .. }) => read_away(rest, if taken.is_ok() { Duration::MAX } else { LINGER }).await,
            Some(BodyEnd::Stalled) => return taken.or(Err(stalled())),
            Some(BodyEnd::TooLarge) => return taken.or(Err(too_large(limit))),
            Some(BodyEnd::Broken) => return taken.or(Err(broken())),
            Some(BodyEnd::Complete) | None => {}
        }
        taken
    }
}

/// Before a request is refused as it stands: lets the client end, so that it reads why.
pub(super) async fn turn_away(request: Request<Body>) {
    let expects = request.headers().contains_key(header::EXPECT);
    if !expects && !request.body().is_end_stream() {
        read_away(request.into_body().into_data_stream(), LINGER).await;
    }
}

/// JSON from a body that is bounded by whoever hands it in.
pub(super) async fn read_json<T: DeserializeOwned>(body: ByteStream) -> Result<T, ApiError> {
    let refuse = |detail: String| ApiError::new(ErrorKind::BadRequest, detail);
    let read = body.try_fold(BytesMut::new(), |mut all, piece| async move {
        all.extend_from_slice(&piece);
        Ok(all)
    });
    let all = read.await.map_err(|error| refuse(format!("the body cannot be read: {error}")))?;
    serde_json::from_slice(&all).map_err(|error| refuse(format!("the body is not the JSON that is wanted here: {error}")))
}

/// Reads what nobody wants, before the answer. Many clients send all before they listen: a socket closed on their
/// unread bytes is reset, and with it the answer. Over HTTP/2, curl 7.88 takes an answer before the end of its body for
/// an error, or waits for ever. Who does not want to send in vain asks first, by HEAD or `Expect: 100-continue`.
async fn read_away(mut rest: BodyDataStream, limit: Duration) {
    let read = async { while let Ok(Some(Ok(_))) = tokio::time::timeout(STALL, rest.next()).await {} };
    let _ = tokio::time::timeout(limit, read).await;
}

fn stalled() -> ApiError {
    ApiError::new(ErrorKind::BodyStalled, format!("no byte of the body came for {} seconds; nothing was stored", STALL.as_secs()))
}

fn too_large(limit: u64) -> ApiError {
    ApiError::new(ErrorKind::TooLarge, format!("the body may have {limit} bytes here"))
}

/// Seldom read by anyone: the client that it is for has gone.
fn broken() -> ApiError {
    ApiError::new(ErrorKind::BadRequest, "the body broke off before its end; nothing was stored")
}
