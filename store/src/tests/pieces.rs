//! What was found at open is verified piece by piece.

use std::fs;

use proptest::prelude::*;

use super::*;
use crate::ReadError;

/// Cuts the table of piece digests off, as a version that had none would have written the meta.
fn without_table(room: &Room, thing: &Thing) {
    let len = table(room, thing);
    fs::File::options().write(true).open(room.meta(&thing.id())).unwrap().set_len(len).unwrap();
}

/// Where the table of piece digests begins.
fn table(room: &Room, thing: &Thing) -> u64 {
    let file = fs::File::open(room.meta(&thing.id())).unwrap();
    crate::meta::read(&file).unwrap_or_else(|error| panic!("{error}")).tables.pieces(0)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

/// The pieces that `range` touches of a chunk that begins at 0.
fn touches(range: ByteRange, piece: u64) -> bool {
    let piece = ByteRange::at(piece * u64::from(PIECE), PIECE.into());
    !range.intersect(piece).is_empty()
}

#[derive(Debug, Clone, Copy)]
enum How {
    Read,
    Into,
    Chunk,
    Now,
}

fn how() -> impl Strategy<Value = How> {
    prop_oneof![4 => Just(How::Read), 4 => Just(How::Into), 1 => Just(How::Chunk), 2 => Just(How::Now)]
}

/// The bytes of `range`, or `None` where they are said not to be here.
async fn read(entry: &Entry, how: How, range: ByteRange) -> Option<Bytes> {
    let done = match how {
        How::Read => entry.read(range).await,
        How::Into => {
            let mut bytes = vec![0xA5; usize::try_from(range.len()).unwrap()];
            entry.read_into(range.start, &mut bytes).map(|()| bytes.into())
        }
        How::Chunk => entry.read_chunk(0).await.map(|chunk| chunk.segments()[0].clone()),
        How::Now => return entry.read_now(range),
    };
    match done {
        Ok(bytes) => Some(bytes),
        Err(ReadError::Missing { chunk: 0 }) => None,
        Err(error) => panic!("{error}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// A flipped byte makes only reads of its piece fail; from the first of these on, the chunk is gone.
    #[test]
    fn a_flipped_byte_spoils_only_reads_of_its_piece_and_then_the_chunk(
        object in any::<bool>(),
        len in 1u32..BIG,
        at in any::<prop::sample::Index>(),
        reads in prop::collection::vec((how(), 0u64..u64::from(BIG), 1u64..5000), 1..12),
    ) {
        let room = Room::new();
        let thing = if object { Thing::object_in(BIG, len as usize, 7) } else { Thing::blob_in(BIG, len as usize, 7) };
        let at = at.index(len as usize) as u64;
        runtime().block_on(async {
            drop(thing.fill(&room.open()).await);
            room.flip(&thing.id(), at);
            let store = room.open();
            let entry = store.get(&thing.id()).unwrap();
            let mut gone = false;
            for (how, start, len) in reads {
                let whole = thing.whole();
                let range = if matches!(how, How::Chunk) { whole } else { ByteRange::at(start, len).clamp_to(whole.end) };
                if range.is_empty() {
                    continue;
                }
                let spoils = touches(range, at / u64::from(PIECE));
                match read(&entry, how, range).await {
                    Some(bytes) => assert!(!spoils && !gone && bytes == thing.slice(range), "{range} of {whole}, {at} flipped"),
                    // Without waiting it may always say no.
                    None if matches!(how, How::Now) => continue,
                    None => assert!(spoils || gone, "{range} of {whole}, {at} flipped"),
                }
                gone |= spoils;
                assert_eq!((entry.has(0), store.usage().chunks), (!gone, u64::from(!gone)));
                room.assert_weighed(&store, 0);
            }
            assert_eq!(entry.verify_all().await.is_ok(), gone, "what nobody has read yet is found at the latest here");
            thing.write(&entry, 0).await.unwrap();
            assert_eq!(entry.read(thing.whole()).await.unwrap(), thing.bytes);
        });
    }

    /// Whatever is in the table, it never makes a wrong byte, nor a right chunk go away.
    #[test]
    fn a_rotten_table_costs_only_the_hashing(at in any::<prop::sample::Index>(), start in 0u64..40_000, len in 1u64..20_000) {
        let room = Room::new();
        let thing = Thing::blob_in(BIG, 40_000, 7);
        runtime().block_on(async {
            drop(thing.fill(&room.open()).await);
            let table = table(&room, &thing);
            let end = fs::metadata(room.meta(&thing.id())).unwrap().len();
            flip(&room.meta(&thing.id()), table + at.index(usize::try_from(end - table).unwrap()) as u64);
            let store = room.open();
            let entry = store.get(&thing.id()).unwrap();
            let range = ByteRange::at(start, len);
            assert_eq!(entry.read(range).await.unwrap(), thing.slice(range));
            for n in 0..thing.count() {
                let chunk = entry.read_chunk(n).await.unwrap();
                assert_eq!((chunk.digests(), &chunk.slice(0..chunk.len())), (thing.chunk(n).digests(), &thing.slice(thing.range(n))));
            }
        });
    }
}

#[tokio::test]
async fn a_meta_without_the_table_opens_and_gets_it() {
    let room = Room::new();
    for thing in [Thing::blob_in(BIG, 40_000, 1), Thing::object_in(BIG, 40_000, 1)] {
        let written = {
            drop(thing.fill(&room.open()).await);
            fs::read(room.meta(&thing.id())).unwrap()
        };
        without_table(&room, &thing);
        let store = room.open();
        let entry = store.get(&thing.id()).unwrap();
        assert!(entry.is_complete());
        for n in 0..thing.count() {
            let range = ByteRange::at(thing.range(n).start + 1, 1);
            assert_eq!(entry.read(range).await.unwrap(), thing.slice(range));
        }
        assert_eq!(fs::read(room.meta(&thing.id())).unwrap(), written, "{entry:?}");
    }
}

/// Without the table there is no telling the pieces apart.
#[tokio::test]
async fn a_flipped_byte_without_the_table_spoils_the_chunk_at_once() {
    let (room, thing) = (Room::new(), Thing::blob_in(BIG, 40_000, 1));
    drop(thing.fill(&room.open()).await);
    without_table(&room, &thing);
    room.flip(&thing.id(), u64::from(BIG) + 5000);
    let entry = room.open().get(&thing.id()).unwrap();
    assert!(matches!(entry.read(ByteRange::at(BIG.into(), 1)).await, Err(ReadError::Missing { chunk: 1 })));
    assert_eq!(entry.present(), [true, false, true]);
}

#[tokio::test]
async fn a_commit_writes_the_table_of_what_it_received() {
    let room = Room::new();
    // Whole, with holes, and merged into what is here.
    for (seed, chunks, cached) in [(1, vec![0, 1, 2, 3], false), (2, vec![1, 3], false), (3, vec![0, 1, 2], true)] {
        let thing = Thing::blob_in(BIG, 60_000, seed);
        let store = room.open();
        if cached {
            thing.fill(&store).await;
        }
        drop(thing.upload(&store, &chunks).await.unwrap());
        drop(store);
        for &n in &chunks {
            // A byte that is not read, so that only piece digests can say that the others are right.
            room.flip(&thing.id(), thing.range(n).end - 1);
        }
        let entry = room.open().get(&thing.id()).unwrap();
        for n in chunks {
            let range = ByteRange::at(thing.range(n).start, 3 * u64::from(PIECE));
            assert_eq!(entry.read(range).await.unwrap(), thing.slice(range));
            assert!(matches!(entry.verify_all().await, Err(ReadError::Missing { chunk }) if chunk == n));
        }
        entry.verify_all().await.unwrap();
    }
}

#[tokio::test]
async fn chunks_are_served_with_the_digests_of_their_pieces() {
    let room = Room::new();
    let thing = Thing::blob_in(BIG, 40_000, 1);
    for _ in 0..2 {
        let store = room.open();
        let entry = thing.fill(&store).await;
        for n in 0..thing.count() {
            let expected = thing.chunk(n);
            let same = |chunk: &Chunk| {
                chunk.digests() == expected.digests() && chunk.slice(0..chunk.len()) == expected.slice(0..expected.len())
            };
            assert!(same(&entry.read_chunk(n).await.unwrap()));
            // Now it is verified. Some where the file system can tell what is in the page cache, which not all can.
            assert!(entry.chunk_now(n).is_none_or(|chunk| same(&chunk)));
        }
        assert!(entry.chunk_now(thing.count()).is_none());
        assert!(matches!(entry.read_chunk(thing.count()).await, Err(ReadError::Missing { .. })));
    }
}

/// Who reads verified pieces without a lock learns that the chunk was dropped meanwhile, though it may be back already.
#[test]
fn a_chunk_that_was_dropped_and_came_back_is_another() {
    use crate::table::{Mask, State, Table};
    let pieces = herring_blob::Pieces::new(BIG, BIG);
    let (first, second) = (Mask::of(0..1, pieces), Mask::of(1..2, pieces));
    let table = Table::new([State::Cached, State::Durable].into_iter(), false);
    let before = table.look(0);
    table.set_verified(0, before, first);
    let seen = table.look(0);
    assert!(seen.is_verified(first) && !seen.is_verified(second) && table.still(0, seen));
    assert!(table.drop_unverified(0, seen, first).is_none(), "these were found right");
    assert_eq!(table.drop_unverified(0, seen, second), Some(State::Cached));
    assert!(!table.still(0, seen) && table.present_count() == 1);
    table.set_verified(0, seen, second);
    assert!(!table.has(0), "what was dropped does not come back by an old look at it");
    table.set_written(0, table.look(0));
    assert!(!table.still(0, seen) && table.drop_unverified(0, seen, second).is_none());
    assert_eq!((table.present_count(), table.verified_count()), (2, 1));
    let seen = table.look(1);
    (0..16).for_each(|n| table.set_verified(1, seen, Mask::of(n..n + 1, pieces)));
    assert_eq!((table.look(1).is_verified(Mask::ALL), table.look(1).state, table.verified_count()), (true, State::Durable, 2));
}
