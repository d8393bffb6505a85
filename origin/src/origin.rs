use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt, stream};
use herring_blob::{ByteRange, MAX_CHUNK_SIZE, ObjectRef};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::backend::{self, Backend, Found};
use crate::error::Fault;
use crate::hold::Throttle;
use crate::key::{check_key, check_prefix};
use crate::question::Question;
use crate::retry::{Reading, Tries};
use crate::{ConfigError, Hold, KeyError, OriginError, OriginSpec, Page, metrics};

/// How long one question may take with all its tries and with what it waits for an origin that wants to be left alone: two tries that
/// are met with silence (20 s each) and one that is answered. Of a read, all of its stream.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Bytes as they come from an origin. Each part can be shown at once: it is of the version that was asked for, whatever becomes of the
/// rest. The stream ends after exactly the bytes that were asked for, or with an error. Dropping it cancels what is still to come.
pub type Parts = BoxStream<'static, Result<Bytes, OriginError>>;

/// One version of an object, and when it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectInfo {
    /// Names the version: its ETag, else what is made of its modification time and size.
    pub object: ObjectRef,
    pub modified: SystemTime,
}

/// How long what an origin says of a key may be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// It cannot become untrue: a commit of a hub.
    Forever,
    For(Duration),
}

/// A directory, bucket or server that is the truth for its keys. Clones share connections.
///
/// A key is UTF-8 of 1 to 1024 bytes in segments parted by slashes: none of them empty, `.` or `..`, and no control
/// characters. Anything else is [`OriginError::InvalidKey`] before the origin is asked.
#[derive(Clone)]
pub struct Origin {
    name: Arc<str>,
    identity: Arc<str>,
    ttl: Duration,
    backend: Arc<dyn Backend>,
    throttle: Arc<Throttle>,
}

