use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};
use herring_blob::{ByteRange, MAX_CHUNK_SIZE, ObjectRef};

use crate::backend::{self, Backend, Body, Found};
use crate::error::Fault;
use crate::key::{check_key, check_prefix};
use crate::question::Question;
use crate::{ConfigError, KeyError, OriginError, OriginSpec};

/// How long one question may take with all its retries: a first try that fails late (20 s), a last one that runs its full
/// 30 s, and the pauses between them. Of a read, all of its stream.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Entries of one directory that are listed at most: some 10 MiB of names and versions.
pub const MAX_LISTED: usize = 100_000;

/// Bytes as they come from an origin. Each part can be shown at once: it is of the version that was asked for, whatever becomes of the
/// rest. The stream ends after exactly the bytes that were asked for, or with an error. Dropping it cancels what is still to come.
pub type Parts = BoxStream<'static, Result<Bytes, OriginError>>;

/// One version of an object, and when it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Names the version: its ETag, else what is made of its modification time and size.
    pub object: ObjectRef,
    pub modified: SystemTime,
}

/// An entry of one level of an origin. Names are the last segment of the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    Directory {
        name: String,
    },
    /// Size in bytes. The version is the one that [`Origin::head`] gives; a few S3 servers leave it out of listings.
    Object {
        name: String,
        size: u64,
        modified: SystemTime,
        version: Option<String>,
    },
}

impl Listed {
    pub fn name(&self) -> &str {
        match self {
            Self::Directory { name } | Self::Object { name, .. } => name,
        }
    }

    fn sort_key(&self) -> (&str, bool) {
        (self.name(), matches!(self, Self::Object { .. }))
    }
}

/// A directory or bucket that is the truth for its keys. Clones share connections.
///
/// A key is UTF-8 of 1 to 1024 bytes in segments parted by slashes: none of them empty, `.` or `..`, and no control
/// characters. Anything else is [`OriginError::InvalidKey`] before the origin is asked.
#[derive(Clone)]
pub struct Origin {
    name: Arc<str>,
    url: Arc<str>,
    ttl: Duration,
    backend: Arc<dyn Backend>,
}

impl Origin {
    pub(crate) fn new(spec: &OriginSpec) -> Result<Self, ConfigError> {
        let backend = backend::open(spec)?;
        Ok(Self { name: spec.name().into(), url: spec.plain_url().into(), ttl: spec.ttl(), backend })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The origin's URL without options and secrets.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// How long what it says of an object or a directory is believed: its answers may be remembered for so long.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// The version of `key` that is there now.
    pub async fn head(&self, key: &str) -> Result<ObjectInfo, OriginError> {
        self.checked(key, check_key(key))?;
        let asked = Question::new(self.name(), "head", key, "");
        let Found { version, size, modified } = asked.answer(self.backend.head(key)).await?;
        let object = ObjectRef { origin: self.name().to_owned(), key: key.to_owned(), version, size };
        Ok(ObjectInfo { object, modified })
    }

    /// Exactly the bytes of `range`, at most [`MAX_CHUNK_SIZE`] of them, of exactly this version, as they come. All of it, with the time
    /// that the caller takes between parts, within [`DEADLINE`].
    pub async fn read(&self, object: &ObjectRef, range: ByteRange) -> Result<Parts, OriginError> {
        let ObjectRef { key, version, size, .. } = object;
        self.checked(key, check_key(key))?;
        self.check_range(object, range)?;
        let asked = Question::new(self.name(), "read", key, version);
        let body = asked.answer(self.read_checked(key, version, *size, range)).await?;
        Ok(asked.parts(body, range.len()))
    }

    /// What lies directly below `prefix`, sorted by name; the root is `""`. A bucket may hold an object and a directory of
    /// the same name: the directory comes first.
    ///
    /// [`OriginError::NotFound`] where there is nothing, but an empty root is an empty list. Names that no key can spell
    /// are left out. More than [`MAX_LISTED`] entries are an error rather than a part of the truth.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Listed>, OriginError> {
        self.checked(prefix, check_prefix(prefix))?;
        let asked = Question::new(self.name(), "list", prefix, "");
        let mut listed = asked.answer(self.backend.list(prefix)).await?;
        listed.sort_unstable_by(|a, b| a.sort_key().cmp(&b.sort_key()));
        Ok(listed)
    }

    fn checked(&self, key: &str, check: Result<(), KeyError>) -> Result<(), OriginError> {
        check.map_err(|why| OriginError::InvalidKey { origin: self.name().to_owned(), key: key.to_owned(), why })
    }

