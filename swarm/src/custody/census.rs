//! What this node keeps, sorted by where it lies on the ring: which of it each other owner must have as well, which of it others own, and what it
//! should keep besides.
//! A function of what is kept and of the ring, without I/O.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use herring_blob::{BlobId, ChunkDigest};
use herring_http_api::repair::{BlobParts, Bucket, BucketDigest};
use herring_http_api::types::Presence;
use herring_ring::{Epoch, NodeId, Point, Ring};

/// A part of a blob of which replicas are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Part {
    Chunk(u32),
    Manifest,
}

/// One blob as it is kept here.
pub(crate) struct KeptBlob {
    pub id: BlobId,
    /// What its put asked for, where it did.
    pub replicas: Option<u8>,
    /// How many chunks it has, and where each lies.
    pub count: u32,
    pub point: Box<dyn Fn(u32) -> Point>,
    /// Those that are durable here, in order.
    pub chunks: Vec<u32>,
    /// Put so lately that others may still be writing theirs.
    pub fresh: bool,
}

/// Something kept, in 16 bytes: there may be a million.
#[derive(Debug, Clone, Copy)]
struct Slot {
    point: u64,
    blob: u32,
    chunk: u32,
}

/// A chunk number that none has: a blob has at most 2^22 chunks.
const MANIFEST: u32 = u32::MAX;

impl Slot {
    fn new(point: Point, blob: u32, part: Part) -> Self {
        let chunk = match part {
            Part::Chunk(chunk) => chunk,
            Part::Manifest => MANIFEST,
        };
        Self { point: point.as_u64(), blob, chunk }
    }

    fn part(self) -> Part {
        if self.chunk == MANIFEST { Part::Manifest } else { Part::Chunk(self.chunk) }
    }
}

/// The digests of the smallest buckets that are not empty: sums, so that the order in which things came does not matter.
type Leaves = BTreeMap<usize, u128>;

/// What this node keeps under one ring.
pub(crate) struct Census {
    ring: Ring,
    me: NodeId,
    replicas: usize,
    blobs: Vec<(BlobId, Option<u8>)>,
    /// By point.
    slots: Vec<Slot>,
    /// What this node and another one own.
    shared: BTreeMap<NodeId, Leaves>,
    /// Of manifests that others than their owners are to have as well: all who are, by their places among the ring's members.
    keepers: HashMap<u32, Box<[u32]>>,
    /// What others own and this node does not.
    foreign: Vec<Slot>,
    /// What this node owns and has not, of blobs that it knows.
    gaps: Vec<Slot>,
    /// Blobs so fresh that they are not in the digests.
    pub fresh: usize,
    /// When it was taken, in changes of what is durable.
    pub generation: u64,
}

/// Things that others own.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Batch {
    /// For each owner what it should have of them.
    pub offers: BTreeMap<NodeId, Vec<BlobParts>>,
    /// What is in the batch.
    pub parts: Vec<(BlobId, Part)>,
}

impl Census {
    pub fn new(kept: impl IntoIterator<Item = KeptBlob>, ring: &Ring, me: &NodeId, replicas: usize) -> Self {
        let (blobs, slots, shared, keepers, foreign, gaps) = Default::default();
        let (ring, me) = (ring.clone(), me.clone());
        let mut census = Self { ring, me, replicas, blobs, slots, shared, keepers, foreign, gaps, fresh: 0, generation: 0 };
        kept.into_iter().for_each(|blob| census.add(blob));
        census.slots.sort_unstable_by_key(|slot| slot.point);
        census
    }

    pub fn at(self, generation: u64) -> Self {
        Self { generation, ..self }
    }

    fn add(&mut self, kept: KeptBlob) {
        let Ok(blob) = u32::try_from(self.blobs.len()) else { return };
        self.blobs.push((kept.id, kept.replicas));
        self.fresh += usize::from(kept.fresh);
        // Owners are borrowed from it while what they own is noted.
        let (ring, usual) = (self.ring.clone(), self.replicas);
        let owners = |point: Point| owners(&ring, point.as_u64(), kept.replicas, usual);
        let point = Point::of_blob(&kept.id);
        let manifest_owners = owners(point);
        let owns_manifest = manifest_owners.contains(&&self.me);
        let (mut chunk_owners, mut owns_chunks, mut here) = (BTreeSet::new(), false, kept.chunks.iter().peekable());
        for chunk in 0..kept.count {
            let point = (kept.point)(chunk);
            let (owners, is_here) = (owners(point), here.next_if_eq(&&chunk).is_some());
            owns_chunks |= self.add_chunk(Slot::new(point, blob, Part::Chunk(chunk)), &owners, is_here, kept.fresh);
            if owns_manifest {
                chunk_owners.extend(owners);
            }
        }
        let slot = Slot::new(point, blob, Part::Manifest);
        if owns_manifest || owns_chunks {
            self.add_manifest(slot, &manifest_owners, chunk_owners, kept.fresh);
        } else if kept.chunks.is_empty() {
            self.foreign.push(slot);
        }
    }

