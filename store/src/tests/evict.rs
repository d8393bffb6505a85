//! What goes when room is needed, and what never does. The cap is measured on the disk.

use std::collections::HashSet;
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::*;
use crate::ReadError;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
/// Chunks of most tests here: 16 blocks.
const SIZE: u32 = 64 << 10;

fn room_of(mib: usize) -> Room {
    Room::with_capacity((mib * MIB) as u64)
}

/// An object of chunks that take no time to make. No two are alike.
fn plain(chunk_size: u32, size: usize, seed: u64) -> Thing {
    let mut bytes = vec![seed.to_le_bytes()[0]; size];
    for (n, chunk) in (0u64..).zip(bytes.chunks_mut(chunk_size as usize)) {
        let tag = (seed << 20 | n).to_le_bytes();
        let len = chunk.len().min(tag.len());
        chunk[..len].copy_from_slice(&tag[..len]);
        chunk.last_mut().into_iter().for_each(|last| *last ^= tag[0]);
    }
    let object = ObjectRef { origin: "o".into(), key: format!("k{seed}"), version: "1".into(), size: size as u64 };
    Thing { bytes: bytes.into(), description: Description::Object { object, chunk_size } }
}

/// Writes all chunks, each within the gate, and the entry anew where it went meanwhile.
fn fill(store: &Store, thing: &Thing, gate: &RwLock<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for n in 0..thing.count() {
        let _open = gate.read().unwrap();
        while let Err(error) = runtime.block_on(thing.create(store)).write_blocking(n, &thing.chunk(n)) {
            assert!(matches!(error, WriteError::Gone), "{error}");
        }
    }
}

/// Writes all chunks, and the entry anew where it went meanwhile.
async fn fill_slowly(store: &Store, thing: &Thing) -> Entry {
    let mut entry = thing.create(store).await;
    for n in 0..thing.count() {
        while let Err(error) = thing.write(&entry, n).await {
            assert!(matches!(error, WriteError::Gone), "{error}");
            entry = thing.create(store).await;
        }
    }
    entry
}

async fn read_all(entry: &Entry, thing: &Thing) {
    assert!(entry.read(thing.whole()).await.unwrap() == thing.bytes);
}

/// Things that are read again and again: they take the place of what was hot before.
async fn fill_hot(store: &Store, seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let thing = plain(SIZE, 2 * MIB, seed);
        let entry = thing.create(store).await;
        for n in 0..thing.count() {
            thing.write(&entry, n).await.unwrap();
            for _ in 0..3 {
                assert!(entry.read(thing.range(n)).await.unwrap() == thing.slice(thing.range(n)));
            }
        }
    }
}

/// 16 threads fill the store several times over. Another looks what is counted, which never passes the cap, and at the disk, where there
/// is never more than that. The disk has no one moment while somebody writes: so between the writes.
fn fill_from_16(room: &Room, things: impl Fn(u64) -> Vec<Thing> + Sync) {
    let store = room.open();
    let (done, gate, most) = (AtomicBool::new(false), RwLock::new(()), room.capacity + room.capacity / 50);
    let write = |thread| things(thread).iter().for_each(|thing| fill(&store, thing, &gate));
    let write = &write;
    std::thread::scope(|threads| {
        let looker = threads.spawn(|| {
            // Once at the least, after all that.
            loop {
                let last = done.load(Relaxed);
                (0..100).for_each(|_| assert!(store.usage().bytes <= most, "{:?}", store.usage()));
                let _closed = gate.write().unwrap();
                let (du, counted) = (room.du(), store.usage().bytes);
                assert!(
                    du <= most && du.abs_diff(counted) <= room.capacity / 50,
                    "{du} bytes on the disk, {counted} are counted"
                );
                if last {
                    return;
                }
            }
        });
        let writers: Vec<_> = (0..16).map(|thread| threads.spawn(move || write(thread))).collect();
        let ended: Vec<_> = writers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        done.store(true, Relaxed);
        ended.into_iter().for_each(|ended| ended.unwrap());
        looker.join().unwrap();
    });
    let (used, du) = (store.usage().bytes, room.du());
    assert!(used.abs_diff(du) <= room.capacity / 50, "{used} counted, {du} on the disk");
    assert!(du > room.capacity / 100 * 90, "{du} of {} are used", room.capacity);
    drop(store);
    let again = room.open().usage().bytes;
    assert!(again.abs_diff(du) <= room.capacity / 50, "{again} counted when opened again, {du} on the disk");
}

#[test]
fn sixteen_writers_of_odd_chunks_stay_under_the_cap() {
    let room = room_of(48);
    // The last chunk of each is an odd one among the odd.
    fill_from_16(&room, |thread| vec![plain(500_003, 9 * 500_003 - 777, thread), plain(500_003, 3 * 500_003 + 1, 100 + thread)]);
}

