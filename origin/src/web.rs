//! What all origins that are asked over HTTP have in common.

use std::error::Error;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Client, StatusCode};

use crate::error::Fault;
use crate::listing;

/// A connection takes one round trip, at most 0.3 s around the world; 2 s also survive one lost packet (1 s until it is sent again).
pub(crate) const CONNECT: Duration = Duration::from_secs(2);

/// How long an answer may take to begin. A large store's slowest listings take some 10 s.
pub(crate) const SILENCE: Duration = Duration::from_secs(20);

/// A client of our own, with a connection for each question under way: HTTP/2 would send all bodies through one connection's window.
///
/// It follows redirects, but never from https to http.
pub(crate) fn client(https_only: bool) -> Result<Client, reqwest::Error> {
    Client::builder()
        .user_agent(concat!("herring/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT)
        .read_timeout(SILENCE)
        .http1_only()
        .https_only(https_only)
        .build()
}

/// What an answer without success means. `Ok` where it is a success.
pub(crate) fn check(status: StatusCode, headers: &HeaderMap) -> Result<(), Fault> {
    let detail = || format!("it answered {status}");
    Err(match status.as_u16() {
        200..=299 => return Ok(()),
        404 | 410 => Fault::NotFound,
        412 => Fault::Changed,
        401 | 403 | 407 => Fault::Denied(detail()),
        429 | 503 => Fault::Throttled(retry_after(headers)),
        408 | 500..=599 => Fault::Unavailable(detail()),
        _ => Fault::Unusable(detail()),
    })
}

/// Seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::now()).ok(),
    }
}

/// Never repeats the URL, which may hold a secret.
impl From<reqwest::Error> for Fault {
    fn from(error: reqwest::Error) -> Self {
        let error = error.without_url();
        let top = error.to_string();
        match causes(&error).last().map(ToString::to_string) {
            Some(bottom) if !top.contains(&bottom) => Self::Unavailable(format!("{top}: {bottom}")),
            _ => Self::Unavailable(top),
        }
    }
}

pub(crate) fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(error.source(), |cause| (*cause).source())
}

/// `object_store`'s connections, with an eye on what its errors do not tell: that an origin wants to be left alone, and for how long; and
/// on listings that it would not read.
#[derive(Debug)]
pub(crate) struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Watched(ReqwestConnector::default().connect(options)?)))
    }
}

#[derive(Debug)]
struct Watched(HttpClient);

#[async_trait]
impl HttpService for Watched {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let is_listing = request.uri().query().is_some_and(listing::is_asked_for);
        let response = self.0.execute(request).await?;
        match check(response.status(), response.headers()) {
            Err(Fault::Throttled(retry_after)) => Err(HttpError::new(HttpErrorKind::Unknown, Throttled(retry_after))),
            Ok(()) if is_listing => listing::sifted(response).await,
            _ => Ok(response),
        }
    }
}

/// At the bottom of `object_store`'s error.
#[derive(Debug, thiserror::Error)]
#[error("the store has too many requests to answer")]
pub(crate) struct Throttled(pub Option<Duration>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_said_in_seconds_or_as_a_date() {
        let after = |text: &str| retry_after(&HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]));
        assert_eq!(after("120"), Some(Duration::from_secs(120)));
        let later = after(&httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(3600))).unwrap();
        assert!(later <= Duration::from_secs(3600) && later > Duration::from_secs(3000), "{later:?}");
        assert_eq!(after("Thu, 01 Jan 1970 00:00:00 GMT"), None);
        assert_eq!(after("soon"), None);
    }
}
