//! Somebody else writes to the files of an open store.

use std::fs;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use proptest::prelude::*;

use super::*;
use crate::ReadError;
use crate::witness::Witness;

#[derive(Debug, Clone, Copy)]
enum How {
    Now,
    IntoNow,
    Into,
    Read,
    Chunk,
    ChunkNow,
}

const ALL: [How; 6] = [How::Now, How::IntoNow, How::Into, How::Read, How::Chunk, How::ChunkNow];

/// The bytes of chunk `n` from `part` on, `len` of them or all; `None` where they are said not to be here, or not without waiting.
async fn read(entry: &Entry, how: How, n: u32, range: ByteRange) -> Option<Bytes> {
    let joined = |chunk: Chunk| chunk.slice(0..chunk.len());
    let mut buffer = vec![0xA5; usize::try_from(range.len()).unwrap()];
    let done = match how {
        How::Now => return entry.read_now(range),
        How::IntoNow => return entry.read_into_now(range.start, &mut buffer).then(|| buffer.into()),
        How::ChunkNow => return entry.chunk_now(n).map(joined),
        How::Into => entry.read_into(range.start, &mut buffer).map(|()| buffer.into()),
        How::Read => entry.read(range).await,
        How::Chunk => entry.read_chunk(n).await.map(joined),
    };
    match done {
        Ok(bytes) => Some(bytes),
        Err(ReadError::Missing { chunk }) if chunk == n => None,
        Err(error) => panic!("{error}"),
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

/// Large enough to be mapped.
const MAPPED: u32 = 2 << 20;

#[tokio::test]
async fn no_way_of_reading_gives_a_byte_that_somebody_else_changed() {
    for how in ALL {
        let (room, thing) = (Room::new(), Thing::blob_in(MAPPED, 3 * MAPPED as usize, 1));
        let store = room.open();
        let entry = thing.upload(&store, &[0, 1, 2]).await.unwrap();
        for n in 0..3 {
            read(&entry, how, n, thing.range(n)).await.inspect(|bytes| assert!(*bytes == thing.slice(thing.range(n))));
        }
        room.flip_open(&thing.id(), u64::from(MAPPED) + 1_000_000);
        for n in [1, 0, 2] {
            let bytes = read(&entry, how, n, thing.range(n)).await;
            assert!(bytes.is_none_or(|bytes| n != 1 && bytes == thing.slice(thing.range(n))), "{how:?} of chunk {n}");
        }
        assert!(matches!(entry.read(thing.range(1)).await, Err(ReadError::Missing { chunk: 1 })), "{how:?}");
        assert_eq!((entry.present(), entry.native_path()), (vec![true, false, true], None));
        thing.write(&entry, 1).await.unwrap();
        for n in 0..3 {
            assert!(entry.read(thing.range(n)).await.unwrap() == thing.slice(thing.range(n)), "{how:?} of chunk {n}");
        }
        // And without waiting again, where the file system can tell what is in the page cache.
        assert!(entry.read_now(thing.range(1)).is_none_or(|bytes| bytes == thing.slice(thing.range(1))));
        assert!(entry.native_path().is_some(), "{how:?}: all is verified again");
    }
}

/// A native name is handed out only for what is right.
#[tokio::test]
async fn a_blob_that_somebody_else_changed_is_not_native() {
    let (room, thing) = (Room::new(), Thing::blob(200, 1));
    let store = room.open();
    let entry = thing.fill(&store).await;
    assert!(entry.native_path().is_some() && entry.native_path().is_some());
    assert!(entry.read_now(thing.whole()).is_none_or(|bytes| bytes == thing.bytes), "a name of our own is no change");
    room.flip_open(&thing.id(), 150);
    assert_eq!(entry.native_path(), None);
    assert!(matches!(entry.verify_all().await, Err(ReadError::Missing { chunk: 2 })));
    thing.write(&entry, 2).await.unwrap();
    entry.verify_all().await.unwrap();
    assert!(entry.native_path().is_some());
}

/// Its time of last write can be set back, as `touch` and `rsync` do; the time of change cannot.
#[tokio::test]
async fn who_hides_the_time_of_a_write_is_noticed() {
    let (room, thing) = (Room::new(), Thing::blob(200, 1));
    let entry = thing.fill(&room.open()).await;
    let file = fs::File::options().write(true).open(room.data(&thing.id())).unwrap();
    let times = fs::FileTimes::new().set_modified(file.metadata().unwrap().modified().unwrap());
    room.flip_open(&thing.id(), 70);
    file.set_times(times).unwrap();
    assert!(matches!(entry.read(thing.whole()).await, Err(ReadError::Missing { chunk: 1 })));
}

#[tokio::test]
async fn a_file_that_was_cut_has_its_first_chunks() {
    for how in ALL {
        let (room, thing) = (Room::new(), Thing::blob_in(MAPPED, 3 * MAPPED as usize, 1));
        let entry = thing.fill(&room.open()).await;
        let file = fs::File::options().write(true).open(room.data(&thing.id())).unwrap();
        file.set_len(u64::from(MAPPED) + 10_000).unwrap();
        for n in [2, 1, 0] {
            let bytes = read(&entry, how, n, thing.range(n)).await;
            assert!(bytes.is_none_or(|bytes| n == 0 && bytes == thing.slice(thing.range(0))), "{how:?} of chunk {n}");
        }
        for n in [1, 2] {
            assert!(matches!(entry.read_chunk(n).await, Err(ReadError::Missing { .. })), "{how:?}");
            thing.write(&entry, n).await.unwrap();
        }
        assert!(entry.read(thing.whole()).await.unwrap() == thing.bytes);
    }
}

/// Another file under the same name, as editors and `cp` make it.
#[tokio::test]
async fn a_file_that_was_replaced_is_not_read() {
    let (room, thing) = (Room::new(), Thing::blob(200, 1));
    let (store, path) = (room.open(), room.data(&thing.id()));
    let entry = thing.fill(&store).await;
    fs::write(path.with_extension("new"), [0; 200]).unwrap();
    fs::rename(path.with_extension("new"), &path).unwrap();
    for n in 0..4 {
        assert!(matches!(entry.read(thing.range(n)).await, Err(ReadError::Missing { .. })));
    }
    assert_eq!(thing.fill(&store).await.read(thing.whole()).await.unwrap(), thing.bytes);
}

/// Whatever is done to the meta meanwhile, what is read is right.
#[test]
fn a_meta_that_somebody_else_changed_makes_no_wrong_byte() {
    let (room, thing) = (Room::new(), Thing::blob_in(BIG, 2 * BIG as usize + 5, 1));
    runtime().block_on(async {
        let entry = thing.fill(&room.open()).await;
        let len = fs::metadata(room.meta(&thing.id())).unwrap().len();
        for at in (0..len).step_by(13) {
            flip_open(&room.meta(&thing.id()), at);
            for how in ALL {
                let n = u32::try_from(at % 3).unwrap();
                let bytes = read(&entry, how, n, thing.range(n)).await;
                assert!(bytes.is_none_or(|bytes| bytes == thing.slice(thing.range(n))), "{how:?} of chunk {n}, {at} flipped");
            }
        }
        assert_eq!(entry.read(thing.whole()).await.unwrap(), thing.bytes);
    });
}

/// What an upload received, and somebody else changed before its commit, is not acknowledged.
#[tokio::test]
async fn an_upload_that_somebody_else_changed_is_not_committed() {
    for flipped in [false, true] {
        let (room, thing) = (Room::new(), Thing::blob(200, 1));
        let store = room.open();
        let upload = store.begin_upload(CHUNK).await.unwrap();
        for n in 0..thing.count() {
            upload.write_chunk(n, thing.chunk(n)).await.unwrap();
        }
        let path = upload.draft().path();
        if flipped {
            flip_open(&path, 100);
        } else {
            fs::File::options().write(true).open(path).unwrap().write_all_at(&thing.bytes[100..110], 100).unwrap();
        }
        match upload.commit(thing.manifest(), None).await {
            Ok(entry) => assert!(!flipped && entry.read(thing.whole()).await.unwrap() == thing.bytes),
            Err(error) => assert!(flipped && store.get(&thing.id()).is_none(), "{error}"),
        }
    }
}

/// A foreign write in the instant between an own write's look at the file and the write must be seen as foreign.
#[test]
fn an_own_write_hides_no_foreign_one() {
    let (room, thing) = (Room::new(), Thing::blob(200, 1));
    runtime().block_on(async {
        let store = room.open();
        let entry = thing.create(&store).await;
        for n in 0..3 {
            thing.write(&entry, n).await.unwrap();
        }
        room.flip_open(&thing.id(), 5);
        thing.write(&entry, 3).await.unwrap();
        assert!(entry.read_now(thing.range(0)).is_none());
        assert!(matches!(entry.read(thing.whole()).await, Err(ReadError::Missing { chunk: 0 })));
        assert_eq!(entry.read(thing.range(3)).await.unwrap(), thing.slice(thing.range(3)));
    });
}

#[test]
fn a_witness_vouches_until_somebody_else_writes() {
    let file = tempfile::tempfile().unwrap();
    let (witness, doubts) = (Witness::new(), std::cell::Cell::new(0));
    let doubt = || doubts.set(doubts.get() + 1);
    let write = || file.write_all_at(b"x", 0).unwrap();
    assert!(!witness.vouches(&file), "nobody has looked");
    witness.settle(&file, 10, doubt).unwrap();
    assert!(witness.vouches(&file));
    for _ in 0..100 {
        witness.own(&file, doubt, || {
            assert!(witness.vouches(&file));
            write();
        });
        assert!(witness.vouches(&file));
    }
    assert_eq!(doubts.get(), 0, "own writes are no reason");
    for round in 1..=100 {
        write();
        assert!(!witness.vouches(&file));
        if round % 2 == 0 {
            witness.own(&file, doubt, write);
        } else {
            witness.settle(&file, 10, doubt).unwrap();
        }
        assert!(witness.vouches(&file));
        assert_eq!((doubts.get(), file.metadata().unwrap().len()), (round, 10));
    }
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| witness.own(&file, doubt, || panic!("as meant"))));
    assert!(panicked.is_err() && witness.vouches(&file), "and so is a panic");
    write();
    assert!(!witness.vouches(&file));
}

