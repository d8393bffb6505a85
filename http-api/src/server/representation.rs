//! One way to answer GET and HEAD for bytes of a known size: conditions, ranges, headers. Blobs and objects share it.

use std::future::Future;
use std::io;
use std::time::SystemTime;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, TryStreamExt, stream};
use herring_blob::ByteRange;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::body::Outgoing;
use super::deadline::{REPLY, within};
use super::etag::{ETag, Verdict, if_range, judge};
use super::range::Asked;
use super::{ApiError, ErrorKind};
use crate::ByteStream;

/// What is known of the bytes before they are read.
pub(super) struct Representation {
    pub size: u64,
    pub etag: ETag,
    pub modified: Option<SystemTime>,
    pub cache_control: &'static str,
}

impl Representation {
    /// Answers a request; `open` is called once at most, with a range that lies within the body.
    pub(super) async fn answer<F>(
        self,
        method: &Method,
        headers: &HeaderMap,
        open: impl FnOnce(ByteRange) -> F,
    ) -> Result<Response, ApiError>
    where
        F: Future<Output = Result<ByteStream, ApiError>>,
    {
        match judge(headers, &self.etag, self.modified) {
            Verdict::Failed => {
                Err(ApiError::new(ErrorKind::PreconditionFailed, "what is here now is not what the request names"))
            }
            Verdict::NotModified => Ok((StatusCode::NOT_MODIFIED, self.headers()).into_response()),
            Verdict::Proceed if method == Method::HEAD => Ok(self.whole(Body::empty())),
            Verdict::Proceed => match self.asked(headers) {
                Asked::Whole => {
                    let body = read(ByteRange::new(0, self.size), open).await?;
                    Ok(self.whole(body))
                }
                Asked::Part(range) => {
                    let body = read(range, open).await?;
                    Ok(self.part(range, body))
                }
                Asked::Unsatisfiable => Ok(self.unsatisfiable()),
            },
        }
    }

    fn asked(&self, headers: &HeaderMap) -> Asked {
        let counts = if_range(headers, &self.etag, self.modified);
        Asked::of(headers.get(header::RANGE).filter(|_| counts), self.size)
    }

    /// What every answer says, 304 included.
    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(header::ETAG, self.etag.value());
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(self.cache_control));
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        if let Some(date) = self.modified.and_then(http_date) {
            headers.insert(header::LAST_MODIFIED, date);
        }
        headers
    }

    fn whole(self, body: Body) -> Response {
        self.response(StatusCode::OK, self.size, body)
    }

    fn part(self, range: ByteRange, body: Body) -> Response {
        let mut response = self.response(StatusCode::PARTIAL_CONTENT, range.len(), body);
        content_range(&mut response, format!("bytes {}-{}/{}", range.start, range.end - 1, self.size));
        response
    }

    fn unsatisfiable(self) -> Response {
        let detail = format!("the range has no byte of this body, which has {} bytes", self.size);
        let mut response = ApiError::new(ErrorKind::RangeNotSatisfiable, detail).into_response();
        content_range(&mut response, format!("bytes */{}", self.size));
        response
    }

    fn response(&self, status: StatusCode, length: u64, body: Body) -> Response {
        let mut headers = self.headers();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        (status, headers, body).into_response()
    }
}

/// Waits for the first bytes before anything is answered: a read that fails at once is an error with a status and a
/// reason, where later ones can only break the stream.
async fn read<F>(range: ByteRange, open: impl FnOnce(ByteRange) -> F) -> Result<Body, ApiError>
where
    F: Future<Output = Result<ByteStream, ApiError>>,
{
    if range.is_empty() {
        return Ok(Body::empty());
    }
    let begin = async {
        let mut rest = open(range).await?;
        let first = rest.try_next().await.map_err(reason)?.unwrap_or_default();
        Ok(Box::pin(stream::iter([Ok(first)]).chain(rest)) as ByteStream)
    };
    let bytes = within(REPLY, begin).await?;
    Ok(Body::new(Outgoing::new(bytes, range.len())))
}

/// The error that the backend wrapped, if it did.
fn reason(error: io::Error) -> ApiError {
    match error.downcast::<ApiError>() {
        Ok(reason) => reason,
        Err(error) => ApiError::new(ErrorKind::BadGateway, error.to_string()),
    }
}

fn content_range(response: &mut Response, value: String) {
    let value = HeaderValue::try_from(value).expect("digits and punctuation are a header value");
    response.headers_mut().insert(header::CONTENT_RANGE, value);
}

/// HTTP's dates end with the year 9999: `httpdate` panics past it, and an origin may say anything.
fn http_date(time: SystemTime) -> Option<HeaderValue> {
    const YEAR_10000: u64 = 253_402_300_800;
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    (since.as_secs() < YEAR_10000).then(|| HeaderValue::try_from(httpdate::fmt_http_date(time)).ok())?
}
