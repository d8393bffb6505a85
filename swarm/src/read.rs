//! Ranges: from this node's disk where it has them, else chunk by chunk from elsewhere.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use futures_util::stream;
use herring_blob::ByteRange;
use herring_store::ReadError as StoreError;

use crate::{Content, ReadError, Swarm};

/// Bytes of one piece of a stream: `pread` of 1 MiB at a time is as fast as more, and a slow client holds only this much.
const PIECE: u64 = 1 << 20;

/// Where a stream is.
struct Cursor {
    left: ByteRange,
    /// A chunk that came from elsewhere and could not be kept: its pieces are served from memory.
    held: Option<(u32, Bytes)>,
    /// The chunks of the range behind the one that is being read.
    sent_for: Range<u32>,
}

impl Swarm {
    /// The bytes of `range` if that takes no waiting: on this node's disk, verified, and in the page cache.
    pub fn read_now(&self, content: &Content, range: ByteRange) -> Option<Bytes> {
        let range = range.clamp_to(content.size());
        let entry = self.0.store.get(&content.id())?;
        let chunk = content.geometry().chunk_at(range.start)?;
        // A step into the next chunk of what is not all here is the moment to send for more, which is not done from here.
        if content.is_step(chunk) && !entry.is_complete() {
            return None;
        }
        entry.read_now(range)
    }

    /// The bytes of `range`, from wherever they are; held in memory whole, so a few MiB at a time.
    pub async fn read(&self, content: &Content, range: ByteRange) -> Result<Bytes, ReadError> {
        let range = range.clamp_to(content.size());
        let chunks = content.geometry().chunks_in(range);
        if chunks.clone().any(|chunk| content.note_read(chunk)) {
            self.read_ahead(content, chunks.end..content.geometry().chunk_count());
        }
        if let Some(bytes) = self.read_local(content, range).await {
            return Ok(bytes);
        }
        let mut whole = None::<BytesMut>;
        for chunk in chunks.clone() {
            let part = range.intersect(content.geometry().chunk_range(chunk));
            let bytes = self.read_part(content, chunk, part).await?;
            if chunks.len() == 1 {
                return Ok(bytes);
            }
            whole.get_or_insert_with(|| BytesMut::with_capacity(length(range))).extend_from_slice(&bytes);
        }
        Ok(whole.unwrap_or_default().freeze())
    }

    /// The bytes of `range` piece by piece, in order; ends after the first error.
    pub fn stream(&self, content: &Content, range: ByteRange) -> impl Stream<Item = Result<Bytes, ReadError>> + Send + use<> {
        let cursor = Cursor { left: range.clamp_to(content.size()), held: None, sent_for: content.geometry().chunks_in(range) };
        stream::try_unfold((self.clone(), content.clone(), cursor), |(swarm, content, mut cursor)| async move {
            let piece = swarm.next_piece(&content, &mut cursor).await?;
            Ok(piece.map(|bytes| (bytes, (swarm, content, cursor))))
        })
    }

    async fn next_piece(&self, content: &Content, cursor: &mut Cursor) -> Result<Option<Bytes>, ReadError> {
        if cursor.left.is_empty() {
            return Ok(None);
        }
        let Some(chunk) = content.geometry().chunk_at(cursor.left.start) else { return Ok(None) };
        let whole = content.geometry().chunk_range(chunk);
        let piece = ByteRange::at(cursor.left.start, PIECE).intersect(cursor.left).intersect(whole);
        let bytes = match &cursor.held {
            Some((held, bytes)) if *held == chunk => copy(bytes, whole, piece),
            _ => {
                // Given back before the next is waited for, or slow streams would wait for each other's memory.
                cursor.held = None;
                if cursor.sent_for.start <= chunk {
                    // Nothing is sent for beyond the range: all of it is known to be wanted, and no more.
                    cursor.sent_for.start = chunk + 1;
                    self.read_ahead(content, cursor.sent_for.clone());
                }
                self.first_piece(content, chunk, piece, cursor).await?
            }
        };
        cursor.left.start = piece.end;
        Ok(Some(bytes))
    }

