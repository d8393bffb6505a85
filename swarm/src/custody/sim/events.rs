//! What people do, what befalls nodes, and what must be true whatever that was.

use super::*;

impl World {
    pub(super) fn put(&mut self, id: BlobId, chunks: usize) {
        let up: Vec<usize> = self.up().into_iter().filter(|&host| !self.hosts[host].ring.members().is_empty()).collect();
        let Some(me) = self.some(&up) else { return };
        if !self.chunks.contains_key(&id) {
            let points = (0..chunks).map(|_| Point::from_u64(self.numbers.next())).collect();
            self.chunks.insert(id, points);
        }
        let before = self.words.insert(id, Word::Unsure);
        let lives = (self.hosts[me].disk.fates.is_deleted(&id) || self.misses_some(me)).then(|| self.revive(me, id));
        let known = self.hosts[me].disk.fates.get(&id);
        let (mut least, met) = self.write_all(me, id, lives);
        if lives.is_none() && !(met && self.hosts[me].disk.fates.get(&id) == known) {
            let lives = self.revive(me, id);
            least = self.write_all(me, id, Some(lives)).0;
        }
        let acknowledged = least >= ACKNOWLEDGE;
        let word = if acknowledged { Word::Alive } else { before.filter(|word| *word == Word::Alive).unwrap_or(Word::Unsure) };
        self.words.insert(id, word);
    }

    /// As `put/word.rs` sees it: whom it does not see now, or saw within the last hour.
    fn misses_some(&self, me: usize) -> bool {
        let known = self.hosts.iter().filter(|host| !host.draining).count();
        self.hosts[me].differs.is_some() || self.hosts[me].ring.members().len() < known
    }

    fn revive(&mut self, me: usize, id: BlobId) -> Fate {
        let fate = self.hosts[me].disk.fates.next(id, false, self.now());
        self.tell(me, fate);
        fate
    }

    /// On how many nodes the least replicated part is then, and whether all owners of the manifest took it.
    fn write_all(&mut self, me: usize, id: BlobId, lives: Option<Fate>) -> (usize, bool) {
        let (ring, count) = (self.hosts[me].ring.clone(), u32::try_from(self.chunks[&id].len()).unwrap());
        let parts = (0..count).map(Part::Chunk).chain([Part::Manifest]);
        let written: Vec<BTreeSet<usize>> = parts.map(|part| self.write(me, &ring, (id, part), lives)).collect();
        let met = self.owners(&ring, (id, Part::Manifest)).iter().all(|owner| written[written.len() - 1].contains(owner));
        (written.iter().map(BTreeSet::len).min().unwrap_or(0), met)
    }

    /// On which nodes it is then: its owners, or the next ones for those who do not answer.
    fn write(&mut self, me: usize, ring: &Ring, item: Item, lives: Option<Fate>) -> BTreeSet<usize> {
        let walk: Vec<NodeId> =
            ring.owners(self.point(item), REPLICAS + 16).into_iter().map(|member| member.id.clone()).collect();
        let mut written = BTreeSet::new();
        for id in walk {
            let host = self.index(&id);
            if written.len() == REPLICAS {
                break;
            }
            if self.reaches(me, host) {
                lives.into_iter().for_each(|fate| self.hear(host, fate));
                if self.hosts[host].disk.fates.is_deleted(&item.0) {
                    let known = self.hosts[host].disk.fates.get(&item.0).unwrap();
                    self.hear(me, known);
                    let fate = self.hosts[me].disk.fates.next(item.0, false, self.now());
                    self.tell(me, fate);
                    self.hear(host, fate);
                }
                self.hosts[host].disk.durable.extend([item, (item.0, Part::Manifest)]);
                self.hosts[host].disk.changes += 1;
                self.hosts[host].due = self.hosts[host].due.min(self.tick + 2);
                written.insert(host);
            }
        }
        written
    }

    /// Who heard it.
    pub(super) fn tell(&mut self, me: usize, fate: Fate) -> Vec<usize> {
        let told: Vec<usize> = (0..self.hosts.len()).filter(|&host| host == me || self.reaches(me, host)).collect();
        told.iter().for_each(|&host| self.hear(host, fate));
        told
    }

    pub(super) fn delete(&mut self, id: BlobId) {
        let up = self.up();
        let Some(me) = self.some(&up) else { return };
        let members = self.hosts[me].ring.members().len();
        let known = self.hosts.iter().filter(|host| !host.draining).count();
        if 2 * members <= known {
            return;
        }
        let owners = self.owners(&self.hosts[me].ring, (id, Part::Manifest));
        let fate = self.hosts[me].disk.fates.next(id, true, self.now());
        let told: Vec<usize> = owners.iter().copied().filter(|&owner| owner == me || self.reaches(me, owner)).collect();
        told.iter().for_each(|&owner| self.hear(owner, fate));
        let acknowledged = 2 * told.len() > owners.len();
        if acknowledged {
            self.tell(me, fate);
        }
        self.words.insert(id, if acknowledged { Word::Deleted } else { Word::Unsure });
    }

