use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::Fuse;
use herring_http_api::ByteStream;

use crate::PutError;
use crate::config::MEMORY_DEADLINE;
use crate::memory::{Memory, Share};

/// Cuts a body into chunks, each of which holds its share of memory until its last clone is dropped.
pub(crate) struct Cutter {
    /// Fused: its end is looked for once more after it was met.
    body: Fuse<ByteStream>,
    /// What came behind the end of the last chunk.
    rest: Bytes,
    chunk_size: usize,
    memory: Memory,
    /// It has cut a chunk: then the put is served to its end.
    begun: bool,
}

/// A chunk as it was cut.
#[derive(Debug)]
pub(crate) struct Cut {
    pub bytes: Bytes,
    /// Whether the body ends with it.
    pub last: bool,
}

impl Cutter {
    pub fn new(body: ByteStream, chunk_size: u32, memory: Memory) -> Self {
        let chunk_size = usize::try_from(chunk_size).unwrap_or(usize::MAX);
        Self { body: body.fuse(), rest: Bytes::new(), chunk_size, memory, begun: false }
    }

    /// The next chunk; `None` where the body has ended. Reads a little further, to know whether it is the last.
    pub async fn next(&mut self) -> Result<Option<Cut>, PutError> {
        if self.rest.is_empty() && !self.more().await? {
            return Ok(None);
        }
        if !std::mem::replace(&mut self.begun, true) && self.memory.is_crowded() {
            return Err(PutError::Overloaded { waited_ms: 0 });
        }
        let overloaded = |_| PutError::Overloaded { waited_ms: MEMORY_DEADLINE.as_millis() };
        let share = self.memory.take(self.chunk_size as u64, MEMORY_DEADLINE).await.map_err(overloaded)?;
        let mut chunk = BytesMut::with_capacity(self.chunk_size);
        let mut ended = false;
        while !ended && chunk.len() < self.chunk_size {
            let take = self.rest.len().min(self.chunk_size - chunk.len());
            chunk.extend_from_slice(&self.rest.split_to(take));
            ended = self.rest.is_empty() && !self.more().await?;
        }
        Ok(Some(Cut { bytes: Share::hold(&share, chunk.freeze()), last: ended }))
    }

    /// Reads the next piece that is not empty; false at the end of the body.
    async fn more(&mut self) -> Result<bool, PutError> {
        while self.rest.is_empty() {
            match self.body.next().await {
                Some(piece) => self.rest = piece.map_err(PutError::Body)?,
                None => return Ok(false),
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use proptest::prelude::*;

    use super::*;

    async fn cut(pieces: Vec<Vec<u8>>, chunk_size: u32) -> Vec<(Vec<u8>, bool)> {
        let body: ByteStream = Box::pin(stream::iter(pieces.into_iter().map(|piece| Ok(Bytes::from(piece)))));
        let mut cutter = Cutter::new(body, chunk_size, Memory::new(1 << 20));
        let mut cuts = Vec::new();
        while let Some(cut) = cutter.next().await.unwrap() {
            cuts.push((cut.bytes.to_vec(), cut.last));
        }
        cuts
    }

    proptest! {
        #[test]
        fn however_the_body_arrives_the_chunks_are_the_same(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..20), chunk_size in 1u32..17) {
            let whole: Vec<u8> = pieces.concat();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let cuts = runtime.block_on(cut(pieces, chunk_size));
            let expected: Vec<Vec<u8>> = whole.chunks(chunk_size as usize).map(<[u8]>::to_vec).collect();
            let count = expected.len();
            prop_assert_eq!(cuts.iter().map(|cut| cut.0.clone()).collect::<Vec<_>>(), expected);
            prop_assert!(cuts.iter().enumerate().all(|(at, cut)| cut.1 == (at + 1 == count)));
        }
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_an_error() {
        let pieces = [Ok(Bytes::from_static(b"abc")), Err(std::io::Error::other("gone"))];
        let mut cutter = Cutter::new(Box::pin(stream::iter(pieces)), 8, Memory::new(1 << 20));
        assert!(matches!(cutter.next().await, Err(PutError::Body(_))));
    }
}
