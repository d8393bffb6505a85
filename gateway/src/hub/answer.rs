//! Answers as a hub gives them.

use bytes::Bytes;
use futures_util::TryStreamExt;
use herring_blob::ByteRange;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use s3s::dto::{ETagCondition, Range};

use crate::Body;
use crate::object::{Object, Pieces, bytes_of};

/// Which of an object's bytes a request wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Whole,
    Part(ByteRange),
    Unsatisfiable,
}

impl Wanted {
    /// A range that cannot be understood, or several of them, are answered with the whole, as HTTP allows.
    pub fn of(headers: &HeaderMap, object: &Object) -> Self {
        let asked = headers.get(header::RANGE).filter(|_| object.is_range_heeded(headers));
        match asked.and_then(|range| Range::parse(range.to_str().ok()?).ok()) {
            None => Self::Whole,
            Some(range) => bytes_of(&range, object.content.size()).map_or(Self::Unsatisfiable, Self::Part),
        }
    }
}

pub(super) fn json(text: Bytes) -> Response<Body> {
    let length = HeaderValue::from(text.len());
    let mut response = Response::new(Full::new(text).map_err(|never| match never {}).boxed_unsync());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    response.headers_mut().insert(header::CONTENT_LENGTH, length);
    response
}

/// An answer about a file, its length yet to be said.
pub(super) fn about(object: &Object, commit: &str, status: StatusCode) -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.extend(object.etag.to_http_header().ok().map(|etag| (header::ETAG, etag)));
    let commit = HeaderValue::from_str(commit).ok();
    headers.extend(commit.map(|commit| (HeaderName::from_static("x-repo-commit"), commit)));
    response
}

/// With as many bytes; `None`: they are only told of.
pub(super) fn with(mut response: Response<Body>, length: u64, pieces: Option<Pieces>) -> Response<Body> {
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    if let Some(pieces) = pieces {
        let frames = pieces.map_ok(Frame::data).map_err(Into::into);
        *response.body_mut() = StreamBody::new(frames).boxed_unsync();
    }
    response
}

pub(super) fn content_range(response: &mut Response<Body>, said: &str) {
    let said = HeaderValue::from_str(said).expect("digits and punctuation are a header value");
    response.headers_mut().insert(header::CONTENT_RANGE, said);
}

/// A condition that cannot be understood is none.
pub(super) fn condition(headers: &HeaderMap, name: HeaderName) -> Option<ETagCondition> {
    ETagCondition::parse_http_header(headers.get(name)?.as_bytes()).ok()
}

fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}
