//! What a crash leaves behind, made by hand: each step of create, write, commit and remove that may be the last one.

use std::fs;
use std::path::Path;

use super::*;
use crate::ReadError;

/// A store with a complete durable blob, closed.
async fn with_blob() -> (Room, Thing) {
    let (room, thing) = (Room::new(), Thing::blob(200, 5));
    drop(thing.upload(&room.open(), &[0, 1, 2, 3]).await.unwrap());
    (room, thing)
}

/// Nothing is left of it, and it can be had again.
async fn assert_gone(room: &Room, thing: &Thing) {
    let store = room.open();
    assert!(store.get(&thing.id()).is_none());
    assert_eq!((room.files(), store.usage().chunks), (0, 0));
    assert_eq!(thing.fill(&store).await.read(thing.whole()).await.unwrap(), thing.bytes);
}

#[tokio::test]
async fn data_without_meta_is_removed() {
    let (room, thing) = with_blob().await;
    fs::remove_file(room.meta(&thing.id())).unwrap();
    assert_gone(&room, &thing).await;
}

#[tokio::test]
async fn meta_without_data_is_removed() {
    let (room, thing) = with_blob().await;
    fs::remove_file(room.data(&thing.id())).unwrap();
    assert_gone(&room, &thing).await;
}

#[tokio::test]
async fn a_meta_cut_short_anywhere_is_removed_or_moved_aside() {
    let (room, thing) = with_blob().await;
    let (meta, data) = (fs::read(room.meta(&thing.id())).unwrap(), fs::read(room.data(&thing.id())).unwrap());
    for len in (0..meta.len()).step_by(7).chain([meta.len() - 1]) {
        fs::write(room.meta(&thing.id()), &meta[..len]).unwrap();
        fs::write(room.data(&thing.id()), &data).unwrap();
        let before = room.quarantined();
        assert!(room.open().get(&thing.id()).is_none(), "cut to {len} bytes");
        assert_eq!((room.files(), room.quarantined() - before), (0, usize::from(len >= 48)), "cut to {len} bytes");
    }
}

/// Any flipped byte of the meta: the entry is gone, or a chunk is, but nobody reads a wrong byte.
#[tokio::test]
async fn a_rotten_meta_never_makes_a_wrong_byte() {
    for thing in [Thing::blob(200, 5), Thing::object(200, 5)] {
        let room = Room::new();
        drop(thing.fill(&room.open()).await);
        let (meta, data) = (fs::read(room.meta(&thing.id())).unwrap(), fs::read(room.data(&thing.id())).unwrap());
        let (mut gone, mut missing) = (0, 0);
        for at in 0..meta.len() {
            fs::write(room.data(&thing.id()), &data).unwrap();
            fs::write(room.meta(&thing.id()), &meta).unwrap();
            flip(&room.meta(&thing.id()), at as u64);
            let Some(entry) = room.open().get(&thing.id()) else {
                gone += 1;
                assert_eq!((room.files(), room.quarantined()), (0, gone), "nothing is deleted for a rotten meta");
                continue;
            };
            match entry.read(thing.whole()).await {
                Ok(bytes) => assert_eq!(bytes, thing.bytes, "byte {at}"),
                Err(ReadError::Missing { .. }) => missing += 1,
                Err(error) => panic!("byte {at}: {error}"),
            }
        }
        assert!(gone >= 48 && missing >= 4, "{gone} gone, {missing} missing");
    }
}

#[tokio::test]
async fn uploads_do_not_outlive_the_process() {
    let (room, thing) = with_blob().await;
    let uploads = room.dir.path().join("uploads");
    for name in ["0b5f3c1e-7f0a-4a52-9c1e-0d9a3f1c2b4d", "left.meta"] {
        fs::write(uploads.join(name), b"half").unwrap();
    }
    let store = room.open();
    assert_eq!((room.files(), store.usage().chunks), (2, 4));
    assert_eq!(store.get(&thing.id()).unwrap().read(thing.whole()).await.unwrap(), thing.bytes);
}

/// The bytes of a chunk were written, its state was not: absent, and written again without trouble.
#[tokio::test]
async fn a_chunk_that_was_not_recorded_is_absent() {
    let (room, thing) = (Room::new(), Thing::object(200, 5));
    let entry = thing.create(&room.open()).await;
    thing.write(&entry, 0).await.unwrap();
    drop(entry);
    fs::write(room.data(&thing.id()), &thing.bytes).unwrap();
    let store = room.open();
    let entry = store.get(&thing.id()).unwrap();
    assert_eq!((entry.present(), store.usage().chunks), (vec![true, false, false, false], 1));
    assert_eq!(thing.fill(&store).await.read(thing.whole()).await.unwrap(), thing.bytes);
}

