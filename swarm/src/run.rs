//! One question to an origin for several chunks: those that lie side by side, belong to the same owner, and are wanted soon.
//!
//! Each of them is a flight of its own, with its own readers, memory and end. The flight that asks the origin claims those behind it, and the
//! bytes are handed round as they come; a flight whose bytes end early goes on by itself.

use std::ops::Range;

use bytes::Bytes;
use futures_util::StreamExt;
use herring_blob::{ByteRange, Geometry, MAX_CHUNK_SIZE, PieceCutter};
use herring_http_api::peer::{ChunkOf, ChunkRequest, Urge};
use herring_origin::{OriginError, Parts};
use herring_ring::Point;
use tokio::sync::mpsc;

use crate::config::SMALL_DEADLINE;
use crate::fetch::{Flight, Role, Want};
use crate::{Content, Source, Swarm};

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
    /// Who is to go on, and with what, once all of it is here.
    next: Option<Next>,
}

/// What follows a run, up to where its asker wants it.
struct Next {
    swarm: Swarm,
    content: Content,
    chunks: Range<u32>,
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
        let (swarm, content) = (self.swarm.clone(), self.content.clone());
        let chunks = end..self.want.until.min(geometry.chunk_count());
        let next = (self.role == Role::Owner && swarm.0.config.redirects).then_some(Next { swarm, content, chunks });
        (Run { geometry, chunk: self.chunk, feeds, next }, fed)
    }
}

impl Swarm {
    /// Begins the flights of these chunks, up to the first that is here or under way already, or for which there is no memory now; each waits
    /// for what its feed gets.
    fn claim(&self, content: &Content, chunks: Range<u32>, role: Role) -> Vec<mpsc::Sender<Fed>> {
        let geometry = content.geometry();
        let claim = |chunk| {
            let share =
                self.memory_of(role).take_now(geometry.chunk_range(chunk).len()).filter(|_| !self.is_here(content, chunk))?;
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
            self.hand_round(Run { geometry, chunk: 0, feeds, next: None }, parts, 0);
        }
    }

    /// In a task of its own. `parts` begins with piece `first` of the run's first chunk.
    pub(crate) fn hand_round(&self, run: Run, parts: Parts, first: u32) {
        let stop = self.0.stop.clone();
        self.0.tasks.spawn(async move { stop.run_until_cancelled(run.hand_round(parts, first)).await });
    }
}

impl Next {
    /// The owners of an object take turns with the origin, in front of those who read it in order: its link is never idle, each owner's is free for it, and
    /// what is wanted now does not share it with what is wanted later.
    fn begin(&self) {
        let Self { swarm, content, chunks } = self;
        let (Source::Object(object), false) = (content.source(), chunks.is_empty()) else { return };
        let (chunk, wanted) = (chunks.start, chunks.end - chunks.start);
        if swarm.is_here(content, chunk) {
            return;
        }
        if swarm.acts_as_owner(content, chunk) {
            swarm.launch(content, chunk, Want { first: 0, until: chunks.end }, Role::Owner);
            return;
        }
        let view = swarm.view();
        let owners = swarm.candidates(&view, Point::of_object_chunk(object, chunk)).owners;
        let Some(owner) = owners.into_iter().find(|one| swarm.is_well(&view, &one.id)) else { return };
        let of = ChunkOf::Object { object: object.clone(), chunk_size: content.geometry().chunk_size(), wanted };
        let (request, swarm) = (ChunkRequest { of, index: chunk, first: 0, urge: Urge::Begin }, swarm.clone());
        // Who does not hear it begins when the chunk is asked for.
        let tasks = swarm.0.tasks.clone();
        tasks.spawn(async move { swarm.0.peers.begin(owner.http, &request, &swarm.ask(&view, SMALL_DEADLINE)).await });
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
            let Some(feed) = feeds.next() else {
                self.next.iter().for_each(Next::begin);
                return;
            };
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
