//! One chunk from elsewhere: the flight that brings it, and keeping what it brought. Who is asked is `race.rs`.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use herring_blob::{Chunk, ContentId};
use herring_ring::Point;
use herring_store::{Description, Entry, WriteError};
use tokio::time::{sleep, timeout};

use crate::config::{AGAIN, FETCH_DEADLINE, MEMORY_DEADLINE};
use crate::flight::Listed;
use crate::landing::{Held, Landing, Pilot};
use crate::memory::{Memory, Share};
use crate::open::MISSING;
use crate::run::{Feed, Run};
use crate::{Content, ReadError, Source, Swarm, Tried};

/// What is said of a node whose copy was dropped.
pub(crate) const ROTTEN: &str = "had a rotten copy, which was dropped";

/// As what this node fetches a chunk. Flights of the two are apart: what an owner brings for others must not wait for what others bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    /// For readers of this node: owners are asked, then the origin.
    Reader,
    /// As the chunk's owner, who asks the origin on behalf of all and no other owner.
    Owner,
}

/// What a flight is of.
pub(crate) type Key = (Version, u32, Role);

/// What chunks are of: the id, and which of the manifests that somebody may give to it.
pub(crate) type Version = (ContentId, u128);

/// One chunk being brought here.
pub(crate) struct Flight {
    pub swarm: Swarm,
    pub content: Content,
    pub chunk: u32,
    pub want: Want,
    pub role: Role,
    pub pilot: Pilot,
    /// What another flight brings of it, and the memory for it: one that waited for memory while it is fed would hold up those behind it.
    pub fed: Mutex<Option<(Feed, Arc<Share>)>>,
    /// What this one is to ask the origin for.
    pub run: Mutex<Option<(Run, Feed)>>,
}

/// What the first asker of a chunk wants of it, and behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Want {
    /// The piece that is wanted first.
    pub first: u32,
    /// The chunk behind the last that is wanted soon.
    pub until: u32,
}

impl Swarm {
    /// The bytes of `range` of a chunk from elsewhere, as soon as the pieces that hold them are here and verified. Many callers
    /// make one flight.
    ///
    /// `until`: the chunk behind the last that the reader will want soon.
    pub(crate) async fn fetch_part(
        &self,
        content: &Content,
        chunk: u32,
        range: std::ops::Range<u32>,
        until: u32,
    ) -> Result<Bytes, ReadError> {
        let first = content.geometry().pieces(chunk).covering(range.clone()).start;
        if !self.acts_as_owner(content, chunk)
            && let Some(landing) = self.brought_as_owner(content, chunk)
            && let Ok(bytes) = landing.slice(range.clone()).await
        {
            return Ok(bytes);
        }
        let want = Want { first, until };
        match self.launch(content, chunk, want, Role::Reader).slice(range.clone()).await {
            Err(error @ (ReadError::Unavailable { .. } | ReadError::Denied { .. })) => {
                match self.ask_other_owners(content, chunk, want) {
                    Some(landing) => landing.slice(range).await,
                    None => Err(error),
                }
            }
            part => part,
        }
    }

    /// Where this node is the owner that was to bring a chunk, and did not get it: the other owners are asked, whose way to the origin may be open, and who may
    /// have credentials that this one lacks.
    pub(crate) fn ask_other_owners(&self, content: &Content, chunk: u32, want: Want) -> Option<Arc<Landing>> {
        let begin = |listed| self.flight(content, chunk, want, Role::Reader, None, listed);
        self.acts_as_owner(content, chunk).then(|| self.0.chunks.launch((content.version(), chunk, Role::Reader), begin))
    }

    /// What this node brings of an object as the chunk's owner, though it may not be the first of them: that waits for the origin and for no other
    /// owner, so this node's readers can wait for it. Where it fails, other owners may still give the chunk.
    pub(crate) fn brought_as_owner(&self, content: &Content, chunk: u32) -> Option<Arc<Landing>> {
        let is_object = matches!(content.source(), Source::Object(_));
        is_object.then(|| self.0.chunks.running(&(content.version(), chunk, Role::Owner)))?
    }

    /// All of a chunk from elsewhere, kept on the disk where that has room.
    pub(crate) async fn fetch(&self, content: &Content, chunk: u32) -> Result<Held, ReadError> {
        self.launch(content, chunk, Want { first: 0, until: chunk + 1 }, Role::Reader).whole().await
    }