    /// True where this node owns it.
    fn add_chunk(&mut self, slot: Slot, owners: &[&NodeId], is_here: bool, fresh: bool) -> bool {
        let owned = owners.contains(&&self.me);
        match (owned, is_here) {
            (true, true) => self.share(slot, owners.iter().copied(), fresh),
            (true, false) if !fresh => self.gaps.push(slot),
            (false, true) => self.foreign.push(slot),
            _ => {}
        }
        owned
    }

    /// A manifest is with its owners, and with the owners of the blob's chunks. Each of the former compares with each of the latter: so it comes back whoever
    /// lost it, and who owns a chunk knows of it even where nobody has that any more.
    fn add_manifest(&mut self, slot: Slot, owners: &[&NodeId], chunk_owners: BTreeSet<&NodeId>, fresh: bool) {
        let mut keepers = chunk_owners;
        keepers.extend(owners);
        if keepers.len() > owners.len() {
            let place = |node: &NodeId| self.ring.members().binary_search_by(|member| member.id.cmp(node)).ok();
            let places = keepers.iter().filter_map(|node| u32::try_from(place(node)?).ok()).collect();
            self.keepers.insert(slot.blob, places);
        }
        self.share(slot, keepers.into_iter(), fresh);
    }

    /// This is to be with those others, too.
    fn share<'a>(&mut self, slot: Slot, with: impl Iterator<Item = &'a NodeId>, fresh: bool) {
        if fresh {
            return;
        }
        let (id, replicas) = self.blobs[slot.blob as usize];
        let replicas = replicas.map_or(self.replicas, usize::from);
        let (digest, leaf) = (digest(&id, slot.part(), replicas), Bucket::smallest(slot.point).leaves().start);
        for other in with {
            if *other == self.me {
                continue;
            }
            let leaves = match self.shared.get_mut(other) {
                Some(leaves) => leaves,
                None => self.shared.entry(other.clone()).or_default(),
            };
            let sum = leaves.entry(leaf).or_default();
            *sum = sum.wrapping_add(digest);
        }
        self.slots.push(slot);
    }

    #[cfg(test)]
    pub fn members(&self) -> impl Iterator<Item = &NodeId> {
        self.ring.members().iter().map(|member| &member.id)
    }

    pub fn epoch(&self) -> Epoch {
        self.ring.epoch()
    }

    /// What is in these buckets of what `peer` must have as well.
    pub fn digests(&self, peer: &NodeId, buckets: impl IntoIterator<Item = Bucket>) -> Vec<BucketDigest> {
        let shared = self.shared.get(peer);
        let digest = |bucket: Bucket| shared.map_or(0, |leaves| sum(leaves.range(bucket.leaves()).map(|(_, leaf)| leaf)));
        buckets.into_iter().map(|bucket| BucketDigest { bucket, digest: hex(digest(bucket)) }).collect()
    }

    /// Which of the peer's digests are not this node's.
    pub fn differing(&self, peer: &NodeId, theirs: &[BucketDigest]) -> Vec<Bucket> {
        let ours = self.digests(peer, theirs.iter().map(|one| one.bucket));
        ours.iter().zip(theirs).filter(|(ours, theirs)| ours != theirs).map(|(ours, _)| ours.bucket).collect()
    }

    /// All that is in these buckets, the smallest ones, of what `peer` must have as well.
    pub fn shared_parts(&self, peer: &NodeId, buckets: &[Bucket]) -> Vec<BlobParts> {
        let mut parts = Parts::default();
        for bucket in buckets {
            for slot in self.within(*bucket) {
                let (id, replicas) = self.blobs[slot.blob as usize];
                if self.is_to_have(slot, peer) {
                    parts.add(id, replicas, slot.part());
                }
            }
        }
        parts.into_blobs()
    }

    fn is_to_have(&self, slot: &Slot, peer: &NodeId) -> bool {
        let is_peer = |place: &u32| self.ring.members()[*place as usize].id == *peer;
        match self.keepers.get(&slot.blob).filter(|_| slot.part() == Part::Manifest) {
            Some(places) => places.iter().any(is_peer),
            None => owners(&self.ring, slot.point, self.blobs[slot.blob as usize].1, self.replicas).contains(&peer),
        }
    }

    fn within(&self, bucket: Bucket) -> &[Slot] {
        let leaf = |slot: &Slot| Bucket::smallest(Point::from_u64(slot.point).as_u64()).leaves().start;
        let start = self.slots.partition_point(|slot| leaf(slot) < bucket.leaves().start);
        let end = self.slots.partition_point(|slot| leaf(slot) < bucket.leaves().end);
        &self.slots[start..end]
    }

    /// What this node owns and has not, of those for which this holds.
    pub fn gaps(&self, which: impl Fn(&BlobId, u32) -> bool) -> Vec<BlobParts> {
        let mut parts = Parts::default();
        for slot in &self.gaps {
            let (id, replicas) = self.blobs[slot.blob as usize];
            if which(&id, slot.chunk) {
                parts.add(id, replicas, slot.part());
            }
        }
        parts.into_blobs()
    }

    /// Chunks that others own.
    pub fn foreign_chunks(&self) -> usize {
        self.foreign.iter().filter(|slot| slot.part() != Part::Manifest).count()
    }

    pub fn has_foreign(&self) -> bool {
        !self.foreign.is_empty()
    }

    /// What others own, so many at a time.
    pub fn foreign(&self, most: usize) -> impl Iterator<Item = Batch> {
        self.foreign.chunks(most.max(1)).map(|slots| self.batch(slots))
    }

    fn batch(&self, slots: &[Slot]) -> Batch {
        let mut offers: BTreeMap<&NodeId, Parts> = BTreeMap::new();
        for slot in slots {
            let (id, replicas) = self.blobs[slot.blob as usize];
            for owner in owners(&self.ring, slot.point, replicas, self.replicas) {
                offers.entry(owner).or_default().add(id, replicas, slot.part());
            }
        }
        let offers = offers.into_iter().map(|(owner, parts)| (owner.clone(), parts.into_blobs())).collect();
        Batch { offers, parts: slots.iter().map(|slot| (self.blobs[slot.blob as usize].0, slot.part())).collect() }
    }
}

