//! One question for a chunk. Its pieces land as they come.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use herring_blob::{ByteRange, Chunk, ObjectRef, PieceDigests};
use herring_gossip::View;
use herring_http_api::client::{ChunkStream, PeerError};
use herring_http_api::peer::{ChunkOf, ChunkRequest, Urge};
use herring_origin::{Origin, OriginError};
use metrics::counter;

use crate::candidates::Candidate;
use crate::config::{CHUNK_DEADLINE, OBJECT_DEADLINE};
use crate::fetch::{Flight, Role};
use crate::givers::Giver;
use crate::health::Question;
use crate::landing::Word;
use crate::memory::Share;
use crate::race::Answer;
use crate::run::Feed;
use crate::{Source, metrics as m};

/// Why a peer's answer is of no use.
enum Useless {
    Wire(PeerError),
    /// Others' word counts by now.
    Superseded,
    /// Bytes that are not what they should be.
    Lied(String),
}

impl From<PeerError> for Useless {
    fn from(error: PeerError) -> Self {
        Self::Wire(error)
    }
}

/// How a peer is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// For the first time.
    First,
    /// After it was silent.
    Again,
    /// After those whom it named did not give it.
    Insisting,
    /// As one whom a busy one named.
    Named,
    /// Only for what it has.
    Held,
}

impl Asked {
    fn urge(self) -> Urge {
        match self {
            Self::First | Self::Again => Urge::Any,
            Self::Insisting => Urge::Insist,
            Self::Named => Urge::Named,
            Self::Held => Urge::Held,
        }
    }
}

impl Flight {
    pub(crate) async fn ask(&self, view: &View, giver: Giver, patience: Duration, share: &Arc<Share>) -> Answer {
        match giver {
            Giver::Run(feed) => self.ask_run(feed, share).await,
            Giver::Peer(peer) => self.ask_peer(view, peer, Asked::First, patience, share).await,
            Giver::Again(peer) => self.ask_peer(view, peer, Asked::Again, patience, share).await,
            Giver::Insist(peer) => self.ask_peer(view, peer, Asked::Insisting, patience, share).await,
            Giver::Named(peer) => self.ask_peer(view, peer, Asked::Named, patience, share).await,
            Giver::Holder(peer) | Giver::Former(peer) => self.ask_peer(view, peer, Asked::Held, patience, share).await,
            Giver::Origin(object) => self.ask_origin(object, share).await,
        }
    }

    async fn ask_peer(&self, view: &View, peer: Candidate, asked: Asked, patience: Duration, share: &Arc<Share>) -> Answer {
        let mut question = self.swarm.0.health.ask(&peer.id, patience);
        let no = |why: String, transient| Answer::No { whom: peer.id.to_string(), why, transient };
        let failed = |why| counter!(m::PEER_FAILURES, "why" => why).increment(1);
        match self.take_from(view, &peer, asked, share, &mut question).await {
            Ok(chunk) => {
                question.answered();
                fetched("peer", u64::from(chunk.len()));
                Answer::Chunk(chunk)
            }
            Err(Useless::Superseded) => {
                question.given_up();
                no("the origin itself gives it by now".to_owned(), true)
            }
            Err(Useless::Lied(why)) => {
                question.failed();
                failed("lied");
                tracing::warn!(peer = %peer.id, content = %self.content, chunk = self.chunk, why, "a peer sent wrong bytes");
                no(format!("sent wrong bytes: {why}"), false)
            }
            Err(Useless::Wire(PeerError::NotFound)) => {
                question.answered();
                failed("missing");
                no(PeerError::NotFound.to_string(), false)
            }
            Err(Useless::Wire(PeerError::Busy { holders })) => {
                question.given_up();
                // Who does not give it in turn either is not asked over and over: the next round is after a pause.
                Answer::Busy { peer, holders, named: matches!(asked, Asked::Named | Asked::Insisting) }
            }
            Err(Useless::Wire(PeerError::Changed(_))) => {
                question.answered();
                Answer::Changed
            }
            // It is well; those whom it asked are not.
            Err(Useless::Wire(PeerError::Refused { status: 502, detail })) => {
                question.answered();
                no(format!("could not get it: {detail}"), false)
            }
            Err(Useless::Wire(error @ (PeerError::Connect(_) | PeerError::TimedOut(_) | PeerError::Broken(_))))
                if asked == Asked::First && matches!(self.content.source(), Source::Object(_)) =>
            {
                question.given_up();
                failed("silent");
                Answer::Silent { why: error.to_string(), peer }
            }
            Err(Useless::Wire(error)) => {
                match error {
                    PeerError::TimedOut(_) | PeerError::Refused { status: 503, .. } => question.ran_out(),
                    _ => question.failed(),
                }
                failed("unreachable");
                tracing::debug!(peer = %peer.id, content = %self.content, chunk = self.chunk, %error, "a peer did not give a chunk");
                no(error.to_string(), true)
            }
        }
    }

