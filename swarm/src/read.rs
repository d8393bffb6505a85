//! Ranges: from this node's disk where it has them, else chunk by chunk from elsewhere.

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use futures_util::stream;
use herring_blob::{ByteRange, ContentId};
use herring_store::{Entry, ReadError as StoreError};
use tokio::time::{Instant, sleep};

use crate::ahead::Ahead;
use crate::config::OUTAGE_PAUSE;
use crate::fetch::Role;
use crate::proof::Checking;
use crate::{Content, ReadError, Source, Swarm};

/// Bytes of one piece of a stream: `pread` of 1 MiB at a time is as fast as more, and a slow client holds only this much.
const PIECE: u64 = 1 << 20;

/// Where a stream is.
struct Cursor {
    left: ByteRange,
    ahead: Ahead,
    /// Whether it was let in: then it is served to its end.
    begun: bool,
}

impl Cursor {
    fn new(content: &Content, range: ByteRange) -> Self {
        Self { left: range.clamp_to(content.size()), ahead: Ahead::default(), begun: false }
    }
}

impl Swarm {
    /// Fills `buffer` with the bytes from `offset` if that takes no waiting: on this node's disk, verified, and in the page cache.
    /// Where it cannot, the buffer holds anything.
    pub fn read_into_now(&self, content: &Content, offset: u64, buffer: &mut [u8]) -> bool {
        let Some(entry) = self.noted(content, ByteRange::at(offset, buffer.len() as u64)) else { return false };
        self.is_shown(content) && entry.read_into_now(offset, buffer)
    }

    /// The same from this node's disk, which it waits for: not for the runtime's threads. False where the disk lacks any of it.
    pub fn read_into_local(&self, content: &Content, offset: u64, buffer: &mut [u8]) -> bool {
        let range = ByteRange::at(offset, buffer.len() as u64);
        let Some(entry) = self.noted(content, range) else { return false };
        self.is_shown(content)
            && has_all(&entry, range)
            && entry.read_into(offset, buffer).inspect_err(|error| self.disk_failed(&content.id(), error)).is_ok()
    }

    /// The entry of something that is being read. Of something complete nothing need be sent for.
    fn noted(&self, content: &Content, range: ByteRange) -> Option<Entry> {
        self.trace(content, range);
        let entry = self.entry_with(content);
        if !entry.as_ref().is_some_and(Entry::is_complete) {
            self.note(content, range);
        }
        entry
    }

    /// The bytes of `range`, from wherever they are; held in memory whole, so a few MiB at a time.
    pub async fn read(&self, content: &Content, range: ByteRange) -> Result<Bytes, ReadError> {
        self.expect_shown(content).await?;
        let range = range.clamp_to(content.size());
        self.noted(content, range);
        if let Some(bytes) = self.read_local(content, range).await {
            return Ok(bytes);
        }
        let chunks = content.geometry().chunks_in(range);
        let mut whole = None::<BytesMut>;
        for chunk in chunks.clone() {
            let part = range.intersect(content.geometry().chunk_range(chunk));
            let bytes = self.read_part(content, chunk, part, chunks.end).await?;
            if chunks.len() == 1 {
                return Ok(bytes);
            }
            let length = usize::try_from(range.len()).unwrap_or(0);
            whole.get_or_insert_with(|| BytesMut::with_capacity(length)).extend_from_slice(&bytes);
        }
        Ok(whole.unwrap_or_default().freeze())
    }

    /// A part of one chunk, of a reader who wants all up to the chunk `until`.
    async fn read_part(&self, content: &Content, chunk: u32, part: ByteRange, until: u32) -> Result<Bytes, ReadError> {
        if let Some(bytes) = self.read_local(content, part).await {
            return Ok(bytes);
        }
        let within = content.geometry().within(chunk, part);
        match self.0.unkept.get(&(content.version(), chunk)) {
            Some(held) => Ok(held.slice(within)),
            None => {
                let _waiting = self.0.readers.wait();
                let began = Instant::now();
                loop {
                    match self.fetch_part(content, chunk, within.clone(), until).await {
                        Err(ReadError::Unavailable { .. }) if self.outage_may_be_over_soon(content, began) => {
                            sleep(OUTAGE_PAUSE).await
                        }
                        fetched => return fetched,
                    }
                }
            }
        }
    }

    /// Only readers wait for that: an owner says at once that the origin failed, since the next owner's way there may be well.
    fn outage_may_be_over_soon(&self, content: &Content, asking_since: Instant) -> bool {
        let Source::Object(object) = content.source() else { return false };
        self.0.health.origins.may_be_over_soon(&object.origin, asking_since, self.0.config.outage)
    }