#[test]
fn sixteen_writers_of_small_blobs_stay_under_the_cap() {
    let room = room_of(16);
    fill_from_16(&room, |thread| (0..250).map(|n| Thing::blob_in(1 << 20, KIB, 1000 * thread + n)).collect());
}

#[tokio::test]
async fn a_hot_set_survives_a_scan_of_ten_times_the_capacity() {
    let room = room_of(8);
    let store = room.open();
    let hot = plain(SIZE, 3 * MIB, 1);
    let entry = fill_slowly(&store, &hot).await;
    for _ in 0..3 {
        read_all(&entry, &hot).await;
    }
    for seed in 2..42 {
        let passing = plain(SIZE, 2 * MIB, seed);
        let entry = fill_slowly(&store, &passing).await;
        for n in 0..passing.count() {
            // In small pieces: that is one pass all the same.
            for at in (0..u64::from(SIZE)).step_by(4 * KIB) {
                let range = ByteRange::at(passing.range(n).start + at, 4 * KIB as u64);
                match entry.read(range).await {
                    Ok(bytes) => assert!(bytes == passing.slice(range)),
                    Err(error) => assert!(matches!(error, ReadError::Missing { .. })),
                }
            }
        }
    }
    assert!(entry.is_complete(), "{entry:?}");
    read_all(&entry, &hot).await;
    room.assert_weighed(&store, 0);
}

#[tokio::test]
async fn what_is_durable_or_pinned_stays() {
    let room = room_of(8);
    let store = room.open();
    let (kept, pinned) = (Thing::blob_in(SIZE, 2 * MIB, 1), plain(SIZE, 2 * MIB, 2));
    let all: Vec<u32> = (0..kept.count()).collect();
    let kept_entry = kept.upload(&store, &all[..30]).await.unwrap();
    let pinned_entry = fill_slowly(&store, &pinned).await;
    store.set_pinned(Arc::new(HashSet::from([pinned.id()])));
    for seed in 3..15 {
        fill_slowly(&store, &plain(SIZE, 2 * MIB, seed)).await;
    }
    assert!(all[..30].iter().all(|&n| kept_entry.is_durable(n)) && pinned_entry.is_complete());
    read_all(&pinned_entry, &pinned).await;
    store.set_pinned(Arc::default());
    kept_entry.release(all).await.unwrap();
    fill_hot(&store, 15..25).await;
    assert!(!pinned_entry.is_complete(), "nothing pins it any more");
    assert_eq!((kept_entry.present_count(), kept_entry.is_kept(), kept_entry.is_alive()), (0, true, true));
    room.assert_weighed(&store, 0);
}

/// All that is cached is pinned, and a put finds its half of the room; all that is durable leaves a twentieth for the cache.
#[tokio::test]
async fn floors_hold() {
    let room = room_of(8);
    let store = room.open();
    let things: Vec<Thing> = (0..4).map(|seed| plain(SIZE, 2 * MIB, seed)).collect();
    store.set_pinned(Arc::new(things.iter().map(Thing::id).collect()));
    for thing in &things {
        fill_slowly(&store, thing).await;
    }
    let upload = store.begin_upload(SIZE).await.unwrap();
    let filler = plain(SIZE, 8 * MIB, 9);
    let mut taken = 0;
    let full = loop {
        match upload.write_chunk(taken, filler.chunk(taken)).await {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, WriteError::Full { .. }), "{full:?}");
    let (half, pinned) = (room.capacity / 2, store.usage().cached);
    assert!(store.usage().durable > half && pinned > room.capacity * 40 / 100, "{:?}", store.usage());
    store.set_pinned(Arc::default());
    while upload.write_chunk(taken, filler.chunk(taken)).await.is_ok() {
        taken += 1;
    }
    let usage = store.usage();
    assert!((94..=95).contains(&(usage.durable * 100 / usage.capacity)), "{usage:?}");
    let last = plain(SIZE, SIZE as usize, 50);
    read_all(&fill_slowly(&store, &last).await, &last).await;
    let refused = store.get(&last.id()).unwrap().keep(vec![0], None).await;
    assert!(matches!(refused, Err(WriteError::Full { .. })), "{refused:?}");
    assert!(!store.get(&last.id()).unwrap().is_durable(0));
}

