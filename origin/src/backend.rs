use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use herring_blob::ByteRange;

use crate::directory::Directory;
use crate::error::Fault;
use crate::https::Site;
use crate::hub::Hub;
use crate::{ConfigError, OriginSpec, Page, azure, gcs, s3};

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

/// A kind of origin. Keys and ranges were checked before they come here, and the caller keeps the deadline, asks again after
/// [`Fault::Unavailable`] and [`Fault::Throttled`], and takes care of a body that falls silent.
#[async_trait]
pub(crate) trait Backend: Send + Sync {
    async fn head(&self, key: &str) -> Result<Found, Fault>;

    /// The bytes of `range`, which is not empty and ends within `size`, of the object that has this version and size.
    async fn read(&self, key: &str, version: &str, size: u64, range: ByteRange) -> Result<Body, Fault>;

    /// What is at the key now and its first bytes, at most `most` of them, which is not 0, in one question; without bytes where there are none, or
    /// where two questions cost no more.
    async fn begin(&self, key: &str, _most: u64) -> Result<(Found, Option<Body>), Fault> {
        Ok((self.head(key).await?, None))
    }

    /// At most [`PAGE`](crate::PAGE) entries of one level, unordered, only names that a key can spell. `token` is the `next` of the page before.
    async fn list(&self, prefix: &str, token: Option<&str>) -> Result<Page, Fault>;

    /// Whether anything is below `key`, which is not empty.
    async fn is_directory(&self, key: &str) -> Result<bool, Fault>;

    /// Whether only a listing tells what is a directory.
    fn tells_by_listing(&self) -> bool {
        false
    }

    /// Whether what is said of this key, or of what is below it, stays true for ever.
    fn is_immutable(&self, _key: &str) -> bool {
        false
    }

    /// A hub's JSON at a path below its API.
    async fn document(&self, _path: &str) -> Result<Bytes, Fault> {
        Err(Fault::NotFound)
    }

    /// Whether it is known which commit the origin's keys are of; where there are no commits, it always is.
    fn pinned(&self) -> bool {
        true
    }

    /// The commit that a hub's revision means: the pinned one, else what it is now.
    async fn resolve(&self) -> Result<String, Fault> {
        Err(Fault::NotFound)
    }

    fn pin(&self, _commit: &str) {}
}

type Open = fn(&OriginSpec) -> Result<Arc<dyn Backend>, ConfigError>;

/// The schemes there are. A new kind of origin has its line here.
const KINDS: &[(&str, Open)] = &[
    ("file", |spec| Ok(Arc::new(Directory::open(spec)?))),
    ("s3", |spec| Ok(Arc::new(s3::open(spec)?))),
    ("gs", |spec| Ok(Arc::new(gcs::open(spec)?))),
    ("az", |spec| Ok(Arc::new(azure::open(spec)?))),
    ("https", |spec| Ok(Arc::new(Site::open(spec)?))),
    ("http", |spec| Ok(Arc::new(Site::open(spec)?))),
    ("hf", |spec| Ok(Arc::new(Hub::open(spec)?))),
];

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
