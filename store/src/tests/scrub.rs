//! What is read only to see whether it is still right.

use super::*;
use crate::{ReadError, Scrubbed};

#[tokio::test]
async fn a_scrub_finds_what_was_verified_and_durable_rotten_and_drops_it() {
    for thing in [Thing::blob_in(BIG, 3 * BIG as usize + 5, 1), Thing::object_in(BIG, 3 * BIG as usize + 5, 1)] {
        let room = Room::new();
        let store = room.open();
        let entry = match &thing.description {
            Description::Blob(_) => thing.upload(&store, &[0, 1, 2, 3]).await.unwrap(),
            Description::Object { .. } => thing.fill(&store).await,
        };
        for n in 0..4 {
            assert_eq!(entry.scrub(n).await.unwrap(), Scrubbed::Right);
        }
        assert_eq!(entry.scrub(4).await.unwrap(), Scrubbed::Absent);
        room.flip_open(&thing.id(), u64::from(BIG) + 4321);
        let before = store.usage().bytes;
        assert_eq!(entry.scrub(0).await.unwrap(), Scrubbed::Right);
        assert_eq!(entry.scrub(1).await.unwrap(), Scrubbed::Rotten);
        assert_eq!(entry.scrub(1).await.unwrap(), Scrubbed::Absent);
        assert_eq!((entry.present(), before - store.usage().bytes), (vec![true, false, true, true], entry.weight(1)));
        assert_eq!(store.usage().chunks, 3);
        thing.write(&entry, 1).await.unwrap();
        assert_eq!(entry.scrub(1).await.unwrap(), Scrubbed::Right);
        assert_eq!(entry.read(thing.whole()).await.unwrap(), thing.bytes);
    }
}

/// Rot below the file system does not show in the file's time: here it is hidden by an own write that is said to be under way.
#[tokio::test]
async fn a_scrub_believes_no_witness() {
    let (room, thing) = (Room::new(), Thing::blob_in(BIG, 2 * BIG as usize, 1));
    let store = room.open();
    let entry = thing.fill(&store).await;
    let data = std::fs::File::open(room.data(&thing.id())).unwrap();
    entry.own_write(&data, || room.flip_open(&thing.id(), 7));
    assert_ne!(entry.read(thing.whole()).await.unwrap(), thing.bytes, "else this test shows nothing");
    assert_eq!(entry.scrub(0).await.unwrap(), Scrubbed::Rotten);
    assert_eq!(entry.scrub(1).await.unwrap(), Scrubbed::Right);
    assert_eq!((entry.native_path(), entry.present()), (None, vec![false, true]));
}

#[tokio::test]
async fn what_was_cut_off_is_rotten_and_what_was_removed_is_absent() {
    let (room, thing) = (Room::new(), Thing::blob_in(BIG, 2 * BIG as usize, 1));
    let store = room.open();
    let entry = thing.fill(&store).await;
    std::fs::File::options().write(true).open(room.data(&thing.id())).unwrap().set_len(BIG.into()).unwrap();
    assert_eq!(entry.scrub(1).await.unwrap(), Scrubbed::Rotten);
    assert_eq!(entry.scrub(0).await.unwrap(), Scrubbed::Right);
    store.remove(&thing.id()).await.unwrap();
    assert_eq!(entry.scrub(0).await.unwrap(), Scrubbed::Absent);
}

/// Who repairs a file that somebody writes to must not cover him.
#[tokio::test]
async fn after_a_foreign_write_no_own_write_hides_another() {
    let (room, thing) = (Room::new(), Thing::blob_in(BIG, 3 * BIG as usize, 1));
    let store = room.open();
    let entry = thing.fill(&store).await;
    room.flip_open(&thing.id(), 7);
    assert!(matches!(entry.read(thing.whole()).await, Err(ReadError::Missing { chunk: 0 })));
    let data = std::fs::File::open(room.data(&thing.id())).unwrap();
    entry.own_write(&data, || room.flip_open(&thing.id(), u64::from(BIG) + 7));
    assert!(matches!(entry.read(ByteRange::at(BIG.into(), BIG.into())).await, Err(ReadError::Missing { chunk: 1 })));
    for n in [0, 1] {
        thing.write(&entry, n).await.unwrap();
    }
    assert_eq!(entry.read(thing.whole()).await.unwrap(), thing.bytes);
}