    fn check_range(&self, object: &ObjectRef, range: ByteRange) -> Result<(), OriginError> {
        let most = u64::from(MAX_CHUNK_SIZE);
        if range.end <= object.size && range.len() <= most {
            return Ok(());
        }
        let (origin, key) = (self.name().to_owned(), object.key.clone());
        Err(OriginError::OutOfRange { origin, key, range, size: object.size, most })
    }

    /// HTTP cannot ask for no bytes, so an empty range only looks whether the version is still there.
    async fn read_checked(&self, key: &str, version: &str, size: u64, range: ByteRange) -> Result<Body, Fault> {
        if !range.is_empty() {
            return self.backend.read(key, version, size, range).await;
        }
        let found = self.backend.head(key).await?;
        if found.version == version && found.size == size { Ok(stream::empty().boxed()) } else { Err(Fault::Changed) }
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Origin({}={})", self.name, self.url)
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use futures_util::TryStreamExt;

    use super::*;

    /// An origin that answers no question but a read, and that with these parts; `None`: with silence from then on.
    struct Quiet(&'static [Option<&'static str>]);

    #[async_trait]
    impl Backend for Quiet {
        async fn head(&self, _: &str) -> Result<Found, Fault> {
            std::future::pending().await
        }

        async fn read(&self, _: &str, _: &str, _: u64, _: ByteRange) -> Result<Body, Fault> {
            if self.0.is_empty() {
                return std::future::pending().await;
            }
            let part = |part: Option<&'static str>| async move {
                match part {
                    Some(part) => Ok(Bytes::from(part)),
                    None => std::future::pending().await,
                }
            };
            Ok(stream::iter(self.0.iter().copied()).then(part).boxed())
        }

        async fn list(&self, _: &str) -> Result<Vec<Listed>, Fault> {
            std::future::pending().await
        }
    }

    fn origin(parts: &'static [Option<&'static str>]) -> Origin {
        Origin { name: "quiet".into(), url: "silent://".into(), ttl: Duration::ZERO, backend: Arc::new(Quiet(parts)) }
    }

    fn object() -> ObjectRef {
        ObjectRef { origin: "quiet".into(), key: "k".into(), version: "v".into(), size: 3 }
    }

    fn timed_out(op: &'static str) -> OriginError {
        OriginError::TimedOut { origin: "quiet".into(), key: "k".into(), op, seconds: 60 }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_at_the_deadline() {
        let (origin, object) = (origin(&[]), object());
        assert_eq!(origin.head("k").await, Err(timed_out("head")));
        assert_eq!(origin.read(&object, ByteRange::new(0, 1)).await.err(), Some(timed_out("read")));
        assert_eq!(origin.read(&object, ByteRange::new(0, 0)).await.err(), Some(timed_out("read")));
        assert_eq!(origin.list("k").await, Err(timed_out("list")));
    }

    /// The clock is paused, so it tells exactly how long was waited.
    #[tokio::test(start_paused = true)]
    async fn a_body_that_falls_silent_ends_at_the_same_deadline() {
        let started = tokio::time::Instant::now();
        let mut parts = origin(&[Some("he"), None]).read(&object(), ByteRange::new(0, 3)).await.unwrap();
        assert_eq!(parts.try_next().await, Ok(Some("he".into())));
        tokio::time::sleep(DEADLINE / 2).await;
        assert_eq!(parts.try_next().await, Err(timed_out("read")));
        assert_eq!(started.elapsed(), DEADLINE);
        assert_eq!(parts.try_next().await, Ok(None), "an error is the end");
    }

    #[tokio::test]
    async fn a_body_of_another_length_is_an_error() {
        let read = async |parts| {
            let mut body = origin(parts).read(&object(), ByteRange::new(0, 3)).await.unwrap();
            let mut shown = String::new();
            while let Some(part) = body.try_next().await.map_err(|error| error.kind())? {
                shown.push_str(std::str::from_utf8(&part).unwrap());
                assert!("her".starts_with(&shown), "{shown}");
            }
            Ok(shown)
        };
        assert_eq!(read(&[Some("he"), Some(""), Some("r")]).await, Ok("her".to_owned()));
        for parts in [&[Some("he")][..], &[Some("herr")], &[Some("he"), Some("rr")], &[Some("her"), Some("r")], &[Some("")]] {
            assert_eq!(read(parts).await, Err("unavailable"), "{parts:?}");
        }
    }
}
