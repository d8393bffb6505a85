//! Any sequence of operations does what it does to a plain map.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::ReadError;

#[derive(Debug, Clone)]
enum Op {
    Create(usize),
    Write(usize, u32),
    WriteWrong(usize, u32),
    Read(usize, u64, u64),
    Commit(usize, u8),
    Remove(usize),
    Reopen,
    /// A byte of this chunk changes on disk while the store is closed.
    Rot(usize, u32),
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Slot {
    here: bool,
    durable: bool,
    rotten: bool,
}

#[derive(Debug, Clone, Default)]
struct Held {
    chunks: Vec<Slot>,
    kept: bool,
}

fn things() -> Vec<Thing> {
    vec![Thing::blob(0, 1), Thing::blob(64, 2), Thing::blob(300, 3), Thing::object(129, 4), Thing::blob(256, 5)]
}

fn op() -> impl Strategy<Value = Op> {
    let (thing, chunk) = (0usize..5, 0u32..5);
    prop_oneof![
        2 => thing.clone().prop_map(Op::Create),
        8 => (thing.clone(), chunk.clone()).prop_map(|(t, n)| Op::Write(t, n)),
        1 => (thing.clone(), chunk.clone()).prop_map(|(t, n)| Op::WriteWrong(t, n)),
        6 => (thing.clone(), 0u64..310, 0u64..310).prop_map(|(t, start, len)| Op::Read(t, start, len)),
        2 => (thing.clone(), any::<u8>()).prop_map(|(t, mask)| Op::Commit(t, mask)),
        1 => thing.clone().prop_map(Op::Remove),
        1 => Just(Op::Reopen),
        1 => (thing, chunk).prop_map(|(t, n)| Op::Rot(t, n)),
    ]
}

struct Pair {
    room: Room,
    store: Option<Store>,
    things: Vec<Thing>,
    model: HashMap<usize, Held>,
}

impl Pair {
    fn new() -> Self {
        let room = Room::new();
        let store = Some(room.open());
        Self { room, store, things: things(), model: HashMap::new() }
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn reopen(&mut self) {
        self.store = None;
        self.store = Some(self.room.open());
    }

    fn hold(&mut self, t: usize) -> &mut Held {
        let count = self.things[t].count() as usize;
        self.model.entry(t).or_insert_with(|| Held { chunks: vec![Slot::default(); count], kept: false })
    }

    async fn apply(&mut self, op: Op) {
        let thing = |t: usize| self.things[t].clone();
        match op {
            Op::Create(t) => {
                thing(t).create(self.store()).await;
                self.hold(t);
            }
            Op::Write(t, n) if n < thing(t).count() => self.write(t, n).await,
            Op::WriteWrong(t, n) => self.write_wrong(t, n).await,
            Op::Read(t, start, len) => self.read(t, ByteRange::at(start, len)).await,
            Op::Commit(t, mask) if matches!(thing(t).description, Description::Blob(_)) => self.commit(t, mask).await,
            Op::Remove(t) => {
                let was = self.store().remove(&thing(t).id()).await.unwrap();
                assert_eq!(was, self.model.remove(&t).is_some());
            }
            Op::Reopen => self.reopen(),
            Op::Rot(t, n) => self.rot(t, n),
            Op::Write(..) | Op::Commit(..) => {}
        }
    }

    async fn write(&mut self, t: usize, n: u32) {
        let thing = self.things[t].clone();
        let Some(entry) = self.store().get(&thing.id()) else { return };
        thing.write(&entry, n).await.unwrap();
        self.hold(t).chunks[n as usize].here = true;
    }

    async fn write_wrong(&mut self, t: usize, n: u32) {
        let thing = &self.things[t];
        let Some(entry) = self.store().get(&thing.id()).filter(|entry| !entry.has(n)) else { return };
        let wrong = noise(CHUNK as usize, 77);
        // An object's first chunk would be taken: nobody knows yet what it should be.
        assert!(entry.write_chunk(n + 8, Chunk::of(wrong, CHUNK)).await.is_err());
    }

    async fn read(&mut self, t: usize, range: ByteRange) {
        let thing = self.things[t].clone();
        let Some(entry) = self.store().get(&thing.id()) else { return };
        let touched = entry.geometry().chunks_in(range);
        let held = &mut self.hold(t).chunks;
        let absent = touched.clone().find(|&n| !held[n as usize].here);
        let rotten = touched.clone().find(|&n| held[n as usize].rotten);
        if let Some(bytes) = entry.read_now(range) {
            assert_eq!((absent, rotten, bytes), (None, None, thing.slice(range)));
        }
        match entry.read(range).await {
            Ok(bytes) => assert_eq!((absent, rotten, bytes), (None, None, thing.slice(range))),
            Err(ReadError::Missing { chunk }) => {
                assert_eq!(Some(chunk), absent.or(rotten));
                held[chunk as usize] = Slot::default();
            }
            Err(error) => panic!("{error}"),
        }
    }

    async fn commit(&mut self, t: usize, mask: u8) {
        let thing = self.things[t].clone();
        let chunks: Vec<u32> = (0..thing.count()).filter(|n| mask >> n & 1 == 1).collect();
        thing.upload(self.store(), &chunks).await.unwrap();
        let held = self.hold(t);
        held.kept = true;
        for n in chunks {
            held.chunks[n as usize] = Slot { here: true, durable: true, rotten: false };
        }
    }

    fn rot(&mut self, t: usize, n: u32) {
        let thing = self.things[t].clone();
        let Some(chunk) = self.model.get_mut(&t).and_then(|held| held.chunks.get_mut(n as usize)) else { return };
        // Twice would put it right again.
        if !chunk.here || chunk.rotten {
            return;
        }
        chunk.rotten = true;
        self.store = None;
        self.room.flip(&thing.id(), thing.range(n).start);
        self.store = Some(self.room.open());
    }

    fn agree(&self) {
        let usage = self.store().usage();
        let mut chunks = 0;
        for (t, thing) in self.things.iter().enumerate() {
            let entry = self.store().get(&thing.id());
            let held = self.model.get(&t);
            assert_eq!(entry.is_some(), held.is_some());
            let (Some(entry), Some(held)) = (entry, held) else { continue };
            let here: Vec<bool> = held.chunks.iter().map(|chunk| chunk.here).collect();
            assert_eq!((entry.present(), entry.is_kept()), (here.clone(), held.kept));
            assert_eq!(entry.is_complete(), here.iter().all(|&here| here));
            for n in (0..thing.count()).filter(|&n| here[n as usize]) {
                chunks += 1;
                assert_eq!(entry.is_durable(n), held.chunks[n as usize].durable);
                assert_eq!(entry.digest(n), Some(thing.chunk(n).digest()));
            }
        }
        assert_eq!((usage.chunks, usage.blobs + usage.objects), (chunks, self.model.len()));
        // All chunks of an entry share a block here, which stays when they were rotten.
        self.room.assert_weighed_but(self.store(), self.model.len() as u64, chunks + 1);
        assert_eq!(self.room.files(), 2 * self.model.len());
    }
}

proptest! {
    // Each case does real fsyncs.
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_store_is_a_map(ops in prop::collection::vec(op(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut pair = Pair::new();
        for op in ops {
            runtime.block_on(pair.apply(op));
            pair.agree();
        }
        pair.reopen();
        pair.agree();
    }
}
