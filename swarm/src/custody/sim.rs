//! Hundreds of nodes without network, disk or clock: what they decide is the real code, what happens to them comes from a seed. After each step no acknowledged
//! blob is lost; when all is quiet again, every part is on its owners and nowhere else, and what was deleted is nowhere.
//!
//! A failure tells its seed: `HERRING_SIM_SEED=7 cargo test -p herring-swarm --lib custody::sim` plays it again. `HERRING_SIM_RUNS` is how many seeds are played.

mod events;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use herring_blob::BlobId;
use herring_http_api::repair::{Bucket, Fate};
use herring_ring::{Epoch, Member, NodeId, Point, Ring};

use super::census::{Census, KeptBlob, Part, lacking, owners, parts_of};
use crate::fates::Fates;
use crate::jobs::now_ms;

const REPLICAS: usize = 3;
const ACKNOWLEDGE: usize = 2;
/// Ticks until a change of who is there is believed, and until something moves for it.
const GRACE: u64 = 2;
const REBALANCE_AFTER: u64 = 8;
/// Parts that a node pulls in a tick.
const PULLS: usize = 8;
/// How often a node looks without being told.
const TICK: u64 = 20;

type Item = (BlobId, Part);

#[derive(Default)]
struct Disk {
    durable: BTreeSet<Item>,
    changes: u64,
    fates: Fates,
}

struct Host {
    id: NodeId,
    up: bool,
    draining: bool,
    /// Those who cannot be reached from other groups.
    group: u8,
    /// One of so many messages is lost; 0: none.
    lossy: u64,
    disk: Disk,
    ring: Ring,
    /// Since when others are seen than the ring has.
    differs: Option<u64>,
    changed: u64,
    due: u64,
    wants: BTreeMap<Item, usize>,
    placed: Option<Epoch>,
    census: RefCell<Option<(u64, Rc<Census>)>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Alive,
    Deleted,
    /// A put or a deletion that was not acknowledged.
    Unsure,
}

struct World {
    numbers: Numbers,
    tick: u64,
    began_ms: u64,
    hosts: Vec<Host>,
    rings: BTreeMap<Vec<usize>, Ring>,
    chunks: BTreeMap<BlobId, Vec<Point>>,
    words: BTreeMap<BlobId, Word>,
    /// A disk was lost, and not everything is in its place again.
    wounded: bool,
    moved: u64,
}

struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap()
    }

    fn once_in(&mut self, times: u64) -> bool {
        self.next().is_multiple_of(times)
    }
}

impl World {
    fn new(seed: u64, hosts: usize) -> Self {
        let mut world = Self {
            numbers: Numbers(seed),
            tick: 0,
            began_ms: now_ms(),
            hosts: Vec::new(),
            rings: BTreeMap::new(),
            chunks: BTreeMap::new(),
            words: BTreeMap::new(),
            wounded: false,
            moved: 0,
        };
        (0..hosts).for_each(|_| world.join());
        let all: Vec<usize> = (0..hosts).collect();
        let ring = world.ring(&all);
        world.hosts.iter_mut().for_each(|host| host.ring = ring.clone());
        world
    }

    fn join(&mut self) {
        let id = format!("n{}", self.hosts.len()).parse().unwrap();
        let (ring, wants) = (Ring::empty(), BTreeMap::new());
        let (disk, due) = (Disk::default(), self.tick + GRACE);
        let host = Host {
            id,
            up: true,
            draining: false,
            group: 0,
            lossy: 0,
            disk,
            ring,
            differs: None,
            changed: 0,
            due,
            wants,
            placed: None,
            census: RefCell::default(),
        };
        self.hosts.push(host);
    }

    /// Few virtual nodes: what is simulated is who decides what, and not the balance.
    fn ring(&mut self, members: &[usize]) -> Ring {
        let member = |index: &usize| Member { id: self.hosts[*index].id.clone(), weight: 3, zone: String::new() };
        self.rings.entry(members.to_vec()).or_insert_with(|| Ring::new(members.iter().map(member))).clone()
    }

    /// From now on, so that nothing is too old to be remembered, or too far ahead to be believed.
    fn now(&self) -> u64 {
        self.began_ms + 1000 * self.tick
    }

    fn index(&self, id: &NodeId) -> usize {
        id.as_str()[1..].parse().unwrap()
    }

    fn sees(&self, one: usize, other: usize) -> bool {
        self.hosts[one].up && self.hosts[other].up && self.hosts[one].group == self.hosts[other].group
    }