impl Batch {
    /// What all its owners have, by what each answered that it lacks. Who did not answer may lack all.
    pub fn confirmed(&self, lacking: &BTreeMap<NodeId, Vec<BlobParts>>) -> Vec<(BlobId, Part)> {
        let owned = |offers: &BTreeMap<NodeId, Vec<BlobParts>>| -> BTreeMap<NodeId, BTreeSet<(BlobId, Part)>> {
            offers.iter().map(|(node, blobs)| (node.clone(), blobs.iter().flat_map(parts_of).collect())).collect()
        };
        let (offered, lacking) = (owned(&self.offers), owned(lacking));
        let has = |node: &NodeId, part: &(BlobId, Part)| lacking.get(node).is_some_and(|lacks| !lacks.contains(part));
        let kept = |part: &(BlobId, Part)| {
            let mut owners = offered.iter().filter(|(_, parts)| parts.contains(part)).peekable();
            owners.peek().is_some() && owners.all(|(node, _)| has(node, part))
        };
        self.parts.iter().copied().filter(kept).collect()
    }
}

/// Parts of blobs as they are told to a peer.
#[derive(Default)]
pub(crate) struct Parts(BTreeMap<BlobId, (Option<u8>, BTreeSet<Part>)>);

impl Parts {
    pub fn add(&mut self, id: BlobId, replicas: Option<u8>, part: Part) {
        self.0.entry(id).or_insert_with(|| (replicas, BTreeSet::new())).1.insert(part);
    }

    pub fn into_blobs(self) -> Vec<BlobParts> {
        let blob = |(id, (replicas, parts)): (BlobId, (Option<u8>, BTreeSet<Part>))| {
            let chunks = parts.iter().filter_map(|part| if let Part::Chunk(chunk) = part { Some(*chunk) } else { None });
            BlobParts { id, manifest: parts.contains(&Part::Manifest), chunks: Presence::of(chunks), replicas, print: None }
        };
        self.0.into_iter().map(blob).collect()
    }
}

pub(crate) fn parts_of(blob: &BlobParts) -> impl Iterator<Item = (BlobId, Part)> {
    let chunks = blob.chunks.chunks.iter().flat_map(|&(start, end)| (start..end).map(Part::Chunk));
    let id = blob.id;
    chunks.chain(blob.manifest.then_some(Part::Manifest)).map(move |part| (id, part))
}

/// What is not there of what is offered; `None` where nothing is missing.
pub(crate) fn lacking(offered: &BlobParts, has: impl Fn(Part) -> bool) -> Option<BlobParts> {
    let mut parts = Parts::default();
    parts_of(offered).filter(|(_, part)| !has(*part)).for_each(|(id, part)| parts.add(id, offered.replicas, part));
    parts.into_blobs().pop()
}

pub(crate) fn owners(ring: &Ring, point: u64, replicas: Option<u8>, usual: usize) -> Vec<&NodeId> {
    let replicas = replicas.map_or(usual, usize::from);
    ring.owners(Point::from_u64(point), replicas).into_iter().map(|member| &member.id).collect()
}

/// How many replicas there shall be is kept with the manifest.
fn digest(id: &BlobId, part: Part, replicas: usize) -> u128 {
    let (part, replicas) = match part {
        Part::Chunk(chunk) => (chunk, 0),
        Part::Manifest => (MANIFEST, replicas as u64),
    };
    short(&[&id.as_bytes()[..], &part.to_le_bytes(), &replicas.to_le_bytes()].concat())
}

/// Half of a BLAKE3.
pub(crate) fn short(bytes: &[u8]) -> u128 {
    let digest = ChunkDigest::of(bytes);
    u128::from_le_bytes(*digest.as_bytes().first_chunk().expect("32 bytes begin with 16"))
}

pub(crate) fn sum<'a>(leaves: impl IntoIterator<Item = &'a u128>) -> u128 {
    leaves.into_iter().fold(0, |sum, leaf| sum.wrapping_add(*leaf))
}

pub(crate) fn hex(digest: u128) -> String {
    format!("{digest:032x}")
}