/// Flips bytes of its chunks, and back, until told to stop. While an own write is under way nobody could tell the two apart: it waits.
fn flip_on(room: &Room, entry: &Entry, thing: &Thing, chunks: u64, seed: u64, stop: &AtomicBool) {
    let mut at = seed;
    while !stop.load(Relaxed) {
        at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let place = (at >> 33) % (chunks * u64::from(thing.chunk_size()));
        for _ in 0..2 {
            let turn = entry.0.witness.turn();
            room.flip_open(&thing.id(), place);
            drop(turn);
        }
    }
}

/// Reads chunks in all ways: what is given is right. How many were.
fn read_on(entry: &Entry, thing: &Thing, rounds: u32) -> u32 {
    runtime().block_on(async {
        let mut given = 0;
        for round in 0..rounds {
            for how in ALL {
                let n = (round * 7 + 3) % thing.count();
                if let Some(bytes) = read(entry, how, n, thing.range(n)).await {
                    assert!(bytes == thing.slice(thing.range(n)), "{how:?} of chunk {n} in round {round}");
                    given += 1;
                }
            }
        }
        given
    })
}

#[test]
fn readers_get_right_bytes_while_others_fill_and_flip() {
    const FLIPPED: u32 = 6;
    for seed in 0..4 {
        let (room, thing) = (Room::new(), Thing::blob_in(BIG, 24 * BIG as usize, seed));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let entry = runtime.block_on(async {
            let entry = thing.create(&room.open()).await;
            for n in 0..FLIPPED {
                thing.write(&entry, n).await.unwrap();
            }
            entry
        });
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| flip_on(&room, &entry, &thing, FLIPPED.into(), seed, &stop));
            let fill = scope.spawn(|| {
                for n in (0..thing.count()).cycle().take(150) {
                    runtime.block_on(thing.write(&entry, n)).unwrap();
                }
            });
            let readers: Vec<_> = (0..2).map(|_| scope.spawn(|| read_on(&entry, &thing, 150))).collect();
            let given: Vec<_> = readers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
            stop.store(true, Relaxed);
            fill.join().unwrap();
            assert!(given.into_iter().all(|given| given.unwrap() > 0));
        });
        // What is left is right, once what was flipped at last is found.
        runtime.block_on(async {
            for n in 0..thing.count() {
                let _ = entry.read_chunk(n).await;
                thing.write(&entry, n).await.unwrap();
            }
            assert!(entry.read(thing.whole()).await.unwrap() == thing.bytes);
        });
    }
}