/// A power loss took the bytes that the meta says are there.
#[tokio::test]
async fn recorded_chunks_without_their_bytes_are_missing() {
    let (room, thing) = with_blob().await;
    fs::File::options().write(true).open(room.data(&thing.id())).unwrap().set_len(100).unwrap();
    let store = room.open();
    let entry = store.get(&thing.id()).unwrap();
    assert_eq!(entry.read(thing.range(0)).await.unwrap(), thing.slice(thing.range(0)));
    for n in [3, 2, 1] {
        assert!(matches!(entry.read(thing.range(n)).await, Err(ReadError::Missing { chunk }) if chunk == n));
    }
    assert_eq!((entry.present_count(), store.usage().chunks), (1, 1));
    assert_eq!(thing.fill(&store).await.read(thing.whole()).await.unwrap(), thing.bytes);
}

#[tokio::test]
async fn another_entrys_meta_is_not_believed() {
    let (room, thing) = with_blob().await;
    let other = Thing::blob(200, 6);
    drop(other.fill(&room.open()).await);
    fs::copy(room.meta(&other.id()), room.meta(&thing.id())).unwrap();
    let store = room.open();
    assert!(store.get(&thing.id()).is_none());
    assert_eq!(store.get(&other.id()).unwrap().read(other.whole()).await.unwrap(), other.bytes);
}

#[test]
fn a_layout_that_was_begun_is_finished() {
    let room = Room::new();
    drop(room.open());
    fs::remove_file(room.dir.path().join("format")).unwrap();
    fs::remove_dir(room.dir.path().join("objects")).unwrap();
    drop(room.open());
    assert!(room.dir.path().join("objects").is_dir());
}

#[test]
fn a_store_is_opened_by_one_at_a_time() {
    let room = Room::new();
    let store = room.open();
    let refused = room.try_open().err().unwrap();
    assert!(matches!(refused, OpenError::Locked { .. }));
    assert!(refused.to_string().contains(room.dir.path().to_str().unwrap()), "{refused}");
    drop(store);
    assert!(room.try_open().is_ok());
}

#[test]
fn formats_that_are_newer_or_none_are_refused() {
    let room = Room::new();
    drop(room.open());
    let format = |text: &str| {
        fs::write(room.dir.path().join("format"), text).unwrap();
        room.try_open().map(drop)
    };
    assert!(matches!(format("3\n"), Err(OpenError::Newer { found: 3, .. })));
    assert!(matches!(format("fish"), Err(OpenError::Foreign { .. })));
    for known in ["1\n", "2\n"] {
        assert!(format(known).is_ok());
        assert_eq!(fs::read_to_string(room.dir.path().join("format")).unwrap(), "2\n");
    }
}

#[tokio::test]
async fn only_this_user_may_look() {
    use std::os::unix::fs::PermissionsExt;
    let (room, thing) = with_blob().await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for file in [room.data(&thing.id()), room.meta(&thing.id()), room.dir.path().join("format"), room.dir.path().join("lock")] {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    for dir in ["blobs", "objects", "uploads"] {
        assert_eq!(mode(&room.dir.path().join(dir)), 0o700, "{dir}");
    }
    assert_eq!(mode(room.data(&thing.id()).parent().unwrap()), 0o700);
}

/// What a peer is told of this node's chunks it may take for a replica, and let go of its own.
#[tokio::test]
async fn nobody_sees_a_commit_before_its_names_are_on_the_disk() {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    let (room, thing) = (Room::new(), Thing::blob(200, 1));
    let (store, broken) = (room.open(), Arc::new(AtomicBool::new(true)));
    let (seen, fails) = (Arc::new(Mutex::new(Some(store.clone()))), broken.clone());
    let looker = seen.clone();
    let answer = move |id: &ContentId| {
        let store = looker.lock().unwrap();
        assert!(store.as_ref().is_some_and(|store| store.get(id).is_none()), "before the flush");
        if fails.load(Relaxed) { Err(std::io::Error::other("the disk is gone")) } else { Ok(()) }
    };
    assert!(store.disk().layout.at_sync.set(Box::new(answer)).is_ok());
    let before = store.usage();
    assert!(matches!(thing.upload(&store, &[0, 1]).await, Err(WriteError::Io(_))));
    assert!(store.get(&thing.id()).is_none());
    let after = store.usage();
    assert_eq!((room.files(), after.chunks, after.cached), (0, 0, before.cached), "nothing is left of it");
    broken.store(false, Relaxed);
    assert!(thing.upload(&store, &[0, 1]).await.unwrap().is_durable(1));
    assert_eq!(store.get(&thing.id()).unwrap().present_count(), 2);
    seen.lock().unwrap().take();
    drop(store);
    assert!(room.open().get(&thing.id()).unwrap().is_durable(0));
}
