//! What is kept, and released.

use super::*;

fn durable(entry: &Entry) -> Vec<u32> {
    (0..entry.geometry().chunk_count()).filter(|&n| entry.is_durable(n)).collect()
}

#[tokio::test]
async fn what_is_kept_is_durable_until_it_is_released() {
    let room = Room::new();
    for thing in [Thing::blob(300, 1), Thing::object(300, 1)] {
        let store = room.open();
        let mut changes = store.durable_changes();
        let entry = thing.create(&store).await;
        for n in [0, 1, 3] {
            thing.write(&entry, n).await.unwrap();
        }
        assert!(!changes.has_changed().unwrap());
        assert_eq!(entry.keep(vec![3, 2, 1, 1, 900], None).await.unwrap(), [1, 3]);
        assert!(changes.has_changed().unwrap() && entry.is_kept());
        assert_eq!((durable(&entry), entry.replicas()), (vec![1, 3], None));
        changes.mark_unchanged();
        entry.release(vec![0, 1, 2, 900]).await.unwrap();
        assert!(changes.has_changed().unwrap());
        drop((store, entry));
        let entry = room.open().get(&thing.id()).unwrap();
        assert_eq!((durable(&entry), entry.is_kept(), entry.present_count()), (vec![3], true, 3));
    }
}

#[tokio::test]
async fn how_many_replicas_a_blob_has_is_remembered() {
    let room = Room::new();
    let thing = Thing::blob(100, 1);
    let store = room.open();
    let upload = store.begin_upload(CHUNK).await.unwrap();
    upload.write_chunk(0, thing.chunk(0)).await.unwrap();
    assert_eq!(upload.commit(thing.manifest(), Some(7)).await.unwrap().replicas(), Some(7));
    for (said, after) in [
        (None, 7),
        (Some(0), 7),
        (Some(2), 7),
        (Some(9), 9),
        (None, 9),
        (Some(u8::MAX), crate::MAX_REPLICAS),
        (Some(9), crate::MAX_REPLICAS),
    ] {
        let entry = store.get(&thing.id()).unwrap();
        assert!(entry.keep(vec![], said).await.unwrap().is_empty());
        assert_eq!(entry.replicas(), Some(after));
    }
    assert_eq!(
        thing.upload(&store, &[1]).await.unwrap().replicas(),
        Some(crate::MAX_REPLICAS),
        "a put that says nothing leaves it"
    );
    drop((store, upload));
    let entry = room.open().get(&thing.id()).unwrap();
    assert_eq!((entry.replicas(), durable(&entry)), (Some(crate::MAX_REPLICAS), vec![0, 1]));
}

/// A meta as format 1 wrote it, and any other byte.
#[tokio::test]
async fn a_byte_that_nobody_wrote_keeps_nothing() {
    use crate::custody::Kept;
    let written = [Kept::No, Kept::Yes].into_iter().chain((1..=crate::MAX_REPLICAS).map(Kept::Replicas));
    let written: Vec<_> = written.map(|kept| (kept.byte(), kept)).collect();
    for byte in 0..=u8::MAX {
        let expected = written.iter().find(|(known, _)| *known == byte).map_or(Kept::No, |&(_, kept)| kept);
        assert_eq!(Kept::from_byte(byte), expected);
    }
    assert_eq!((Kept::No.byte(), Kept::Yes.byte()), (0, 2));
}

#[tokio::test]
async fn rot_is_not_kept_and_counts_as_a_change() {
    let room = Room::new();
    let thing = Thing::blob(300, 1);
    drop(thing.upload(&room.open(), &[0, 1, 2]).await.unwrap());
    room.flip(&thing.id(), 70);
    let store = room.open();
    let (entry, mut changes) = (store.get(&thing.id()).unwrap(), store.durable_changes());
    assert_eq!(entry.keep(vec![0, 1, 2], None).await.unwrap(), [0, 2]);
    assert!(changes.has_changed().unwrap() && !entry.has(1));
    changes.mark_unchanged();
    assert!(store.remove(&thing.id()).await.unwrap() && changes.has_changed().unwrap());
    assert!(matches!(entry.keep(vec![], None).await, Err(WriteError::Gone)));
    assert!(matches!(entry.release(vec![0]).await, Err(WriteError::Gone)));
}

#[tokio::test]
async fn an_entry_that_is_not_kept_goes_with_its_last_chunk() {
    let room = Room::new();
    let store = room.open();
    let (empty, filled) = (Thing::blob(100, 1), Thing::blob(100, 2));
    let entry = empty.upload(&store, &[]).await.unwrap();
    entry.release_description().await.unwrap();
    assert!(store.get(&empty.id()).is_none() && !entry.is_alive());
    drop(entry);
    assert_eq!(room.files(), 0);
    let entry = filled.upload(&store, &[0]).await.unwrap();
    entry.release_description().await.unwrap();
    assert!(entry.is_kept() && entry.is_durable(0), "who keeps a chunk keeps what it is of");
    entry.release(vec![0]).await.unwrap();
    entry.release_description().await.unwrap();
    assert!(!entry.is_kept() && !entry.is_durable(0) && entry.has(0));
    drop((store, entry));
    let entry = room.open().get(&filled.id()).unwrap();
    assert!(!entry.is_kept() && !entry.is_durable(0) && entry.has(0));
}

/// Pins may take 45 % of the capacity, or what is left of 95 % where durable bytes took more; what is durable here takes none of that.
#[tokio::test]
async fn what_pins_may_take_and_what_one_takes() {
    let room = Room::with_capacity(100 << 20);
    let store = room.open();
    assert_eq!(store.pin_room(), 45 << 20);
    let thing = Thing::blob_in(1 << 20, (3 << 20) + 100, 1);
    assert_eq!(store.pin_weight(&thing.id(), (3 << 20) + 100), (3 << 20) + 4096, "in whole blocks");
    assert_eq!(store.pin_weight(&thing.id(), u64::MAX), u64::MAX, "somebody's tree may say anything");
    let entry = thing.upload(&store, &[1]).await.unwrap();
    thing.write(&entry, 3).await.unwrap();
    assert_eq!((store.pin_weight(&thing.id(), 0), entry.bytes_here()), ((2 << 20) + 4096, (1 << 20) + 100));
    let filler = Thing::blob_in(1 << 20, 60 << 20, 2);
    filler.upload(&store, &(0..60).collect::<Vec<_>>()).await.unwrap();
    let left = (95 << 20) - store.usage().durable;
    assert_eq!(store.pin_room(), left);
    assert!(left < 35 << 20);
}