    /// Refuses at once who would join too long a queue for memory, and can come again later. A mount's readers cannot: they wait, however
    /// many, as many as the kernel sends.
    fn expect_memory(&self, content: &Content, chunk: u32) -> Result<(), ReadError> {
        if !self.0.memory.is_crowded() && !self.0.peer_memory.is_crowded() {
            return Ok(());
        }
        let version = content.version();
        let role = if self.acts_as_owner(content, chunk) { Role::Owner } else { Role::Reader };
        let needs_none = || self.is_here(content, chunk) || self.0.chunks.has(&(version, chunk, role));
        if !self.memory_of(role).is_crowded() || needs_none() || self.0.unkept.get(&(version, chunk)).is_some() {
            return Ok(());
        }
        Err(ReadError::Overloaded { what: content.to_string(), waited_ms: 0 })
    }

    /// The bytes of `range` piece by piece, in order; ends after the first error. Where this node is overloaded that comes at once, and
    /// not any more once there was a piece.
    pub fn stream(&self, content: &Content, range: ByteRange) -> impl Stream<Item = Result<Bytes, ReadError>> + Send + use<> {
        let cursor = Cursor::new(content, range);
        stream::try_unfold(
            (self.clone(), content.clone(), cursor, None),
            |(swarm, content, mut cursor, mut checking)| async move {
                if !cursor.begun {
                    swarm.expect_shown(&content).await?;
                    let whole = cursor.left.len() == content.size() && swarm.is_by_word(&content);
                    checking = whole.then(|| Checking::of(content.size()));
                }
                let Some(mut piece) = swarm.next_piece(&content, &mut cursor).await? else { return Ok(None) };
                if let Some(checking) = &mut checking {
                    piece = swarm.check_piece(checking, &content, piece).await?;
                }
                Ok(Some((piece, (swarm, content, cursor, checking))))
            },
        )
    }

    /// The same of what may not be that blob.
    pub(crate) fn stream_unproven(
        &self,
        content: &Content,
        range: ByteRange,
    ) -> impl Stream<Item = Result<Bytes, ReadError>> + Send + use<> {
        // It waits for memory as a mount does: whoever reads was let in already.
        let cursor = Cursor { begun: true, ..Cursor::new(content, range) };
        stream::try_unfold((self.clone(), content.clone(), cursor), |(swarm, content, mut cursor)| async move {
            let piece = swarm.next_piece(&content, &mut cursor).await?;
            Ok(piece.map(|bytes| (bytes, (swarm, content, cursor))))
        })
    }

    /// A client that reads slowly holds no more than the piece it was given.
    async fn next_piece(&self, content: &Content, cursor: &mut Cursor) -> Result<Option<Bytes>, ReadError> {
        let Some(chunk) = content.geometry().chunk_at(cursor.left.start).filter(|_| !cursor.left.is_empty()) else {
            return Ok(None);
        };
        if !std::mem::replace(&mut cursor.begun, true) {
            self.expect_memory(content, chunk)?;
        }
        let whole = content.geometry().chunk_range(chunk);
        let piece = ByteRange::at(cursor.left.start, PIECE).intersect(cursor.left).intersect(whole);
        if !self.entry_with(content).as_ref().is_some_and(Entry::is_complete) {
            // All of the range is known to be wanted, and nothing beyond it.
            let rest = ByteRange::new(whole.end, cursor.left.end);
            cursor.ahead.aim(self, content, rest.intersect(ByteRange::at(whole.end, self.0.config.read_ahead)));
        }
        let until = content.geometry().chunks_in(cursor.left).end;
        self.trace(content, piece);
        let bytes = self.read_part(content, chunk, piece, until).await?;
        cursor.left.start = piece.end;
        Ok(Some(bytes))
    }

    /// What this node's disk has of `range`, if it has all of it. A disk that fails is as good as empty: others may have it.
    async fn read_local(&self, content: &Content, range: ByteRange) -> Option<Bytes> {
        // Without this look, each cold chunk would go to a blocking thread three times to hear that it is missing.
        let entry = self.entry_with(content).filter(|entry| has_all(entry, range))?;
        if let Some(bytes) = entry.read_now(range) {
            return Some(bytes);
        }
        entry.read(range).await.inspect_err(|error| self.disk_failed(&content.id(), error)).ok()
    }

    /// The disk did not give what it has. That a chunk is missing is everyday life.
    pub(crate) fn disk_failed(&self, id: &ContentId, error: &StoreError) {
        match error {
            StoreError::Missing { .. } => {}
            error => tracing::error!(%id, %error, "this node's disk cannot be read"),
        }
    }
}

fn has_all(entry: &Entry, range: ByteRange) -> bool {
    entry.geometry().chunks_in(range).all(|chunk| entry.has(chunk))
}