#[tokio::test]
async fn mapped_bytes_stay_as_they_are() {
    let room = room_of(12);
    let store = room.open();
    let thing = plain(1 << 20, 4 * MIB, 1);
    let entry = fill_slowly(&store, &thing).await;
    let held = entry.chunk_now(1);
    let mapped = entry.0.uses.any(1);
    for seed in 2..12 {
        fill_slowly(&store, &plain(1 << 20, 4 * MIB, seed)).await;
    }
    // Where the file system cannot tell what is in memory, nothing was handed out.
    let Some(chunk) = held else { return };
    assert!(chunk.slice(0..chunk.len()) == thing.slice(thing.range(1)));
    assert_eq!((entry.has(1), entry.evict(1)), (mapped, None));
    assert!(!entry.has(0), "the others went");
    let clone = chunk.segments()[0].clone();
    drop(chunk);
    assert_eq!(entry.evict(1), None, "a part of it is still held");
    assert!(clone == thing.slice(thing.range(1)));
    drop(clone);
    assert_eq!(entry.evict(1).is_some(), mapped);
    room.assert_weighed(&store, 0);
}

#[tokio::test]
async fn a_blob_that_is_read_natively_goes_whole_or_not_at_all() {
    let room = room_of(8);
    let store = room.open();
    let (cached, kept) = (Thing::blob_in(SIZE, MIB, 1), Thing::blob_in(SIZE, MIB, 2));
    let entries = [fill_slowly(&store, &cached).await, fill_slowly(&store, &kept).await];
    let open = |entry: &Entry| std::fs::File::open(store.native_dir().join(entry.native_path().unwrap())).unwrap();
    let files = entries.each_ref().map(open);
    entries[1].keep(vec![3], None).await.unwrap();
    assert_eq!(entries[0].evict(0), None);
    for seed in 3..20 {
        fill_slowly(&store, &plain(SIZE, 2 * MIB, seed)).await;
    }
    assert!(!entries[0].is_alive() && !store.native_dir().join(cached.id().to_string()).exists());
    assert!(entries[1].is_complete());
    for (mut file, thing) in files.into_iter().zip([&cached, &kept]) {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut file, &mut bytes).unwrap();
        assert!(bytes == thing.bytes, "who reads it natively reads on");
    }
    assert!(std::fs::read(store.native_dir().join(entries[1].native_path().unwrap())).unwrap() == kept.bytes);
    // Once nothing of it is kept, it may go whole.
    entries[1].release(vec![3]).await.unwrap();
    entries[1].release_description().await.unwrap();
    fill_hot(&store, 20..35).await;
    assert!(!entries[1].is_alive());
    room.assert_weighed(&store, 0);
}

#[tokio::test]
async fn descriptions_that_nobody_filled_go_too() {
    let room = room_of(2);
    let store = room.open();
    let kept = Thing::blob(100, 1).upload(&store, &[]).await.unwrap();
    for seed in 0..1500 {
        plain(SIZE, MIB, seed).create(&store).await;
    }
    assert!(store.objects().len() < 450 && kept.is_alive(), "{} entries in 2 MiB", store.objects().len());
    assert_eq!(room.files(), 2 * (store.objects().len() + 1));
    room.assert_weighed(&store, 0);
}

/// Nobody asks for room, so nobody takes anything out of the queue.
#[tokio::test]
async fn the_queue_forgets_what_was_removed() {
    let room = Room::new();
    let store = room.open();
    for seed in 0..8 {
        let thing = plain(16, 16 * 400, seed);
        thing.fill(&store).await;
        store.remove(&thing.id()).await.unwrap();
    }
    let waiting = store.disk().evictor.waiting();
    assert!(waiting < 2000, "{waiting} items of 3,208 still wait");
}

/// As a process leaves it that is killed between the bytes and their record.
#[tokio::test]
async fn what_was_not_recorded_is_given_back_when_the_store_is_opened() {
    let room = Room::new();
    let thing = plain(SIZE, 20 * SIZE as usize + 100, 1);
    {
        let store = room.open();
        let entry = thing.create(&store).await;
        for n in [3, 4, 9] {
            thing.write(&entry, n).await.unwrap();
        }
    }
    std::fs::write(room.data(&thing.id()), &thing.bytes).unwrap();
    let store = room.open();
    assert_eq!(store.usage().chunks, 3);
    room.assert_weighed(&store, 0);
    let entry = store.get(&thing.id()).unwrap();
    for n in [3, 4, 9] {
        assert!(entry.read(thing.range(n)).await.unwrap() == thing.slice(thing.range(n)));
    }
    read_all(&thing.fill(&store).await, &thing).await;
    room.assert_weighed(&store, 0);
}

