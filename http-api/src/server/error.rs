//! One table from what went wrong to what HTTP says of it.

use std::time::Duration;

use axum::Json;
use axum::response::{AppendHeaders, IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

use crate::types::Problem;

/// The media type of every error body, RFC 9457.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// When to come back to a node that is [`Unavailable`](ErrorKind::Unavailable), where nothing else is said. The least that the header can
/// say: what keeps a node busy, chunks and puts under way, moves on in less.
pub(super) const SOON: Duration = Duration::from_secs(1);

/// How a token is shown: RFC 6750, RFC 7617.
const CHALLENGES: [&str; 2] = ["Bearer realm=\"herring\"", "Basic realm=\"herring\", charset=\"UTF-8\""];

/// What a caller can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request cannot be understood: mend it.
    BadRequest,
    NotFound,
    /// The path exists, but not for this method.
    MethodNotAllowed,
    /// The client fell silent in the middle of its body.
    BodyStalled,
    /// The object changed at its origin while it was read: start again.
    Changed,
    /// The representation is not the one that `If-Match` or `If-Unmodified-Since` names.
    PreconditionFailed,
    /// A body above its bound.
    TooLarge,
    /// A range that lies past the end.
    RangeNotSatisfiable,
    /// The bytes are not what was claimed of them.
    Mismatch,
    /// No room on disk.
    Full,
    /// Try again later: too busy, or too few nodes.
    Unavailable,
    /// Those that should have answered did not, or not rightly: peers, or the origin.
    BadGateway,
    /// … or not in time.
    TimedOut,
    /// A peer whose version is too far from this one's.
    Protocol,
    /// It is not known who asks: show a token.
    Unauthorized,
    /// Not for whoever asks.
    Forbidden,
    /// So many wrong tokens that no more are looked at for a while.
    TooManyFailures,
    /// The origin does not let us in.
    Denied,
    /// The origin has no listing that a program could read.
    Unlisted,
    Internal,
}

/// An error on its way out: its kind decides status and type, its detail is for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct ApiError {
    pub kind: ErrorKind,
    pub detail: String,
    /// When to try again: the answer's `Retry-After`, in whole seconds, rounded up. A second where this is not said of what is
    /// [`Unavailable`](ErrorKind::Unavailable).
    pub retry_after: Option<Duration>,
}

impl ApiError {
    pub fn new(kind: ErrorKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), retry_after: None }
    }

    #[must_use]
    pub fn retry_after(self, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..self }
    }

    /// The header's seconds.
    fn seconds_to_wait(&self) -> Option<u64> {
        let wait = self.retry_after.or((self.kind == ErrorKind::Unavailable).then_some(SOON))?;
        Some(wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
    }

    /// The error as its body says it.
    pub fn problem(&self) -> Problem {
        let (status, slug, title) = self.kind.entry();
        Problem {
            kind: format!("urn:herring:problem:{slug}"),
            title: title.into(),
            status: status.as_u16(),
            detail: self.detail.clone(),
        }
    }
}

impl ErrorKind {
    pub fn status(self) -> StatusCode {
        self.entry().0
    }

    /// Status, the stable end of the problem's `type`, and its title.
    fn entry(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::BadRequest => (StatusCode::BAD_REQUEST, "bad-request", "The request cannot be understood"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not-found", "There is no such thing"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "This path has no such method"),
            Self::BodyStalled => (StatusCode::REQUEST_TIMEOUT, "body-stalled", "The request's body stopped coming"),
            Self::Changed => (StatusCode::CONFLICT, "changed", "The object changed while it was read"),
            Self::PreconditionFailed => (StatusCode::PRECONDITION_FAILED, "precondition-failed", "A precondition does not hold"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The request's body is too large"),
            Self::RangeNotSatisfiable => {
                (StatusCode::RANGE_NOT_SATISFIABLE, "range-not-satisfiable", "The range lies past the end")
            }
            Self::Mismatch => (StatusCode::UNPROCESSABLE_ENTITY, "mismatch", "The bytes are not what was claimed"),
            Self::Full => (StatusCode::INSUFFICIENT_STORAGE, "full", "There is no room on disk"),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not possible just now"),
            Self::BadGateway => (StatusCode::BAD_GATEWAY, "bad-gateway", "No source gave what was asked"),
            Self::TimedOut => (StatusCode::GATEWAY_TIMEOUT, "timed-out", "No source answered in time"),
            Self::Protocol => (StatusCode::UPGRADE_REQUIRED, "protocol", "These two nodes do not understand each other"),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized", "It is not known who asks"),
            Self::TooManyFailures => (StatusCode::TOO_MANY_REQUESTS, "too-many-failures", "Too many wrong tokens were shown"),
            Self::Forbidden => (StatusCode::FORBIDDEN, "forbidden", "This is not for everybody"),
            Self::Denied => (StatusCode::FORBIDDEN, "denied", "The origin denies access"),
            Self::Unlisted => (StatusCode::NOT_IMPLEMENTED, "unlisted", "This origin cannot be listed"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "This node failed"),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let problem = [(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON))];
        let retry = self.seconds_to_wait().map(|seconds| [(header::RETRY_AFTER, HeaderValue::from(seconds))]);
        // Programs and browsers go by these.
        let asks = (self.kind == ErrorKind::Unauthorized)
            .then(|| AppendHeaders(CHALLENGES.map(|challenge| (header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge)))));
        (self.kind.status(), problem, retry, asks, Json(self.problem())).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_its_kind_and_its_detail() {
        let error = ApiError::new(ErrorKind::Full, "3 of 3 owners have no room");
        let problem = error.problem();
        assert_eq!((problem.kind.as_str(), problem.status), ("urn:herring:problem:full", 507));
        assert_eq!(problem.detail, "3 of 3 owners have no room");
        let response = error.into_response();
        assert_eq!(response.status(), StatusCode::INSUFFICIENT_STORAGE);
        assert_eq!(response.headers()[header::CONTENT_TYPE], PROBLEM_JSON);
        assert!(!response.headers().contains_key(header::RETRY_AFTER));
    }

    #[test]
    fn who_is_to_come_back_hears_when() {
        let said = |error: ApiError| error.into_response().headers()[header::RETRY_AFTER].clone();
        assert_eq!(said(ApiError::new(ErrorKind::Unavailable, "busy")), "1");
        assert_eq!(said(ApiError::new(ErrorKind::Unavailable, "busy").retry_after(Duration::from_millis(4001))), "5");
        assert_eq!(said(ApiError::new(ErrorKind::Full, "full").retry_after(Duration::from_secs(60))), "60");
    }
}
