//! One question to an origin for several chunks: those that lie side by side, belong to the same owner, and are wanted soon.
//!
//! Each of them is a flight of its own, with its own readers, memory and end. The flight that asks the origin claims those behind it, and the
//! bytes are handed round as they come; a flight whose bytes end early goes on by itself.

use std::ops::Range;

use bytes::Bytes;
use futures_util::StreamExt;
use herring_blob::{ByteRange, Geometry, MAX_CHUNK_SIZE, PieceCutter};
use herring_origin::{OriginError, Parts};
use herring_ring::Point;
use tokio::sync::mpsc;

use crate::fetch::{Flight, Role};
use crate::{Content, Swarm};

/// Pieces that wait for one chunk's flight: 1 MiB of pieces of 256 KiB.
const WAITING: usize = 4;

/// A piece of a chunk with its index, or why no more come.
pub(crate) type Fed = Result<(u32, Bytes), OriginError>;

/// The pieces of one chunk out of a run, in order. Ends early where the question to the origin was given up.
pub(crate) type Feed = mpsc::Receiver<Fed>;

/// The chunks of a run from the one that asks on, each with the end of its feed.
pub(crate) struct Run {
    geometry: Geometry,
    chunk: u32,
    feeds: Vec<mpsc::Sender<Fed>>,
}

impl Flight {
    /// This flight's chunk and those behind it that its asker wants as well, that nobody has or brings, and that lie with the same owners.
    pub(crate) fn claim_run(&self) -> (Run, Feed) {
        let geometry = self.content.geometry();
        let (feed, fed) = mpsc::channel(WAITING);
        let mut feeds = vec![feed];
        let longest = MAX_CHUNK_SIZE / geometry.chunk_size();
        let end = Point::object_run(self.chunk).end.min(self.want.until).min(self.chunk.saturating_add(longest));
        feeds.extend(self.swarm.claim(&self.content, self.chunk + 1..end, self.role));
        (Run { geometry, chunk: self.chunk, feeds }, fed)
    }
}

impl Swarm {
    /// Begins the flights of these chunks, up to the first that is here or under way already, or for which there is no memory now; each waits
    /// for what its feed gets.
    fn claim(&self, content: &Content, chunks: Range<u32>, role: Role) -> Vec<mpsc::Sender<Fed>> {
        let geometry = content.geometry();
        // In this order: a flight that ends between the two looks has put its chunk there before.
        let comes = |chunk| self.brought_as_owner(content, chunk).is_some() || self.is_here(content, chunk);
        let claim = |chunk| {
            let share = self.memory_of(role).take_now(geometry.chunk_range(chunk).len()).filter(|_| !comes(chunk))?;
            let (feed, fed) = mpsc::channel(WAITING);
            self.begin_fed(content, chunk, role, fed, share).then_some(feed)
        };
        (chunks.start..chunks.end.min(geometry.chunk_count())).map_while(claim).collect()
    }

    /// Bytes of an object's first run.
    pub(crate) fn first_run(chunk_size: u64) -> u64 {
        (u64::from(Point::object_run(0).end) * chunk_size).min(MAX_CHUNK_SIZE.into())
    }

    /// The first `bytes` of an object, which came with the answer to what it is.
    pub(crate) fn receive_first(&self, content: &Content, bytes: u64, parts: Parts) {
        let geometry = content.geometry();
        let feeds = self.claim(content, geometry.chunks_in(ByteRange::new(0, bytes)), Role::Owner);
        if !feeds.is_empty() {
            self.hand_round(Run { geometry, chunk: 0, feeds }, parts, 0);
        }
    }

    /// In a task of its own. `parts` begins with piece `first` of the run's first chunk.
    pub(crate) fn hand_round(&self, run: Run, parts: Parts, first: u32) {
        let stop = self.0.stop.clone();
        self.0.tasks.spawn(async move { stop.run_until_cancelled(run.hand_round(parts, first)).await });
    }
}

impl Run {
    /// Where its bytes end.
    pub fn end(&self) -> u64 {
        let last = self.chunk + u32::try_from(self.feeds.len() - 1).unwrap_or(0);
        self.geometry.chunk_range(last).end
    }

    /// Hands `body` round, which begins with piece `first` of the first chunk. Ends when it does, or when nobody wants any more of it.
    async fn hand_round(self, mut body: Parts, mut first: u32) {
        let (mut part, mut feeds) = (Bytes::new(), self.feeds.into_iter());
        for chunk in self.chunk.. {
            let Some(feed) = feeds.next() else { return };
            let pieces = self.geometry.pieces(chunk);
            let (mut cutter, mut left) = (PieceCutter::new(pieces, first), pieces.count() - first);
            first = 0;
            while left > 0 {
                if let Some(piece) = cutter.cut(&mut part) {
                    left -= 1;
                    // Who has got the chunk elsewhere takes no more; those behind it may still want theirs.
                    let _ = feed.send(Ok(piece)).await;
                    continue;
                }
                if feed.is_closed() && feeds.as_slice().iter().all(mpsc::Sender::is_closed) {
                    return;
                }
                match body.next().await {
                    Some(Ok(bytes)) => part = bytes,
                    Some(Err(error)) => {
                        let _ = feed.send(Err(error)).await;
                        return;
                    }
                    None => return,
                }
            }
        }
    }
}
