//! What s3s wants to hear.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use herring_blob::ByteRange;
use herring_swarm::{OpenError, ReadError};
use s3s::dto::{Range, StreamingBlob};
use s3s::{S3Error, S3ErrorCode, S3Result};

use crate::object::{Pieces, bytes_of};

/// A body. s3s wants it [`Sync`]; a mutex makes it so, and is never locked.
pub(super) fn blob(pieces: Pieces) -> StreamingBlob {
    struct Shared(Mutex<Pieces>);
    impl Stream for Shared {
        type Item = Result<Bytes, ReadError>;

        fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            let pieces = self.0.get_mut().expect("nobody locks it, so nobody panics with it");
            pieces.as_mut().poll_next(cx)
        }
    }
    StreamingBlob::wrap(Shared(Mutex::new(pieces)))
}

/// The bytes that are asked for, and `Content-Range` where they are not all.
pub(super) fn part(asked: Option<&Range>, size: u64) -> S3Result<(ByteRange, Option<String>)> {
    let Some(asked) = asked else { return Ok((ByteRange::new(0, size), None)) };
    let range = bytes_of(asked, size).ok_or_else(|| refuse(S3ErrorCode::InvalidRange, format!("it has {size} bytes")))?;
    let said = format!("bytes {}-{}/{size}", range.start, range.end - 1);
    Ok((range, Some(said)))
}

/// S3's lengths are signed; nothing that a swarm can cut into chunks is longer.
pub(super) fn length(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

pub(super) fn open_error(error: OpenError) -> S3Error {
    let code = match &error {
        // A key that cannot be one is a key that is not there.
        OpenError::NotFound { .. } | OpenError::InvalidKey { .. } => S3ErrorCode::NoSuchKey,
        OpenError::NoOrigin { .. } => S3ErrorCode::NoSuchBucket,
        OpenError::Denied { .. } => S3ErrorCode::AccessDenied,
        OpenError::Unlisted { .. } => S3ErrorCode::NotImplemented,
        OpenError::Unavailable { .. } => S3ErrorCode::ServiceUnavailable,
    };
    refuse(code, error.to_string())
}

pub(super) fn read_error(error: ReadError) -> S3Error {
    let code = match &error {
        ReadError::Changed { .. } => S3ErrorCode::OperationAborted,
        ReadError::Denied { .. } => S3ErrorCode::AccessDenied,
        ReadError::Overloaded { .. } => S3ErrorCode::SlowDown,
        ReadError::Unavailable { .. } | ReadError::False { .. } => S3ErrorCode::ServiceUnavailable,
    };
    refuse(code, error.to_string())
}

pub(super) fn refuse(code: S3ErrorCode, why: impl Into<Cow<'static, str>>) -> S3Error {
    S3Error::with_message(code, why)
}
