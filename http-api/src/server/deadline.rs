use std::future::Future;
use std::time::Duration;

use http::HeaderMap;

use super::{ApiError, ErrorKind};
use crate::peer::DEADLINE;

/// How long the node may take for an answer, or for the first of it. The engine's own limits on peers and origins are
/// shorter; this one only makes sure that no request waits for ever.
pub(super) const REPLY: Duration = Duration::from_secs(60);

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