    /// The chunk from one peer; the pieces that came before a failure stay, and the next peer is asked for the others first.
    async fn take_from(
        &self,
        view: &View,
        peer: &Candidate,
        asked: Asked,
        share: &Arc<Share>,
        question: &mut Question<'_>,
    ) -> Result<Chunk, Useless> {
        let mut asking = self.pilot.asking(&peer.id);
        let pieces = self.content.geometry().pieces(self.chunk);
        let (request, patience, deadline) = self.request(asked, self.pilot.first_missing(pieces));
        let mut ask = self.swarm.ask(view, deadline);
        ask.asker.background = !self.pilot.is_awaited();
        let asked_at = Instant::now();
        let mut body = self.swarm.0.peers.chunk(peer.http, &request, pieces, patience, &ask).await?;
        self.swarm.0.health.began(asked_at.elapsed());
        if let Some(load) = body.load() {
            question.told(load);
        }
        match body.is_here() {
            true => question.began(asked_at.elapsed()),
            false => {
                asking.waits();
                question.waits();
            }
        }
        self.land_all(&mut body, share, question).await
    }

    /// What the peer says that its pieces are, before the first of them.
    fn believe(&self, digests: Option<&PieceDigests>) -> Result<(), Useless> {
        let wanted = self.content.digest(self.chunk);
        match digests {
            Some(digests) if wanted.is_some_and(|wanted| wanted != digests.digest()) => {
                Err(Useless::Lied("another digest than the manifest's".into()))
            }
            None if wanted.is_some() => Err(Useless::Lied("pieces on its word alone".into())),
            Some(digests) if !self.pilot.expect(digests) => Err(Useless::Superseded),
            Some(_) => Ok(()),
            None => {
                self.pilot.expect_told(self.content.geometry().pieces(self.chunk));
                Ok(())
            }
        }
    }

    async fn land_all(&self, body: &mut ChunkStream, share: &Arc<Share>, question: &mut Question<'_>) -> Result<Chunk, Useless> {
        let pieces = self.content.geometry().pieces(self.chunk);
        let (mut digests, mut believed, mut heard) = (None, false, Instant::now());
        while let Some(piece) = body.next().await? {
            let gap = std::mem::replace(&mut heard, Instant::now()).elapsed();
            match body.is_here() {
                true => question.piece(gap),
                false => question.alive(),
            }
            if !std::mem::replace(&mut believed, true) {
                digests = body.digests().cloned();
                self.believe(digests.as_ref())?;
            }
            let word = match (&digests, piece.digest) {
                (Some(digests), _) => Word::Digests(digests),
                (None, Some(digest)) => Word::Told(digest),
                (None, None) => return Err(Useless::Lied("a piece without its digest".into())),
            };
            if digests.is_some() && self.pilot.is_from_origin() {
                return Err(Useless::Superseded);
            }
            let landed = self
                .pilot
                .land(pieces, piece.index, piece.bytes, word, share)
                .map_err(|wrong| Useless::Lied(wrong.to_string()))?;
            if let Some(chunk) = landed {
                return Ok(chunk);
            }
        }
        Err(PeerError::Broken("the body ended before the chunk was whole".into()).into())
    }

    /// The question, how long the peer may take to begin its answer, and how long for all of it.
    fn request(&self, asked: Asked, first: u32) -> (ChunkRequest, Duration, Duration) {
        let (of, patience, deadline) = match self.content.source() {
            Source::Blob(manifest) => (ChunkOf::Blob(manifest.id()), CHUNK_DEADLINE, CHUNK_DEADLINE),
            Source::Object(object) => {
                let (object, chunk_size) = (object.clone(), self.content.geometry().chunk_size());
                let wanted = self.want.until.saturating_sub(self.chunk).max(1);
                let identity =
                    self.swarm.origin(&object.origin).map_or_else(|_| String::new(), |origin| origin.identity().to_owned());
                (ChunkOf::Object { object, identity, chunk_size, wanted }, self.swarm.owner_patience(), OBJECT_DEADLINE)
            }
        };
        (ChunkRequest { of, index: self.chunk, first, urge: asked.urge() }, patience, deadline)
    }

