//! Nodes of different versions in one swarm.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;

use super::{ApiError, ErrorKind};
use crate::peer::{PROTOCOL, VERSION};

/// Refuses a peer that means something else by what it says than this node would understand.
pub(super) async fn understood(request: Request, next: Next) -> Response {
    match check(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

fn check(headers: &HeaderMap) -> Result<(), ApiError> {
    let said = headers.get(VERSION).map_or(Ok(1), |said| said.to_str().unwrap_or_default().parse::<u32>());
    let malformed = |_| ApiError::new(ErrorKind::BadRequest, format!("{VERSION} is a whole number"));
    let theirs = said.map_err(malformed)?;
    if theirs.abs_diff(PROTOCOL) <= 1 {
        return Ok(());
    }
    let (older, newer) = if theirs < PROTOCOL { ("you", "this node") } else { ("this node", "you") };
    Err(ApiError::new(
        ErrorKind::Protocol,
        format!(
            "you speak version {theirs} of the peers' protocol and this node version {PROTOCOL}, which is more than one apart: \
             {older} must be renewed before it understands {newer}"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn says(version: &str) -> Result<(), ErrorKind> {
        check(&HeaderMap::from_iter([(http::HeaderName::from_static(VERSION), HeaderValue::from_str(version).unwrap())]))
            .map_err(|error| error.kind)
    }

    #[test]
    fn neighbours_understand_each_other() {
        assert_eq!(check(&HeaderMap::new()), Ok(()), "who does not say is of the version before there were any");
        for version in [PROTOCOL - 1, PROTOCOL, PROTOCOL + 1] {
            assert_eq!(says(&version.to_string()), Ok(()), "{version}");
        }
        for version in [PROTOCOL - 2, PROTOCOL + 2, u32::MAX] {
            assert_eq!(says(&version.to_string()), Err(ErrorKind::Protocol), "{version}");
        }
        for malformed in ["", "two", "-1", "4294967296"] {
            assert_eq!(says(malformed), Err(ErrorKind::BadRequest), "{malformed}");
        }
    }
}
