//! One question to an origin for several chunks: those that lie side by side, belong to the same owner, and are wanted soon.
//!
//! Each of them is a flight of its own, with its own readers, memory and end. The flight that asks the origin claims those behind it, and the
//! bytes are handed round as they come; a flight whose bytes end early goes on by itself.

use bytes::Bytes;
use futures_util::StreamExt;
use herring_blob::{Geometry, MAX_CHUNK_SIZE, PieceCutter};
use herring_origin::{OriginError, Parts};
use herring_ring::Point;
use tokio::sync::mpsc;

use crate::fetch::{Flight, Want};

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
        let mut run = Run { geometry, chunk: self.chunk, feeds: vec![feed] };
        let longest = MAX_CHUNK_SIZE / geometry.chunk_size();
        let end = Point::object_run(self.chunk).end.min(self.want.until).min(geometry.chunk_count());
        let end = end.min(self.chunk.saturating_add(longest));
        for chunk in self.chunk + 1..end {
            let (feed, fed) = mpsc::channel(WAITING);
            let want = Want { first: 0, until: chunk + 1 };
            if self.swarm.is_here(&self.content, chunk) || !self.swarm.begin(&self.content, chunk, want, self.role, Some(fed)) {
                break;
            }
            run.feeds.push(feed);
        }
        (run, fed)
    }
}

impl Run {
    /// Where its bytes end.
    pub fn end(&self) -> u64 {
        let last = self.chunk + u32::try_from(self.feeds.len() - 1).unwrap_or(0);
        self.geometry.chunk_range(last).end
    }

    /// Hands `body` round, which begins with piece `first` of the first chunk. Ends when it does, or when nobody wants any more of it.
    pub async fn hand_round(self, mut body: Parts, mut first: u32) {
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