/// Nobody else writes: who reads a blob that is being filled has what is there, at once.
#[test]
fn own_writes_make_no_reader_fail() {
    let (room, thing) = (Room::new(), Thing::blob_in(BIG, 40 * BIG as usize, 9));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let entry = runtime.block_on(thing.create(&room.open()));
    runtime.block_on(thing.write(&entry, 0)).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| (1..thing.count()).for_each(|n| runtime.block_on(thing.write(&entry, n)).unwrap()));
        while !entry.is_complete() {
            assert_eq!(runtime.block_on(entry.read(thing.range(0))).unwrap(), thing.slice(thing.range(0)));
            let mut bytes = vec![0; BIG as usize];
            entry.read_into(0, &mut bytes).unwrap();
        }
    });
    assert_eq!(entry.0.table.verified_count(), thing.count(), "nothing was doubted");
}

#[derive(Debug, Clone)]
enum Op {
    Flip(u64),
    Cut(u64),
    Write(u32),
    Read(How, u32, u32, u32),
    Scrub(u32),
}

fn op() -> impl Strategy<Value = Op> {
    let how = prop::sample::select(&ALL[..]);
    prop_oneof![
        2 => (0..3 * u64::from(BIG)).prop_map(Op::Flip),
        1 => (0..3 * u64::from(BIG)).prop_map(Op::Cut),
        3 => (0u32..3).prop_map(Op::Write),
        8 => (how, 0u32..3, 0u32..BIG, 1u32..5000).prop_map(|(how, n, from, len)| Op::Read(how, n, from, len)),
        1 => (0u32..3).prop_map(Op::Scrub),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// One after the other: flips, cuts, writes and reads. What is given is right, and what nobody touched is given.
    #[test]
    fn any_foreign_writes_between_any_reads_make_no_wrong_byte(ops in prop::collection::vec(op(), 1..40)) {
        let (room, thing) = (Room::new(), Thing::blob_in(BIG, 3 * BIG as usize, 7));
        runtime().block_on(async {
            let store = room.open();
            let entry = thing.fill(&store).await;
            // Which chunks somebody else has spoilt, as far as this test knows.
            let mut touched = [false; 3];
            for op in ops {
                match op {
                    Op::Flip(at) => {
                        touched[usize::try_from(at / u64::from(BIG)).unwrap()] = true;
                        room.flip_open(&thing.id(), at);
                    }
                    Op::Cut(len) => {
                        let first = usize::try_from(len / u64::from(BIG)).unwrap();
                        touched[first..].fill(true);
                        fs::File::options().write(true).open(room.data(&thing.id())).unwrap().set_len(len).unwrap();
                    }
                    Op::Write(n) => {
                        let absent = !entry.has(n);
                        thing.write(&entry, n).await.unwrap();
                        touched[n as usize] &= !absent;
                    }
                    Op::Scrub(n) => drop(entry.scrub(n).await.unwrap()),
                    Op::Read(how, n, from, len) => {
                        let part = ByteRange::at(thing.range(n).start + u64::from(from), len.into()).intersect(thing.range(n));
                        let range = if matches!(how, How::Chunk | How::ChunkNow) { thing.range(n) } else { part };
                        let must = !touched[n as usize] && matches!(how, How::Into | How::Read | How::Chunk);
                        match read(&entry, how, n, range).await {
                            Some(bytes) => assert!(bytes == thing.slice(range), "{how:?} of {range}"),
                            None => assert!(!must, "{how:?} of {range}, which nobody touched"),
                        }
                    }
                }
            }
        });
    }
}