    /// Whether a message arrives, and its answer.
    fn reaches(&mut self, one: usize, other: usize) -> bool {
        let lost = [one, other].into_iter().any(|end| self.hosts[end].lossy > 0 && self.numbers.once_in(self.hosts[end].lossy));
        self.sees(one, other) && !lost
    }

    fn up(&self) -> Vec<usize> {
        (0..self.hosts.len()).filter(|&host| self.hosts[host].up).collect()
    }

    fn some(&mut self, among: &[usize]) -> Option<usize> {
        let chosen = self.numbers.below(among.len());
        among.get(chosen).copied()
    }
}

/// What happens by itself.
impl World {
    fn step(&mut self) {
        self.tick += 1;
        for host in self.up() {
            self.watch(host);
            self.pull(host);
            if self.hosts[host].due <= self.tick {
                self.look(host);
            }
        }
    }

    fn watch(&mut self, me: usize) {
        let seen: Vec<usize> = (0..self.hosts.len()).filter(|&host| self.sees(me, host) && !self.hosts[host].draining).collect();
        let same = self.hosts[me].ring.members().len() == seen.len()
            && seen.iter().all(|&host| self.hosts[me].ring.members().iter().any(|member| member.id == self.hosts[host].id));
        let (tick, host) = (self.tick, &mut self.hosts[me]);
        if same {
            host.differs = None;
        } else if tick >= *host.differs.get_or_insert(tick) + GRACE {
            let ring = self.ring(&seen);
            let host = &mut self.hosts[me];
            (host.ring, host.changed, host.differs) = (ring, tick, None);
            host.due = if host.draining { tick } else { tick + REBALANCE_AFTER };
        }
    }

    /// Counted anew where something changed.
    fn census(&self, me: usize) -> Rc<Census> {
        let (host, mut last) = (&self.hosts[me], self.hosts[me].census.borrow_mut());
        if let Some((_, census)) =
            last.as_ref().filter(|(at, census)| *at == host.disk.changes && census.epoch() == host.ring.epoch())
        {
            return Rc::clone(census);
        }
        let census = Rc::new(self.count(me));
        *last = Some((host.disk.changes, Rc::clone(&census)));
        census
    }

    fn count(&self, me: usize) -> Census {
        let mut kept: BTreeMap<BlobId, Vec<u32>> = BTreeMap::new();
        for (id, part) in &self.hosts[me].disk.durable {
            let chunks = kept.entry(*id).or_default();
            if let Part::Chunk(chunk) = part {
                chunks.push(*chunk);
            }
        }
        let kept = kept.into_iter().map(|(id, chunks)| KeptBlob {
            id,
            replicas: None,
            count: u32::try_from(self.chunks[&id].len()).unwrap(),
            point: Box::new({
                let points = self.chunks[&id].clone();
                move |chunk| points[chunk as usize]
            }),
            chunks,
            fresh: false,
        });
        Census::new(kept, &self.hosts[me].ring, &self.hosts[me].id, REPLICAS)
    }

    fn look(&mut self, me: usize) {
        self.hosts[me].due = self.tick + TICK;
        let met = self.meet(me);
        if !self.hosts[me].draining && self.tick < self.hosts[me].changed + REBALANCE_AFTER {
            self.hosts[me].due = self.hosts[me].changed + REBALANCE_AFTER;
            return;
        }
        let census = self.census(me);
        let placed = self.place(me, &census);
        let handed = self.hand_over(me, &census);
        let whole = self.seek(me, &census);
        let all = met && placed && handed && whole && self.hosts[me].wants.is_empty();
        let epoch = self.hosts[me].ring.epoch();
        self.hosts[me].placed = all.then_some(epoch);
        if !all {
            self.hosts[me].due = self.tick + 2 + self.numbers.next() % 3;
        }
    }

    fn meet(&mut self, me: usize) -> bool {
        let others: Vec<usize> = (0..self.hosts.len()).filter(|&other| other != me && self.sees(me, other)).collect();
        let settled = self.hosts[me].placed == Some(self.hosts[me].ring.epoch());
        let first = self.numbers.below(others.len());
        let some = others.iter().cycle().skip(first).take(others.len().min(if settled { 3 } else { 24 }));
        let met: Vec<bool> = some.copied().collect::<Vec<_>>().into_iter().map(|other| self.reconcile(me, other)).collect();
        met.into_iter().all(|met| met)
    }

