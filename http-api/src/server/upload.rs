//! What every request with a body goes through: bounds, stalls, and an orderly end where the body is not wanted.

use std::future::Future;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::FromRequest;
use futures_util::{FutureExt, StreamExt};
use http::{Request, header};

use super::body::{BodyEnd, Incoming, STALL};
use super::deadline::late;
use super::{ApiError, ErrorKind};
use crate::ByteStream;

/// How long the node may take once the whole body is here: replicas sync to disk.
const SETTLE: Duration = Duration::from_secs(60);

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
    /// Hands a body of at most `limit` bytes to `take`. What went wrong with the body itself outranks what `take` made
    /// of it.
    pub(super) async fn feed<T, F>(self, limit: u64, take: impl FnOnce(ByteStream) -> F) -> Result<T, ApiError>
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
                tokio::time::timeout(SETTLE, taking).await.unwrap_or_else(|_| Err(late(SETTLE)))
            }
        };
        // The backend may keep the body for a moment longer than its answer took; that moment is not waited for.
        match ended.or_else(|| end.now_or_never()?.ok()) {
            Some(BodyEnd::Unread { rest, begun }) if begun || !self.expects => drop(tokio::spawn(read_away(rest))),
            Some(BodyEnd::Stalled) => return taken.or(Err(stalled())),
            Some(BodyEnd::TooLarge) => return taken.or(Err(too_large(limit))),
            Some(BodyEnd::Broken) => return taken.or(Err(broken())),
            _ => {}
        }
        taken
    }
}

/// Reads what nobody wants, while the answer is already on its way. Many clients send all before they listen: a socket
/// closed on their unread bytes is reset, and an HTTP/2 stream reset after its answer is an error to curl before 8.
/// A client that can take an early answer stops by itself. Ends with the body, with its connection, or by a stall.
async fn read_away(mut rest: BodyDataStream) {
    while let Ok(Some(Ok(_))) = tokio::time::timeout(STALL, rest.next()).await {}
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
