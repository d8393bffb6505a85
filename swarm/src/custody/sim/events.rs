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
        if self.hosts[me].disk.fates.is_deleted(&id) {
            let fate = self.hosts[me].disk.fates.next(id, false, self.now());
            self.tell(me, fate);
        }
        let count = u32::try_from(self.chunks[&id].len()).unwrap();
        let before = self.words.insert(id, Word::Unsure);
        let ring = self.hosts[me].ring.clone();
        let items = (0..count).map(Part::Chunk).chain([Part::Manifest]).map(|part| (id, part));
        let written: Vec<usize> = items.map(|item| self.write(me, &ring, item)).collect();
        // Of a deletion on the other side of a partition a put cannot know: that deletion counts when they meet.
        let unheard = self.hosts.iter().any(|host| host.disk.fates.is_deleted(&id));
        let acknowledged = !unheard && written.into_iter().min().unwrap_or(0) >= ACKNOWLEDGE;
        let word = if acknowledged { Word::Alive } else { before.filter(|word| *word == Word::Alive).unwrap_or(Word::Unsure) };
        self.words.insert(id, word);
    }

    /// On how many nodes it is then: its owners, or the next ones for those who do not answer.
    pub(super) fn write(&mut self, me: usize, ring: &Ring, item: Item) -> usize {
        let walk: Vec<NodeId> =
            ring.owners(self.point(item), REPLICAS + 16).into_iter().map(|member| member.id.clone()).collect();
        let mut written = 0;
        for id in walk {
            let host = self.index(&id);
            if written == REPLICAS {
                break;
            }
            if self.reaches(me, host) {
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
                written += 1;
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
        let told = self.tell(me, fate);
        let heard = owners.iter().filter(|owner| told.contains(owner)).count();
        self.words.insert(id, if 2 * heard > owners.len() { Word::Deleted } else { Word::Unsure });
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