    pub(super) fn befall(&mut self) {
        let hosts = self.hosts.len();
        let host = self.numbers.below(hosts);
        match self.numbers.below(12) {
            0 if hosts < 250 => self.join(),
            1 | 2 => self.hosts[host].up = false,
            3 | 4 => (0..hosts).for_each(|host| self.hosts[host].up |= self.numbers.once_in(2)),
            5 => {
                let first = self.numbers.below(hosts);
                let cut = self.numbers.below(hosts / 2);
                (0..cut).for_each(|n| self.hosts[(first + n) % hosts].group = 1);
            }
            6 | 7 => self.hosts.iter_mut().for_each(|host| host.group = 0),
            8 => self.hosts[host].lossy = [0, 2, 10][self.numbers.below(3)],
            9 if !self.wounded && self.is_placed() => {
                self.hosts[host].disk = Disk { changes: self.hosts[host].disk.changes + 1, ..Disk::default() };
                self.hosts[host].wants.clear();
                self.wounded = true;
            }
            10 if self.hosts.iter().filter(|host| host.draining).count() < hosts / 8 => self.hosts[host].draining = true,
            11 => self.hosts[host].draining = false,
            _ => {}
        }
    }

    pub(super) fn is_placed(&self) -> bool {
        let owners_have = |item: &Item| {
            let up = self.up();
            let Some(&any) = up.iter().find(|&&host| !self.hosts[host].draining) else { return false };
            let owners: BTreeSet<usize> = self.owners(&self.hosts[any].ring, *item).into_iter().collect();
            owners == self.holders(*item).into_iter().collect()
        };
        self.alive().all(|item| owners_have(&item))
    }

    pub(super) fn holders(&self, item: Item) -> Vec<usize> {
        (0..self.hosts.len()).filter(|&host| self.hosts[host].disk.durable.contains(&item)).collect()
    }

    pub(super) fn alive(&self) -> impl Iterator<Item = Item> {
        let alive = self.words.iter().filter(|(_, word)| **word == Word::Alive);
        alive.flat_map(|(id, _)| (0..u32::try_from(self.chunks[id].len()).unwrap()).map(|chunk| (*id, Part::Chunk(chunk))))
    }

    pub(super) fn assert_nothing_lost(&self) {
        for item in self.alive() {
            assert!(!self.holders(item).is_empty(), "{item:?} was acknowledged and is on no disk");
        }
    }

    /// All are well again, and have time.
    pub(super) fn calm(&mut self) {
        for host in &mut self.hosts {
            (host.up, host.group, host.lossy) = (true, 0, 0);
        }
        for _ in 0..600 {
            self.step();
            self.assert_nothing_lost();
            let epoch = self.hosts.iter().find(|host| !host.draining).map(|host| host.ring.epoch());
            if self.hosts.iter().all(|host| host.placed.is_some() && host.placed == epoch) {
                break;
            }
        }
        let placed: Vec<_> = self.hosts.iter().map(|host| host.placed).collect();
        assert!(placed.iter().all(|one| one.is_some() && *one == placed[0]), "nobody finds everything in its place: {placed:?}");
        for (id, _) in self.words.iter().filter(|(_, word)| **word == Word::Alive) {
            let ring = &self.hosts.iter().find(|host| !host.draining).unwrap().ring;
            let holders = self.holders((*id, Part::Manifest));
            assert!(
                self.owners(ring, (*id, Part::Manifest)).iter().all(|owner| holders.contains(owner)),
                "{id}'s manifest is on its owners"
            );
        }
        for item in self.alive() {
            let owners: BTreeSet<usize> =
                self.owners(&self.hosts.iter().find(|host| !host.draining).unwrap().ring, item).into_iter().collect();
            assert_eq!(
                self.holders(item).into_iter().collect::<BTreeSet<_>>(),
                owners,
                "{item:?} is on its owners, and only there"
            );
        }
        for (id, _) in self.words.iter().filter(|(_, word)| **word == Word::Deleted) {
            let left: Vec<_> =
                (0..self.hosts.len()).filter(|&host| self.hosts[host].disk.durable.iter().any(|(one, _)| one == id)).collect();
            assert!(left.is_empty(), "{id} was deleted and is on {left:?}");
        }
    }
}