    /// The digests of an origin's chunk are computed here, and go with it from now on.
    async fn ask_origin(&self, object: ObjectRef, share: &Arc<Share>) -> Answer {
        if let Some(chunk) = self.brought_meanwhile().await {
            return Answer::Chunk(chunk);
        }
        let origin = match self.swarm.ready_origin(&object.origin).await {
            Ok(origin) => origin,
            Err(error) => return self.not_from_origin(error),
        };
        match self.question(origin, &object).await {
            Ok(feed) => self.land_fed(&object, feed, share).await,
            Err(error) => self.origin_error(&object, error),
        }
    }

    /// What came while others were asked, or comes to this node as an owner: the origin is not to give it twice.
    async fn brought_meanwhile(&self) -> Option<Chunk> {
        if self.role == Role::Reader
            && let Some(landing) = self.swarm.brought_as_owner(&self.content, self.chunk)
            && let Ok(held) = landing.whole().await
        {
            return Some(held.chunk());
        }
        self.swarm.chunk_here(&self.content, self.chunk).await
    }

    /// Asks the origin for this chunk and those of its run, which are handed round by a task of their own.
    async fn question(&self, origin: &Origin, object: &ObjectRef) -> Result<Feed, OriginError> {
        let (whole, pieces) = (self.content.geometry().chunk_range(self.chunk), self.content.geometry().pieces(self.chunk));
        let first = self.pilot.first_of_origin(pieces);
        let claimed = self.run.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (run, feed) = claimed.unwrap_or_else(|| self.claim_run());
        let range = ByteRange::new(whole.start + u64::from(pieces.range(first).start), run.end());
        let body = origin.read(object, range).await?;
        self.swarm.hand_round(run, body, first);
        Ok(feed)
    }

    /// What another flight asked the origin for.
    async fn ask_run(&self, feed: Feed, share: &Arc<Share>) -> Answer {
        let Source::Object(object) = self.content.source() else { return self.not_from_origin("gives no blobs") };
        self.land_fed(object, feed, share).await
    }

    async fn land_fed(&self, object: &ObjectRef, mut feed: Feed, share: &Arc<Share>) -> Answer {
        let pieces = self.content.geometry().pieces(self.chunk);
        let acting = self.swarm.acts_as_owner(&self.content, self.chunk);
        while let Some(fed) = feed.recv().await {
            let (index, bytes): (u32, Bytes) = match fed {
                Ok(piece) => piece,
                Err(error) => return self.origin_error(object, error),
            };
            fetched_bytes("origin", bytes.len() as u64);
            if acting {
                counter!(m::ORIGIN_UNIQUE, "origin" => object.origin.clone()).increment(bytes.len() as u64);
            }
            if let Ok(Some(chunk)) = self.pilot.land(pieces, index, bytes, Word::Origin, share) {
                counter!(m::CHUNKS_FETCHED, "from" => "origin").increment(1);
                self.swarm.0.health.origins.answered(&object.origin, Duration::ZERO);
                return Answer::Chunk(chunk);
            }
        }
        self.not_from_origin("gave fewer bytes than it should")
    }

    /// An object that was deleted changed as well: who opens it again is told that it is gone.
    fn origin_error(&self, object: &ObjectRef, error: OriginError) -> Answer {
        match error {
            OriginError::Changed { .. } | OriginError::NotFound { .. } => Answer::Changed,
            OriginError::Unavailable { .. } | OriginError::Throttled { .. } | OriginError::TimedOut { .. } => {
                self.swarm.0.health.origins.failed(&object.origin);
                self.not_from_origin(error)
            }
            OriginError::Denied { .. } => Answer::Denied { whom: format!("origin {}", object.origin), why: error.to_string() },
            // One bad answer does not make a bad origin.
            error => self.not_from_origin(error),
        }
    }

    fn not_from_origin(&self, why: impl ToString) -> Answer {
        let whom = match self.content.source() {
            Source::Object(object) => format!("origin {}", object.origin),
            Source::Blob(_) => "no origin".to_owned(),
        };
        Answer::No { whom, why: why.to_string(), transient: false }
    }
}

fn fetched(from: &'static str, bytes: u64) {
    counter!(m::CHUNKS_FETCHED, "from" => from).increment(1);
    fetched_bytes(from, bytes);
}

fn fetched_bytes(from: &'static str, bytes: u64) {
    counter!(m::BYTES_FETCHED, "from" => from).increment(bytes);
}
