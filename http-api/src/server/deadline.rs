use std::future::Future;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method};
use tokio::time::{Instant, timeout_at};

use super::underway::UnderWay;
use super::{ApiError, ErrorKind};
use crate::peer::DEADLINE;

/// How long the node may take for an answer, or for the first of it. The engine's own limits are shorter and say more:
/// the longest is an object's chunk, up to 30 s of waiting for memory and then up to 65 s for its owner, who waits for
/// the origin. This one only makes sure that no request waits for ever.
pub(super) const REPLY: Duration = Duration::from_secs(100);

/// How long a peer's commit may take once the manifest is here: a disk syncs. Longer than the 120 s that the asker waits,
/// so that it is the asker who gives up.
pub(super) const COMMIT: Duration = Duration::from_secs(130);

/// How long a public put may take once the whole body is here: the last chunks on their way, 20 s, and three rounds of commits of
/// 120 s at most each: whoever holds parts, the manifest's owners, and those who replace what was lost on the way. Enough where
/// each round's nodes are slow; a put for which one node after the other must be tried, each of them that slow, is given up.
pub(super) const SETTLE: Duration = Duration::from_secs(400);

/// The backend's answer, or 504.
pub(super) async fn within<T>(limit: Duration, answer: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
    tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| Err(late(limit)))
}

pub(super) fn late(limit: Duration) -> ApiError {
    ApiError::new(ErrorKind::TimedOut, format!("this node had no answer within {} ms; try again", limit.as_millis()))
}

/// What a peer says that it will wait, within [`REPLY`].
pub(super) fn of_peer(headers: &HeaderMap) -> Duration {
    let said = headers.get(DEADLINE).and_then(|value| value.to_str().ok()?.parse().ok());
    said.map_or(REPLY, |ms| Duration::from_millis(ms).min(REPLY))
}

/// Does not work longer for a GET or HEAD than its client says that it waits: then comes 504, or the body breaks off.
pub(super) async fn honour(request: Request, next: Next) -> Response {
    let waits = if matches!(*request.method(), Method::GET | Method::HEAD) { of_client(request.headers()) } else { Ok(None) };
    let (limit, end) = match waits.map(|limit| limit.and_then(|limit| Some((limit, Instant::now().checked_add(limit)?)))) {
        Ok(Some(waits)) => waits,
        Ok(None) => return next.run(request).await,
        Err(malformed) => return malformed.into_response(),
    };
    match timeout_at(end, next.run(request)).await {
        Ok(response) => response.map(|body| Body::new(UnderWay::until(body, end))),
        Err(_) => late(limit).into_response(),
    }
}

/// What a client says that it will wait, if it does.
fn of_client(headers: &HeaderMap) -> Result<Option<Duration>, ApiError> {
    let Some(said) = headers.get(DEADLINE) else { return Ok(None) };
    let ms = said.to_str().ok().and_then(|said| said.parse().ok());
    let malformed = || ApiError::new(ErrorKind::BadRequest, format!("{DEADLINE} is a whole number of milliseconds"));
    ms.map(Duration::from_millis).map(Some).ok_or_else(malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::PeerConfig;

    #[test]
    fn people_hear_why_from_the_node_itself() {
        let patient = PeerConfig::patient();
        assert!(patient.answer_timeout > REPLY && patient.stall > REPLY, "{patient:?}");
    }
}