    /// The flight of a chunk: begun where none is under way.
    pub(crate) fn launch(&self, content: &Content, chunk: u32, want: Want, role: Role) -> Arc<Landing> {
        let role = if self.acts_as_owner(content, chunk) { Role::Owner } else { role };
        self.0.chunks.launch((content.version(), chunk, role), |listed| self.flight(content, chunk, want, role, None, listed))
    }

    /// Begins the flight of a chunk that is fed by another. False where one is under way.
    pub(crate) fn begin_fed(&self, content: &Content, chunk: u32, role: Role, feed: Feed, share: Arc<Share>) -> bool {
        let (want, mut begun) = (Want { first: 0, until: chunk + 1 }, false);
        self.0.chunks.launch((content.version(), chunk, role), |listed| {
            begun = true;
            self.flight(content, chunk, want, role, Some((feed, share)), listed)
        });
        begun
    }

    fn flight(
        &self,
        content: &Content,
        chunk: u32,
        want: Want,
        role: Role,
        fed: Option<(Feed, Arc<Share>)>,
        listed: Listed<Key, Arc<Landing>>,
    ) -> (Arc<Landing>, impl Future<Output = ()> + use<>) {
        let landing = Landing::new(want.first);
        let pilot = Pilot::new(Arc::clone(&landing), listed, interrupted(content, chunk));
        let (swarm, content, fed, run) = (self.clone(), content.clone(), Mutex::new(fed), Mutex::default());
        (landing, Flight { swarm, content, chunk, want, role, pilot, fed, run }.fly())
    }

    /// What chunks are held in by what they are fetched as: two nodes must not wait for each other's memory.
    pub(crate) fn memory_of(&self, role: Role) -> &Memory {
        if role == Role::Owner { &self.0.peer_memory } else { &self.0.memory }
    }

    /// What the store has of the content: of a blob, under this very manifest. Another one of the same id is something else.
    pub(crate) fn entry_with(&self, content: &Content) -> Option<Entry> {
        let entry = self.0.store.get(&content.id())?;
        match (content.source(), entry.description()) {
            (Source::Blob(asked), Description::Blob(kept)) => (Arc::ptr_eq(asked, kept) || asked == kept).then_some(entry),
            _ => Some(entry),
        }
    }

    /// Whether a chunk is on this node's disk.
    pub(crate) fn is_here(&self, content: &Content, chunk: u32) -> bool {
        self.entry_with(content).is_some_and(|entry| entry.has(chunk))
    }

    /// Whether a chunk is on its way here, for other nodes or for readers.
    pub(crate) fn is_brought(&self, version: Version, chunk: u32) -> bool {
        [Role::Owner, Role::Reader].iter().any(|role| self.0.chunks.has(&(version, chunk, *role)))
    }

    /// A chunk that is on this node's disk. A disk that fails is as good as empty: others may have it.
    pub(crate) async fn chunk_here(&self, content: &Content, chunk: u32) -> Option<Chunk> {
        let entry = self.entry_with(content).filter(|entry| entry.has(chunk))?;
        if let Some(chunk) = entry.chunk_now(chunk) {
            return Some(chunk);
        }
        entry.read_chunk(chunk).await.inspect_err(|error| self.disk_failed(&content.id(), error)).ok()
    }

    /// Whether this node's own copy was rotten, and nobody gave another yet.
    pub(crate) fn was_rotten(&self, id: &ContentId, chunk: u32) -> bool {
        self.0.store.was_rotten(id, chunk)
    }
}

impl Flight {
    async fn fly(self) {
        let result = self.bring().await;
        self.pilot.end(result);
    }

    async fn bring(&self) -> Result<Held, ReadError> {
        let share = self.share().await?;
        // It may have landed between the asker's look and this flight's start.
        if let Some(held) = self.swarm.0.unkept.get(&(self.content.version(), self.chunk)) {
            return Ok(held);
        }
        if let Some(chunk) = self.swarm.chunk_here(&self.content, self.chunk).await {
            return Ok(Held::new(chunk, share));
        }
        // Here, but the disk does not give it: then it would be fetched anew for each of its parts.
        let unreadable = self.swarm.is_here(&self.content, self.chunk);
        let held = Held::new(self.ask_around(&share).await?, share);
        self.keep(&held, unreadable).await;
        Ok(held)
    }

