use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use herring_blob::{ByteRange, MAX_CHUNK_SIZE, ObjectRef};

use crate::backend::{self, Backend, Found};
use crate::error::Fault;
use crate::key::{check_key, check_prefix};
use crate::{ConfigError, KeyError, OriginError, OriginSpec, metrics};

/// How long one question may take with all its retries: a first try that fails late (20 s), a last one that runs its full
/// 30 s, and the pauses between them.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Entries of one directory that are listed at most: some 10 MiB of names and versions.
pub const MAX_LISTED: usize = 100_000;

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
    backend: Arc<dyn Backend>,
}

impl Origin {
    pub(crate) fn new(spec: &OriginSpec) -> Result<Self, ConfigError> {
        let backend = backend::open(spec)?;
        Ok(Self { name: spec.name().into(), url: spec.plain_url().into(), backend })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The origin's URL without options and secrets.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The version of `key` that is there now.
    pub async fn head(&self, key: &str) -> Result<ObjectInfo, OriginError> {
        self.checked(key, check_key(key))?;
        let asked = Question { origin: self, op: "head", key, version: "" };
        let Found { version, size, modified } = asked.answer(self.backend.head(key)).await?;
        let object = ObjectRef { origin: self.name().to_owned(), key: key.to_owned(), version, size };
        Ok(ObjectInfo { object, modified })
    }

    /// Exactly the bytes of `range`, at most [`MAX_CHUNK_SIZE`] of them, of exactly this version.
    pub async fn read(&self, object: &ObjectRef, range: ByteRange) -> Result<Bytes, OriginError> {
        let ObjectRef { key, version, size, .. } = object;
        self.checked(key, check_key(key))?;
        self.check_range(object, range)?;
        let asked = Question { origin: self, op: "read", key, version };
        let bytes = asked.answer(self.read_checked(key, version, *size, range)).await?;
        ::metrics::counter!(metrics::BYTES, "origin" => self.name().to_owned()).increment(range.len());
        Ok(bytes)
    }

    /// What lies directly below `prefix`, sorted by name; the root is `""`. A bucket may hold an object and a directory of
    /// the same name: the directory comes first.
    ///
    /// [`OriginError::NotFound`] where there is nothing, but an empty root is an empty list. Names that no key can spell
    /// are left out. More than [`MAX_LISTED`] entries are an error rather than a part of the truth.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Listed>, OriginError> {
        self.checked(prefix, check_prefix(prefix))?;
        let asked = Question { origin: self, op: "list", key: prefix, version: "" };
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
    async fn read_checked(&self, key: &str, version: &str, size: u64, range: ByteRange) -> Result<Bytes, Fault> {
        if !range.is_empty() {
            return self.backend.read(key, version, size, range).await;
        }
        let found = self.backend.head(key).await?;
        if found.version == version && found.size == size { Ok(Bytes::new()) } else { Err(Fault::Changed) }
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Origin({}={})", self.name, self.url)
    }
}

/// What is being asked of whom: the context that every error carries.
struct Question<'a> {
    origin: &'a Origin,
    op: &'static str,
    key: &'a str,
    version: &'a str,
}

impl Question<'_> {
    /// Waits for the answer until the deadline, and counts it.
    async fn answer<T>(&self, work: impl Future<Output = Result<T, Fault>>) -> Result<T, OriginError> {
        let origin = self.origin.name();
        ::metrics::counter!(metrics::REQUESTS, "origin" => origin.to_owned(), "op" => self.op).increment(1);
        let answer = tokio::time::timeout(DEADLINE, work).await.unwrap_or(Err(Fault::TimedOut));
        answer.map_err(|fault| {
            let error = self.error(fault);
            ::metrics::counter!(metrics::ERRORS, "origin" => origin.to_owned(), "kind" => error.kind()).increment(1);
            error
        })
    }

    fn error(&self, fault: Fault) -> OriginError {
        let (origin, key) = (self.origin.name().to_owned(), self.key.to_owned());
        match fault {
            Fault::NotFound => OriginError::NotFound { origin, key },
            Fault::Changed => OriginError::Changed { origin, key, version: self.version.to_owned() },
            Fault::Denied(detail) => OriginError::Denied { origin, key, detail },
            Fault::Unavailable(detail) => OriginError::Unavailable { origin, key, detail },
            Fault::TooMany => OriginError::TooMany { origin, key, most: MAX_LISTED },
            Fault::TimedOut => OriginError::TimedOut { origin, key, op: self.op, seconds: DEADLINE.as_secs() },
        }
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;

    /// An origin that takes every question and answers none.
    struct Silent;

    #[async_trait]
    impl Backend for Silent {
        async fn head(&self, _: &str) -> Result<Found, Fault> {
            std::future::pending().await
        }

        async fn read(&self, _: &str, _: &str, _: u64, _: ByteRange) -> Result<Bytes, Fault> {
            std::future::pending().await
        }

        async fn list(&self, _: &str) -> Result<Vec<Listed>, Fault> {
            std::future::pending().await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_at_the_deadline() {
        let origin = Origin { name: "quiet".into(), url: "silent://".into(), backend: Arc::new(Silent) };
        let object = ObjectRef { origin: "quiet".into(), key: "k".into(), version: "v".into(), size: 1 };
        let timed_out = |op| OriginError::TimedOut { origin: "quiet".into(), key: "k".into(), op, seconds: 60 };
        assert_eq!(origin.head("k").await, Err(timed_out("head")));
        assert_eq!(origin.read(&object, ByteRange::new(0, 1)).await, Err(timed_out("read")));
        assert_eq!(origin.read(&object, ByteRange::new(0, 0)).await, Err(timed_out("read")));
        assert_eq!(origin.list("k").await, Err(timed_out("list")));
    }
}