    /// A piece of a chunk from this node's disk; where the disk lacks the chunk, and has no room to keep it, the chunk stays in memory
    /// for the pieces to come. A client that reads slowly holds no more than the piece it was given.
    async fn first_piece(
        &self,
        content: &Content,
        chunk: u32,
        piece: ByteRange,
        cursor: &mut Cursor,
    ) -> Result<Bytes, ReadError> {
        if let Some(bytes) = self.read_local(content, piece).await {
            return Ok(bytes);
        }
        let whole = content.geometry().chunk_range(chunk);
        let bytes = self.fetch(content, chunk).await?;
        let first = copy(&bytes, whole, piece);
        let kept = self.0.store.get(&content.id()).is_some_and(|entry| entry.has(chunk));
        cursor.held = (!kept && piece.end < whole.end).then_some((chunk, bytes));
        Ok(first)
    }

    /// A part of one chunk.
    async fn read_part(&self, content: &Content, chunk: u32, part: ByteRange) -> Result<Bytes, ReadError> {
        if let Some(bytes) = self.read_local(content, part).await {
            return Ok(bytes);
        }
        let bytes = self.fetch(content, chunk).await?;
        Ok(slice(&bytes, content.geometry().chunk_range(chunk), part))
    }

    /// What this node's disk has of `range`, if it has all of it. A disk that fails is as good as empty: others may have it.
    pub(crate) async fn read_local(&self, content: &Content, range: ByteRange) -> Option<Bytes> {
        let entry = self.0.store.get(&content.id())?;
        // Without this look, each cold chunk would go to a blocking thread three times to hear that it is missing.
        if !entry.geometry().chunks_in(range).all(|chunk| entry.has(chunk)) {
            return None;
        }
        if let Some(bytes) = entry.read_now(range) {
            return Some(bytes);
        }
        match entry.read(range).await {
            Ok(bytes) => Some(bytes),
            Err(StoreError::Missing { .. }) => None,
            Err(error) => {
                tracing::error!(%content, %range, %error, "this node's disk cannot be read");
                None
            }
        }
    }

    /// Sends for the first of the chunks `ahead` that are not here: unless the disk has no room to keep them until they are wanted, or
    /// the memory they would wait for is wanted by readers.
    fn read_ahead(&self, content: &Content, ahead: Range<u32>) {
        let config = &self.0.config;
        let entry = self.0.store.get(&content.id());
        if ahead.is_empty() || entry.as_ref().is_some_and(herring_store::Entry::is_complete) {
            return;
        }
        let usage = self.0.store.usage();
        let window = u64::from(config.read_ahead) * u64::from(config.chunk_size);
        if usage.bytes.saturating_add(window) > usage.capacity || !self.0.memory.is_half_free() {
            return;
        }
        let last = ahead.end.min(ahead.start.saturating_add(config.read_ahead));
        for next in (ahead.start..last).filter(|next| !entry.as_ref().is_some_and(|entry| entry.has(*next))) {
            self.fetch_ahead(content, next);
        }
    }
}

/// `part` out of the bytes of `whole`, copied (0.1 ms for a MiB), so that it does not hold the memory of all.
fn copy(bytes: &Bytes, whole: ByteRange, part: ByteRange) -> Bytes {
    Bytes::copy_from_slice(&slice(bytes, whole, part))
}

/// `part` out of the bytes of `whole`, without a copy.
fn slice(bytes: &Bytes, whole: ByteRange, part: ByteRange) -> Bytes {
    let offset = |at: u64| usize::try_from(at - whole.start).unwrap_or(usize::MAX).min(bytes.len());
    bytes.slice(offset(part.start)..offset(part.end))
}

fn length(range: ByteRange) -> usize {
    usize::try_from(range.len()).unwrap_or(0)
}