/// What chunks are cut in does not matter: the last of two that share a block takes it along.
#[tokio::test]
async fn every_block_comes_back() {
    for size in [SIZE, 10_000, 4097] {
        let room = Room::new();
        let store = room.open();
        let thing = plain(size, 7 * size as usize + 5000, 1);
        let entry = thing.fill(&store).await;
        entry.keep(vec![], None).await.unwrap();
        for n in [2, 4, 3, 0, 7, 1, 6, 5, 8] {
            let freed = entry.evict(n);
            assert_eq!(freed.is_some(), n < thing.count());
        }
        assert_eq!(std::fs::metadata(room.data(&thing.id())).map(|file| crate::weight::given(&file)).unwrap(), 0, "{size}");
        room.assert_weighed(&store, 0);
    }
}

/// Whoever wins, nobody reads a wrong byte: not from a hole, not from a chunk that went and came back.
#[test]
fn readers_that_race_with_eviction_read_right_bytes_or_none() {
    const ROUNDS: usize = 400;
    let room = Room::new();
    let store = room.open();
    let thing = Thing::blob_in(1 << 20, 3 * MIB + 10 * KIB, 1);
    fill(&store, &thing, &RwLock::new(()));
    let entry = store.get(&thing.id()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(entry.keep(vec![], None)).unwrap();
    let done = AtomicBool::new(false);
    let (done, entry, thing, runtime) = (&done, &entry, &thing, &runtime);
    std::thread::scope(|threads| {
        let reader = |read: fn(&Entry, &Thing, ByteRange, &tokio::runtime::Runtime) -> Option<Bytes>| {
            threads.spawn(move || {
                for at in (0..3 * MIB as u64 - 100_000).step_by(71_111).cycle() {
                    // Once at the least, after all that.
                    let last = done.load(Relaxed);
                    let range = ByteRange::at(at, 100_000);
                    let bytes = read(entry, thing, range, runtime);
                    assert!(bytes.as_ref().is_none_or(|bytes| *bytes == thing.slice(range)), "wrong bytes in {range}");
                    if last {
                        return bytes.is_some();
                    }
                }
                false
            })
        };
        let readers = [
            reader(|entry, _, range, _| entry.read_now(range)),
            reader(|entry, _, range, runtime| runtime.block_on(entry.read(range)).ok()),
            reader(|entry, _, range, _| {
                let mut bytes = vec![0xA5; usize::try_from(range.len()).unwrap()];
                entry.read_into(range.start, &mut bytes).ok().map(|()| bytes.into())
            }),
            reader(|entry, thing, range, _| whole(entry.chunk_now(0), entry.chunk_now(1)?, thing, range)),
            reader(|entry, thing, range, runtime| {
                let chunk = |n| runtime.block_on(entry.read_chunk(n)).ok();
                whole(chunk(0), chunk(1)?, thing, range)
            }),
        ];
        for round in 0..ROUNDS {
            let n = u32::try_from(round % 4).unwrap();
            entry.evict(n);
            runtime.block_on(thing.write(entry, (n + 2) % 4)).unwrap();
            runtime.block_on(thing.write(entry, n)).unwrap();
        }
        done.store(true, Relaxed);
        let [_, waiting, into, _, _] = readers.map(|reader| reader.join().unwrap());
        assert!(waiting && into, "all of it is there then");
    });
    assert!(entry.is_complete());
    // Its extents may need a block of their own once the kernel has written it.
    room.assert_weighed_but(&store, 1, 0);
}

/// Checks the chunks, held while others come and go, and gives what was asked for.
fn whole(first: Option<Chunk>, second: Chunk, thing: &Thing, range: ByteRange) -> Option<Bytes> {
    for (n, chunk) in [(0, first), (1, Some(second))] {
        let right = |chunk: Chunk| chunk.slice(0..chunk.len()) == thing.slice(thing.range(n));
        assert!(chunk.is_none_or(right), "wrong bytes in chunk {n}");
    }
    Some(thing.slice(range))
}

/// A name is made as slowly as the disk makes one, and whoever needs room goes on meanwhile: with something else.
#[test]
fn who_makes_room_does_not_wait_for_a_native_name() {
    let room = room_of(8);
    let store = room.open();
    let (named, other) = (Thing::blob_in(SIZE, 4 * MIB, 1), plain(SIZE, 3 * MIB, 2));
    let gate = RwLock::new(());
    [&named, &other].iter().for_each(|thing| fill(&store, thing, &gate));
    let entry = store.get(&named.id()).unwrap();
    {
        let _naming = entry.0.linked.write().unwrap();
        assert!(entry.evict(0).is_none() && entry.has(0), "it may have the name by now");
        let more = plain(SIZE, 2 * MIB, 3);
        fill(&store, &more, &gate);
        assert!(store.get(&more.id()).is_some_and(|more| more.is_complete()));
        assert!(entry.is_complete(), "none of it went");
    }
    assert!(entry.evict(0).is_some() && entry.native_path().is_none());
}
