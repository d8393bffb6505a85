//! Files that somebody takes away while the store is open.

use super::*;
use crate::{ReadError, Scrubbed};

/// How files can go.
#[derive(Debug, Clone, Copy)]
enum Taken {
    Data,
    Meta,
    Both,
    Shelf,
    /// Something else is in the data's place.
    Replaced,
    /// And in the meta's.
    MetaReplaced,
}

const ALL: [Taken; 6] = [Taken::Data, Taken::Meta, Taken::Both, Taken::Shelf, Taken::Replaced, Taken::MetaReplaced];

fn take(room: &Room, id: &ContentId, how: Taken) {
    let (data, meta) = (room.data(id), room.meta(id));
    match how {
        Taken::Data => std::fs::remove_file(data).unwrap(),
        Taken::Meta => std::fs::remove_file(meta).unwrap(),
        Taken::Both => [data, meta].iter().for_each(|path| std::fs::remove_file(path).unwrap()),
        Taken::Shelf => std::fs::remove_dir_all(data.parent().unwrap()).unwrap(),
        Taken::Replaced | Taken::MetaReplaced => {
            let path = if matches!(how, Taken::Replaced) { data } else { meta };
            std::fs::remove_file(&path).unwrap();
            std::fs::create_dir(&path).unwrap();
        }
    }
}

/// A blob of which chunks 0 and 1 are durable, and was read; its files open, or closed again.
async fn committed(room: &Room, open: bool) -> (Store, Thing, Entry) {
    let (store, thing) = (room.open(), Thing::blob_in(BIG, 2 * BIG as usize, 1));
    let entry = thing.upload(&store, &[0, 1]).await.unwrap();
    assert_eq!(entry.read(thing.whole()).await.unwrap(), thing.bytes);
    if !open {
        store.disk().files.close(entry.0.handle);
    }
    (store, thing, entry)
}

fn is_lost(store: &Store, entry: &Entry) -> bool {
    !entry.is_alive() && store.get(&entry.id()).is_none() && store.usage().chunks == 0 && !entry.is_durable(0)
}

#[tokio::test]
async fn who_reads_finds_that_files_are_gone() {
    // A removed meta does not show in what is read of the data: the scrubber and the hourly look find it.
    for (how, open) in ALL
        .into_iter()
        .flat_map(|how| [(how, true), (how, false)])
        .filter(|(how, open)| !(matches!(how, Taken::Meta | Taken::MetaReplaced) && *open))
    {
        let room = Room::new();
        let (store, thing, entry) = committed(&room, open).await;
        let mut changes = store.durable_changes();
        changes.mark_unchanged();
        take(&room, &thing.id(), how);
        let read = entry.read(thing.whole()).await;
        assert!(matches!(read, Err(ReadError::Missing { .. })), "{how:?}, open {open}: {read:?}");
        assert!(is_lost(&store, &entry) && changes.has_changed().unwrap(), "{how:?}, open {open}");
        let again = thing.fill(&store).await;
        assert_eq!(again.read(thing.whole()).await.unwrap(), thing.bytes, "{how:?}, open {open}");
        drop((store, entry, again));
        assert_eq!(room.open().get(&thing.id()).unwrap().present_count(), 2, "{how:?}, open {open}");
    }
}

#[tokio::test]
async fn whoever_looks_finds_that_files_are_gone() {
    for (how, open) in ALL.into_iter().flat_map(|how| [(how, true), (how, false)]) {
        let room = Room::new();
        let (store, thing, entry) = committed(&room, open).await;
        assert!(entry.look_for_files().await && entry.is_alive());
        take(&room, &thing.id(), how);
        assert!(!entry.look_for_files().await && is_lost(&store, &entry), "{how:?}, open {open}");
        let room = Room::new();
        let (store, thing, entry) = committed(&room, open).await;
        take(&room, &thing.id(), how);
        assert_eq!(entry.scrub(1).await.unwrap(), Scrubbed::Rotten, "{how:?}, open {open}");
        assert!(is_lost(&store, &entry), "{how:?}, open {open}");
    }
}

/// What is acknowledged is on the disk, under its name.
#[tokio::test]
async fn a_commit_does_not_add_to_files_that_are_gone() {
    for (how, open) in ALL.into_iter().flat_map(|how| [(how, true), (how, false)]) {
        let room = Room::new();
        let (store, thing, _) = committed(&room, open).await;
        take(&room, &thing.id(), how);
        thing.upload(&store, &[0, 1]).await.unwrap();
        drop(store);
        let entry = room.open().get(&thing.id()).unwrap();
        assert!(entry.is_durable(0) && entry.is_durable(1), "{how:?}, open {open}");
        assert_eq!(entry.read(thing.whole()).await.unwrap(), thing.bytes, "{how:?}, open {open}");
    }
}

#[tokio::test]
async fn what_is_no_file_does_not_count_when_the_store_is_opened() {
    let room = Room::new();
    let (store, thing, entry) = committed(&room, false).await;
    drop((store, entry));
    take(&room, &thing.id(), Taken::Replaced);
    let store = room.open();
    assert!(store.get(&thing.id()).is_none() && room.quarantined() == 1);
    thing.fill(&store).await;
}

/// Who cleans up among the second names takes nothing away.
#[tokio::test]
async fn a_native_name_that_is_gone_loses_nothing() {
    let room = Room::new();
    let (store, thing, entry) = committed(&room, true).await;
    std::fs::remove_file(store.native_dir().join(entry.native_path().unwrap())).unwrap();
    assert_eq!(entry.read(thing.whole()).await.unwrap(), thing.bytes);
    assert!(entry.is_durable(0) && entry.look_for_files().await);
}

/// As when its disk is unmounted: all would be brought again, to the disk below.
#[tokio::test]
async fn a_directory_that_is_gone_as_a_whole_loses_nothing() {
    let room = Room::new();
    let (home, away) = (room.dir.path(), room.dir.path().with_extension("away"));
    let (store, thing, entry) = committed(&room, false).await;
    std::fs::rename(home, &away).unwrap();
    assert!(matches!(entry.read(thing.whole()).await, Err(ReadError::Io(_))));
    assert!(!entry.look_for_files().await && entry.is_durable(0));
    std::fs::rename(&away, home).unwrap();
    assert_eq!(entry.read(thing.whole()).await.unwrap(), thing.bytes);
    drop(store);
}

/// Too many open files pass; what is on the disk stays.
#[tokio::test]
async fn what_may_pass_loses_nothing() {
    let (room, error) = (Room::new(), |kind: std::io::ErrorKind| ReadError::Io(kind.into()));
    let (_store, _, entry) = committed(&room, true).await;
    for kind in [std::io::ErrorKind::PermissionDenied, std::io::ErrorKind::OutOfMemory, std::io::ErrorKind::Other] {
        assert!(matches!(entry.unless_lost::<()>(0, Err(error(kind))), Err(ReadError::Io(_))) && entry.is_alive());
    }
}