impl Origin {
    pub(crate) fn new(spec: &OriginSpec) -> Result<Self, ConfigError> {
        let backend = backend::open(spec)?;
        Ok(Self {
            name: spec.name().into(),
            identity: spec.identity().into(),
            ttl: spec.ttl(),
            backend,
            throttle: Arc::new(Throttle::new()),
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is, whatever it is named: its URL with those options that say where it is.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// How long what it says of an object or a directory is believed: its answers may be remembered for so long.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// How long what it says of this key, or of what is below it, is believed.
    pub fn lifetime(&self, key: &str) -> Lifetime {
        if self.backend.is_immutable(key) { Lifetime::Forever } else { Lifetime::For(self.ttl) }
    }

    /// The version of `key` that is there now.
    pub async fn head(&self, key: &str) -> Result<ObjectInfo, OriginError> {
        self.checked(key, check_key(key))?;
        let Found { version, size, modified } = self.ask("head", key, || self.backend.head(key)).await?;
        let object = ObjectRef { origin: self.name().to_owned(), key: key.to_owned(), version, size };
        Ok(ObjectInfo { object, modified })
    }

    /// The version of `key` that is there now and its first bytes, at most `most` of them, in one question: who will read anyway saves a
    /// round trip. Without bytes where it is empty, where two questions cost no more than one, and where the first try failed or had to wait: others
    /// may have found the version out by then, and read the bytes. Otherwise as [`read`](Self::read).
    pub async fn open(&self, key: &str, most: u64) -> Result<(ObjectInfo, Option<Parts>), OriginError> {
        self.checked(key, check_key(key))?;
        let asked = Question::new(self.name(), "read", key, "");
        let mut tries = self.tries(&asked);
        let (most, mut reads) = (most.clamp(1, MAX_CHUNK_SIZE.into()), !self.is_held());
        let ask = || match std::mem::take(&mut reads) {
            true => self.backend.begin(key, most),
            false => async { Ok((self.backend.head(key).await?, None)) }.boxed(),
        };
        let (Found { version, size, modified }, body) = asked.answer(tries.ask(ask)).await?;
        let object = ObjectRef { origin: self.name().to_owned(), key: key.to_owned(), version, size };
        let reading = body.map(|body| {
            let range = ByteRange::new(0, most.min(size));
            Reading::begun(Arc::clone(&self.backend), tries, object.clone(), range, body)
        });
        let parts = reading.map(|reading| parts(asked, reading, Arc::clone(&self.name)));
        Ok((ObjectInfo { object, modified }, parts))
    }

    /// Exactly the bytes of `range`, at most [`MAX_CHUNK_SIZE`] of them, of exactly this version, as they come. All of it, with the time
    /// that the caller takes between parts, within [`DEADLINE`]. Where the origin breaks off, or gives nothing for 10 s, it is asked
    /// for the rest.
    pub async fn read(&self, object: &ObjectRef, range: ByteRange) -> Result<Parts, OriginError> {
        let ObjectRef { key, version, .. } = object;
        self.checked(key, check_key(key))?;
        self.check_range(object, range)?;
        let asked = Question::new(self.name(), "read", key, version);
        let mut tries = self.tries(&asked);
        if range.is_empty() {
            asked.answer(tries.ask(|| self.look(object))).await?;
            return Ok(stream::empty().boxed());
        }
        let reading = Reading::open(Arc::clone(&self.backend), tries, object.clone(), range);
        let reading = asked.answer(reading).await?;
        Ok(parts(asked, reading, Arc::clone(&self.name)))
    }

    /// A page of what lies directly below `prefix`; the root is `""`. `token` is the `next` of the page before; `None` asks for the first.
    ///
    /// [`OriginError::NotFound`] where there is nothing, but an empty root is an empty page. Names that no key can spell
    /// are left out. [`OriginError::Unlisted`] where the server has no index.
    pub async fn list(&self, prefix: &str, token: Option<&str>) -> Result<Page, OriginError> {
        self.checked(prefix, check_prefix(prefix))?;
        Ok(self.ask("list", prefix, || self.backend.list(prefix, token)).await?.sorted())
    }

    /// Whether anything lies below `key`; the root always is one. Costs the origin one small question. `true` also where a server
    /// tells nothing of directories: a path must be walkable to reach a key that only [`head`](Self::head) can confirm.
    pub async fn is_directory(&self, key: &str) -> Result<bool, OriginError> {
        self.checked(key, check_prefix(key))?;
        if key.is_empty() {
            return Ok(true);
        }
        self.ask("is_directory", key, || self.backend.is_directory(key)).await
    }

    /// Whether [`is_directory`](Self::is_directory) is answered by a listing anyway, of which a page costs hardly more.
    pub fn tells_by_listing(&self) -> bool {
        self.backend.tells_by_listing()
    }

    /// JSON of a hub at `path` below its `/api/`, all pages of it as one, at most 32 MiB. Other origins have none:
    /// [`OriginError::NotFound`].
    pub async fn document(&self, path: &str) -> Result<Bytes, OriginError> {
        self.ask("document", path, || self.backend.document(path)).await
    }

    /// Whether all questions are answered from one known commit. Only a hub's repository may have to be pinned first; asked anything before
    /// it is, it resolves its revision by itself.
    pub fn pinned(&self) -> bool {
        self.backend.pinned()
    }

    /// The commit that a hub's revision means: the pinned one, else what it is now. [`OriginError::NotFound`] for origins that have none.
    pub async fn resolve(&self) -> Result<String, OriginError> {
        self.ask("resolve", "", || self.backend.resolve()).await
    }

    /// Answers from this commit from now on. What is named by a commit already stays there.
    pub fn pin(&self, commit: &str) {
        self.backend.pin(commit);
    }

    /// What this node was told by the origin itself (429, 503): others should be told to [`hold`](Self::hold).
    pub fn held(&self) -> watch::Receiver<Hold> {
        self.throttle.held()
    }

    /// Whether questions wait because the origin wants to be left alone, whoever was told so.
    pub fn is_held(&self) -> bool {
        self.throttle.is_held()
    }

    /// Asks the origin nothing new for so long: another node was told to leave it alone. Longer holds stay.
    pub fn hold(&self, left: Duration) {
        self.throttle.hold(left);
    }

    async fn ask<T, F>(&self, op: &'static str, key: &str, ask: impl FnMut() -> F) -> Result<T, OriginError>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let asked = Question::new(self.name(), op, key, "");
        asked.answer(self.tries(&asked).ask(ask)).await
    }

    fn tries(&self, asked: &Question) -> Tries {
        Tries::new(Arc::clone(&self.name), Arc::clone(&self.throttle), asked.end())
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
    async fn look(&self, object: &ObjectRef) -> Result<(), Fault> {
        let found = self.backend.head(&object.key).await?;
        if found.version == object.version && found.size == object.size { Ok(()) } else { Err(Fault::Changed) }
    }
}

fn parts(asked: Question, reading: Reading, origin: Arc<str>) -> Parts {
    stream::try_unfold((asked, reading, origin), |(asked, mut reading, origin)| async move {
        let Some(part) = asked.answer(reading.next()).await? else { return Ok(None) };
        ::metrics::counter!(metrics::BYTES, "origin" => origin.to_string()).increment(part.len() as u64);
        Ok(Some((part, (asked, reading, origin))))
    })
    .boxed()
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Origin({}={})", self.name, self.identity)
    }
}

#[cfg(test)]
mod tests;