    async fn share(&self) -> Result<Arc<Share>, ReadError> {
        let brought = self.fed.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|(_, share)| Arc::clone(share));
        if let Some(share) = brought {
            return Ok(share);
        }
        let overloaded = |_| ReadError::Overloaded { what: self.content.to_string(), waited_ms: MEMORY_DEADLINE.as_millis() };
        let length = self.content.geometry().chunk_range(self.chunk).len();
        self.swarm.memory_of(self.role).take(length, MEMORY_DEADLINE).await.map_err(overloaded)
    }

    async fn ask_around(&self, share: &Arc<Share>) -> Result<Chunk, ReadError> {
        let mut tried = Tried::default();
        match timeout(FETCH_DEADLINE, self.ask_in_rounds(share, &mut tried)).await {
            Ok(Ok(Some(chunk))) => return Ok(chunk),
            Ok(Err(error)) => return Err(error),
            Ok(Ok(None)) => {}
            Err(_) => tried.note("this node", format_args!("gave up after {} s", FETCH_DEADLINE.as_secs())),
        }
        self.note_lost(&mut tried);
        Err(ReadError::Unavailable { what: self.content.to_string(), chunk: self.chunk, tried })
    }

    /// Who had it, and could not be asked.
    fn note_lost(&self, tried: &mut Tried) {
        let view = self.swarm.view();
        if self.swarm.was_rotten(&self.content.id(), self.chunk) {
            tried.note(view.me(), ROTTEN);
        }
        if let Source::Blob(manifest) = self.content.source() {
            let gone = self.swarm.missing_owners(&view, Point::of_chunk(manifest, self.chunk));
            gone.into_iter().for_each(|node| tried.note(node, MISSING));
        }
    }

    async fn ask_in_rounds(&self, share: &Arc<Share>, tried: &mut Tried) -> Result<Option<Chunk>, ReadError> {
        for pause in AGAIN.into_iter().map(Some).chain([None]) {
            let view = self.swarm.view();
            let (chunk, transient) = self.race(&view, self.givers(&view), share, tried).await?;
            match (chunk, pause) {
                (Some(chunk), _) => return Ok(Some(chunk)),
                (None, Some(pause)) if transient => sleep(pause).await,
                (None, _) => break,
            }
        }
        Ok(None)
    }

    /// Keeps the chunk on the disk. What finds no room there stays in memory for a while, since a mount asks for a chunk in
    /// pieces of at most 1 MiB.
    async fn keep(&self, held: &Held, unreadable: bool) {
        let mut written = self.write(held).await;
        if matches!(written, Err(WriteError::Gone)) {
            // Evicted between the two, unless it was deleted: then it is gone again.
            written = self.write(held).await;
        }
        let kept = written.inspect_err(|error| {
            tracing::debug!(content = %self.content, chunk = self.chunk, %error, "a chunk was passed on but not kept");
        });
        if unreadable || kept.is_err_and(|error| !matches!(error, WriteError::Gone)) {
            self.swarm.0.unkept.insert((self.content.version(), self.chunk), held.clone());
        }
    }

    async fn write(&self, held: &Held) -> Result<(), WriteError> {
        self.entry_to_fill().await?.write_chunk(self.chunk, held.chunk()).await?;
        if let Source::Blob(manifest) = self.content.source() {
            self.swarm.prove_soon_if_here(manifest);
        }
        Ok(())
    }

    /// A blob's is made when it is opened. Where it is gone since then it was evicted, and is made anew; unless the blob was deleted: a reader under
    /// way must not bring it back.
    async fn entry_to_fill(&self) -> Result<Entry, WriteError> {
        match self.content.source() {
            Source::Blob(manifest) => self.swarm.entry_of(manifest).await,
            Source::Object(object) => {
                let chunk_size = self.content.geometry().chunk_size();
                self.swarm.0.store.create(Description::Object { object: object.clone(), chunk_size }).await
            }
        }
    }
}

fn interrupted(content: &Content, chunk: u32) -> ReadError {
    ReadError::interrupted(content.to_string(), chunk)
}