    fn reconcile(&mut self, me: usize, other: usize) -> bool {
        if !self.reaches(me, other) {
            return false;
        }
        let mut buckets = vec![Bucket::ALL];
        while !buckets.is_empty() && !buckets.iter().all(|bucket| bucket.is_smallest()) {
            let asked = if buckets == [Bucket::ALL] && self.equal_fates(me, other) { return true } else { buckets };
            let digests = self.hosts[me].disk.fates.digests(asked.into_iter().flat_map(Bucket::parts));
            buckets = self.hosts[other].disk.fates.differing(&digests);
        }
        let (ours, theirs) = (self.hosts[me].disk.fates.within(&buckets), self.hosts[other].disk.fates.within(&buckets));
        ours.into_iter().for_each(|fate| self.hear(other, fate));
        theirs.into_iter().for_each(|fate| self.hear(me, fate));
        true
    }

    fn equal_fates(&self, me: usize, other: usize) -> bool {
        let digests = self.hosts[me].disk.fates.digests([Bucket::ALL]);
        self.hosts[other].disk.fates.differing(&digests).is_empty()
    }

    fn hear(&mut self, host: usize, fate: Fate) {
        let disk = &mut self.hosts[host].disk;
        if disk.fates.learn(fate) && fate.deleted {
            disk.durable.retain(|(id, _)| *id != fate.id);
            disk.changes += 1;
        }
    }

    fn place(&mut self, me: usize, census: &Census) -> bool {
        let members: Vec<NodeId> = census.members().map(Clone::clone).collect();
        let mut placed = true;
        for id in members {
            let other = self.index(&id);
            if other == me {
                continue;
            }
            if !self.reaches(me, other) || self.hosts[other].ring.epoch() != census.epoch() {
                placed = false;
                continue;
            }
            let theirs = self.census(other);
            let mut asked = vec![Bucket::ALL];
            let buckets = loop {
                let buckets = theirs.differing(&self.hosts[me].id, &census.digests(&id, asked));
                if buckets.iter().all(|bucket| bucket.is_smallest()) {
                    break buckets;
                }
                asked = buckets.into_iter().flat_map(Bucket::parts).collect();
            };
            placed &= buckets.is_empty();
            if !buckets.is_empty() {
                self.hosts[other].due = self.hosts[other].due.min(self.tick + 1);
            }
            let offered: Vec<_> = census.shared_parts(&id, &buckets);
            placed &= offered.iter().filter_map(|blob| self.offer(me, other, blob)).count() == 0;
        }
        placed
    }

    /// What `other` lacks of what it is offered; it pulls that from now on.
    fn offer(
        &mut self,
        me: usize,
        other: usize,
        blob: &herring_http_api::repair::BlobParts,
    ) -> Option<herring_http_api::repair::BlobParts> {
        let disk = &self.hosts[other].disk;
        if disk.fates.is_deleted(&blob.id) {
            return Some(blob.clone());
        }
        let lacks = lacking(blob, |part| disk.durable.contains(&(blob.id, part)))?;
        self.hosts[other].wants.extend(parts_of(&lacks).map(|part| (part, me)));
        Some(lacks)
    }

    fn hand_over(&mut self, me: usize, census: &Census) -> bool {
        let mut left = 0;
        for batch in census.foreign(64).collect::<Vec<_>>() {
            let mut lacks = BTreeMap::new();
            for (id, blobs) in &batch.offers {
                let other = self.index(id);
                if self.reaches(me, other) && self.hosts[other].ring.epoch() == census.epoch() {
                    lacks.insert(id.clone(), blobs.iter().filter_map(|blob| self.offer(me, other, blob)).collect());
                }
            }
            let confirmed = batch.confirmed(&lacks);
            left += batch.parts.len() - confirmed.len();
            for item in &confirmed {
                let owners = self.owners(&self.hosts[me].ring, *item);
                let have = owners.iter().all(|&owner| self.hosts[owner].disk.durable.contains(item));
                assert!(have, "{item:?} is let go, and its owners {owners:?} do not all have it");
            }
            confirmed.iter().for_each(|item| _ = self.hosts[me].disk.durable.remove(item));
            self.hosts[me].disk.changes += 1;
        }
        left == 0 && !census.has_foreign()
    }

