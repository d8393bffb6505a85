//! What every request with a body goes through: bounds, stalls, and an orderly end where the body is not wanted.

use std::future::Future;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::FromRequest;
use bytes::BytesMut;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use http::{Request, header};
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::admission::Crowd;
use super::body::{BodyEnd, Incoming, PACE, STALL};
use super::deadline::{REPLY, within};
use super::{ApiError, ErrorKind};
use crate::ByteStream;

/// How long the rest of a body is read once it is in vain. Long enough for a client nearby to end, and to read why it
/// was refused; nobody should upload a terabyte to learn that the disk is full.
const LINGER: Duration = Duration::from_secs(5);

/// KiB of the bodies that are held whole, of all requests together: four of the largest manifests. Without it each of some thousand streams could hold
/// its own bound.
static ROOM: Semaphore = Semaphore::const_new(256 << 10);

/// How long a body waits for room.
const ROOM_WAIT: Duration = Duration::from_secs(5);

/// A request's body, not yet asked for.
pub(super) struct Upload {
    body: Body,
    length: Option<u64>,
    /// The client waits for `100 Continue` before it sends.
    expects: bool,
    crowd: Option<Crowd>,
}

impl<S: Send + Sync> FromRequest<S> for Upload {
    type Rejection = ApiError;

    async fn from_request(request: Request<Body>, _: &S) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        let crowd = parts.extensions.remove();
        let length = parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let expects = parts.headers.contains_key(header::EXPECT);
        Ok(Self { body, length, expects, crowd })
    }
}

impl Upload {
    /// A body of JSON, of at most `limit` bytes.
    pub(super) async fn json<T: DeserializeOwned>(self, limit: u64) -> Result<T, ApiError> {
        let _room = self.room(limit).await?;
        self.feed(limit, REPLY, read_json).await
    }

    /// Room in memory for all of this body, which may have at most `limit` bytes. None is taken for one that is refused for its length.
    pub(super) fn room(&self, limit: u64) -> impl Future<Output = Result<SemaphorePermit<'static>, ApiError>> + use<> {
        let bytes = self.length.map_or(limit, |length| if length > limit { 0 } else { length });
        let room = ROOM.acquire_many(u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX));
        async {
            match tokio::time::timeout(ROOM_WAIT, room).await {
                Ok(room) => Ok(room.expect("the semaphore is never closed")),
                Err(_) => Err(ApiError::new(ErrorKind::Unavailable, "too many bodies are being read just now; try again")),
            }
        }
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
        let (incoming, end) = Incoming::new(self.body, limit, self.crowd.clone());
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
            Some(BodyEnd::Unread { rest, .. }) => {
                let limit = if taken.is_ok() { Duration::MAX } else { LINGER };
                read_away(Incoming::rest(rest, self.crowd), limit).await;
            }
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
        read_away(Incoming::rest(request.into_body().into_data_stream(), None), LINGER).await;
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
async fn read_away(mut rest: Incoming, limit: Duration) {
    let read = async { while let Some(Ok(_)) = rest.next().await {} };
    let _ = tokio::time::timeout(limit, read).await;
}

fn stalled() -> ApiError {
    let (patience, pace) = (STALL.as_secs(), PACE >> 10);
    let detail = format!(
        "no byte of the body came for {patience} seconds, or less than {pace} KiB while this node had few places left; nothing was stored"
    );
    ApiError::new(ErrorKind::BodyStalled, detail)
}

fn too_large(limit: u64) -> ApiError {
    ApiError::new(ErrorKind::TooLarge, format!("the body may have {limit} bytes here"))
}

/// Seldom read by anyone: the client that it is for has gone.
fn broken() -> ApiError {
    ApiError::new(ErrorKind::BadRequest, "the body broke off before its end; nothing was stored")
}
