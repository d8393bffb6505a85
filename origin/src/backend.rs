use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use herring_blob::ByteRange;

use crate::directory::Directory;
use crate::error::Fault;
use crate::{ConfigError, Listed, OriginSpec, s3};

/// What a backend says of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub version: String,
    pub size: u64,
    pub modified: SystemTime,
}

/// Bytes as a backend has them, in order. Each was checked to be of the version that was asked for; how many there are is checked
/// behind them.
pub(crate) type Body = BoxStream<'static, Result<Bytes, Fault>>;

/// A kind of origin. Keys and ranges were checked before they come here, and the caller keeps the deadline.
#[async_trait]
pub(crate) trait Backend: Send + Sync {
    async fn head(&self, key: &str) -> Result<Found, Fault>;

    /// The bytes of `range`, which is not empty and ends within `size`, of the object that has this version and size.
    async fn read(&self, key: &str, version: &str, size: u64, range: ByteRange) -> Result<Body, Fault>;

    /// One level, unordered, only names that a key can spell; [`Fault::TooMany`] above [`MAX_LISTED`](crate::MAX_LISTED).
    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, Fault>;
}

type Open = fn(&OriginSpec) -> Result<Arc<dyn Backend>, ConfigError>;

/// The schemes there are. A new kind of origin has its line here.
const KINDS: &[(&str, Open)] =
    &[("file", |spec| Ok(Arc::new(Directory::open(spec)?))), ("s3", |spec| Ok(Arc::new(s3::open(spec)?)))];

/// The backend that the URL's scheme asks for.
pub(crate) fn open(spec: &OriginSpec) -> Result<Arc<dyn Backend>, ConfigError> {
    let scheme = spec.url().scheme();
    match KINDS.iter().find(|(known, _)| *known == scheme) {
        Some((_, open)) => open(spec),
        None => Err(ConfigError::Scheme { name: spec.name().to_owned(), scheme: scheme.to_owned(), known: known_schemes() }),
    }
}

fn known_schemes() -> String {
    KINDS.iter().map(|(scheme, _)| format!("{scheme}://")).collect::<Vec<_>>().join(", ")
}