    /// What this node should keep and has not, and nobody offers it.
    fn seek(&mut self, me: usize, census: &Census) -> bool {
        let host = &self.hosts[me];
        let lacks = |item: &Item| !host.disk.durable.contains(item) && !host.wants.contains_key(item);
        let gaps: Vec<Item> = census.gaps(|id, chunk| lacks(&(*id, Part::Chunk(chunk)))).iter().flat_map(parts_of).collect();
        let others: Vec<usize> = (0..self.hosts.len()).filter(|&other| other != me && self.sees(me, other)).collect();
        let asked: Vec<usize> = others.iter().copied().filter(|&other| !gaps.is_empty() && self.reaches(me, other)).collect();
        for item in &gaps {
            let holder = asked.iter().find(|&&other| self.hosts[other].disk.durable.contains(item)).copied();
            holder.into_iter().for_each(|holder| _ = self.hosts[me].wants.insert(*item, holder));
        }
        // What an unfinished put left is nowhere else.
        gaps.is_empty() || asked.len() == others.len()
    }

    fn point(&self, (id, part): Item) -> Point {
        match part {
            Part::Chunk(chunk) => self.chunks[&id][chunk as usize],
            Part::Manifest => Point::of_blob(&id),
        }
    }

    fn owners(&self, ring: &Ring, item: Item) -> Vec<usize> {
        owners(ring, self.point(item).as_u64(), None, REPLICAS).into_iter().map(|id| self.index(id)).collect()
    }

    /// Who owns a chunk keeps the manifest as well.
    fn should_keep(&self, me: usize, item: Item) -> bool {
        let owns = |item: Item| self.owners(&self.hosts[me].ring, item).contains(&me);
        let chunks = || (0..u32::try_from(self.chunks[&item.0].len()).unwrap()).map(|chunk| (item.0, Part::Chunk(chunk)));
        owns(item) || (item.1 == Part::Manifest && chunks().any(owns))
    }

    fn pull(&mut self, me: usize) {
        let wants: Vec<(Item, usize)> = self.hosts[me].wants.iter().map(|(item, holder)| (*item, *holder)).take(PULLS).collect();
        for (item, holder) in wants {
            self.hosts[me].wants.remove(&item);
            let mine = self.should_keep(me, item) && !self.hosts[me].disk.fates.is_deleted(&item.0);
            let there = self.hosts[holder].disk.durable.contains(&item);
            if mine && there && self.reaches(me, holder) && self.hosts[me].disk.durable.insert(item) {
                // Who keeps a chunk keeps the manifest.
                self.hosts[me].disk.durable.insert((item.0, Part::Manifest));
                self.hosts[me].disk.changes += 1;
                self.moved += u64::from(item.1 != Part::Manifest);
            }
        }
    }
}

fn play(seed: u64) {
    let mut numbers = Numbers(seed);
    let mut world = World::new(seed, 5 + numbers.below(if seed.is_multiple_of(10) { 200 } else { 40 }));
    for step in 0..120u32 {
        for _ in 0..world.numbers.below(4) {
            let (fresh, chunks) = (world.words.len() as u64, 1 + world.numbers.below(6));
            let number = world.numbers.next() % (fresh + 1 + fresh / 4);
            world.put(BlobId::of(&number.min(fresh).to_le_bytes()), chunks);
        }
        if world.numbers.once_in(4) && !world.words.is_empty() {
            let blobs: Vec<BlobId> = world.words.keys().copied().collect();
            let chosen = world.numbers.below(blobs.len());
            world.delete(blobs[chosen]);
        }
        if step % 4 == 0 {
            world.befall();
        }
        world.step();
        world.assert_nothing_lost();
        if world.wounded && world.is_placed() {
            world.wounded = false;
        }
    }
    world.calm();
}

#[test]
fn nothing_is_lost_whatever_befalls() {
    let number = |name| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let (first, runs) = match number("HERRING_SIM_SEED") {
        Some(seed) => (seed, 1),
        None => (0, number("HERRING_SIM_RUNS").unwrap_or(40)),
    };
    for seed in first..first + runs {
        std::panic::catch_unwind(|| play(seed)).unwrap_or_else(|_| panic!("play it again with HERRING_SIM_SEED={seed}"));
    }
}

/// What one node's coming moves is what the ring says, and no more.
#[test]
fn a_join_moves_what_it_must() {
    let mut world = World::new(1, 60);
    for n in 0..400u64 {
        world.put(BlobId::of(&n.to_le_bytes()), 4);
    }
    world.calm();
    let (before, moved) = (world.hosts[0].ring.clone(), world.moved);
    world.join();
    world.calm();
    let gains = |item: &Item| {
        let old = world.owners(&before, *item);
        world.owners(&world.hosts[0].ring, *item).iter().filter(|owner| !old.contains(owner)).count() as u64
    };
    let ideal: u64 = world.alive().map(|item| gains(&item)).sum();
    assert!(ideal > 0 && world.moved - moved == ideal, "{} moved, {ideal} must", world.moved - moved);
}
