//! One question for a chunk. Its pieces land as they come.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use herring_blob::{ByteRange, Chunk, ObjectRef, PieceCutter};
use herring_gossip::View;
use herring_http_api::client::{ChunkStream, PeerError};
use herring_http_api::peer::ChunkRequest;
use herring_origin::{Origin, OriginError};
use metrics::counter;

use crate::candidates::Candidate;
use crate::config::{CHUNK_DEADLINE, OBJECT_DEADLINE};
use crate::fetch::Flight;
use crate::memory::Share;
use crate::race::{Answer, Giver};
use crate::{Source, metrics as m};

/// Why a peer's answer is of no use.
enum Useless {
    Wire(PeerError),
    /// Bytes that are not what they should be.
    Lied(String),
}

impl From<PeerError> for Useless {
    fn from(error: PeerError) -> Self {
        Self::Wire(error)
    }
}

impl Flight {
    pub(crate) async fn ask(&self, view: &View, giver: Giver, patience: Duration, share: &Arc<Share>) -> Answer {
        match giver {
            Giver::Peer(peer) => self.ask_peer(view, peer, patience, share).await,
            Giver::Origin(object) => self.ask_origin(object, share).await,
        }
    }

    async fn ask_peer(&self, view: &View, peer: Candidate, patience: Duration, share: &Arc<Share>) -> Answer {
        let mut question = self.swarm.0.health.ask(&peer.id, patience);
        let no = |why: String, transient| Answer::No { whom: peer.id.to_string(), why, transient };
        let failed = |why| counter!(m::PEER_FAILURES, "why" => why).increment(1);
        match self.take_from(view, &peer, share).await {
            Ok(chunk) => {
                question.answered();
                fetched("peer", u64::from(chunk.len()));
                Answer::Chunk(chunk)
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
            Err(Useless::Wire(PeerError::Changed(_))) => Answer::Changed,
            Err(Useless::Wire(error)) => {
                question.failed();
                failed("unreachable");
                tracing::debug!(peer = %peer.id, content = %self.content, chunk = self.chunk, %error, "a peer did not give a chunk");
                no(error.to_string(), true)
            }
        }
    }

    /// The chunk from one peer; the pieces that came before a failure stay, and the next peer is asked for the others first.
    async fn take_from(&self, view: &View, peer: &Candidate, share: &Arc<Share>) -> Result<Chunk, Useless> {
        let (request, deadline) = self.request();
        let pieces = self.content.geometry().pieces(self.chunk);
        let (first, ask) = (self.pilot.first_missing(pieces), self.swarm.ask(view, deadline));
        let mut body = self.swarm.0.peers.chunk(peer.http, &request, pieces, first, &ask).await?;
        if self.content.digest(self.chunk).is_some_and(|digest| digest != body.digests().digest()) {
            return Err(Useless::Lied("another digest than the manifest's".into()));
        }
        if !self.pilot.expect(body.digests()) {
            return Err(PeerError::Broken("the origin itself gives it by now".into()).into());
        }
        self.land_all(&mut body, share).await
    }

    async fn land_all(&self, body: &mut ChunkStream, share: &Arc<Share>) -> Result<Chunk, Useless> {
        let digests = body.digests().clone();
        while let Some((index, bytes)) = body.next().await? {
            if !self.pilot.expects(&digests) {
                return Err(PeerError::Broken("somebody else's word replaced this one's".into()).into());
            }
            let landed =
                self.pilot.land(index, bytes, Some(&digests), share).map_err(|wrong| Useless::Lied(wrong.to_string()))?;
            if let Some(chunk) = landed {
                return Ok(chunk);
            }
        }
        Err(PeerError::Broken("the body ended before the chunk was whole".into()).into())
    }

    fn request(&self) -> (ChunkRequest, Duration) {
        match self.content.source() {
            Source::Blob(manifest) => (ChunkRequest::Blob { id: manifest.id(), index: self.chunk }, CHUNK_DEADLINE),
            Source::Object(object) => {
                let chunk_size = self.content.geometry().chunk_size();
                (ChunkRequest::Object { object: object.clone(), chunk_size, index: self.chunk }, OBJECT_DEADLINE)
            }
        }
    }

    async fn ask_origin(&self, object: ObjectRef, share: &Arc<Share>) -> Answer {
        let no = |why: String| Answer::No { whom: format!("origin {}", object.origin), why, transient: false };
        let origin = match self.swarm.origin(&object.origin) {
            Ok(origin) => origin,
            Err(error) => return no(error.to_string()),
        };
        match self.take_from_origin(origin, &object, share).await {
            Ok(Some(chunk)) => Answer::Chunk(chunk),
            Ok(None) => no("gave fewer bytes than it should".into()),
            // An object that was deleted changed as well: who opens it again is told that it is gone.
            Err(OriginError::Changed { .. } | OriginError::NotFound { .. }) => Answer::Changed,
            Err(error) => no(error.to_string()),
        }
    }

    /// The digests of an origin's chunk are computed here, and go with it from now on.
    async fn take_from_origin(
        &self,
        origin: &Origin,
        object: &ObjectRef,
        share: &Arc<Share>,
    ) -> Result<Option<Chunk>, OriginError> {
        let (whole, pieces) = (self.content.geometry().chunk_range(self.chunk), self.content.geometry().pieces(self.chunk));
        let first = self.pilot.expect_anything(pieces);
        let range = ByteRange::new(whole.start + u64::from(pieces.range(first).start), whole.end);
        let (mut body, mut cutter) = (origin.read(object, range).await?, PieceCutter::new(pieces, first));
        while let Some(bytes) = body.next().await {
            let mut bytes: Bytes = bytes?;
            fetched_bytes("origin", bytes.len() as u64);
            while let Some((index, piece)) = cutter.cut(&mut bytes) {
                if let Ok(Some(chunk)) = self.pilot.land(index, piece, None, share) {
                    counter!(m::CHUNKS_FETCHED, "from" => "origin").increment(1);
                    return Ok(Some(chunk));
                }
            }
        }
        Ok(None)
    }
}

fn fetched(from: &'static str, bytes: u64) {
    counter!(m::CHUNKS_FETCHED, "from" => from).increment(1);
    fetched_bytes(from, bytes);
}

fn fetched_bytes(from: &'static str, bytes: u64) {
    counter!(m::BYTES_FETCHED, "from" => from).increment(bytes);
}
