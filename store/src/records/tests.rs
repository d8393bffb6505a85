use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;

use super::{Change, RecordError, Records, Table};
use crate::{Store, StoreConfig};

struct Room(tempfile::TempDir);

impl Room {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn open(&self) -> Records {
        let store = Store::open(StoreConfig { dir: self.0.path().into(), capacity: 1 << 20 }).unwrap();
        store.records().clone()
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("records.redb")
    }

    fn quarantined(&self) -> usize {
        std::fs::read_dir(self.0.path().join("quarantine")).map_or(0, Iterator::count)
    }
}

async fn put(records: &Records, table: Table, key: &str, value: &[u8]) {
    let value = value.to_vec();
    records.update(table, key.into(), move |_| Change::Put(value, ())).await.unwrap();
}

fn keys(records: &Records, table: Table, prefix: &str, after: Option<&str>, limit: usize) -> Vec<String> {
    records.scan(table, prefix, after, limit).unwrap().into_iter().map(|(key, _)| key).collect()
}

/// Waits until what was noted so far is there: it is written in the order of the queue.
async fn settle(records: &Records) {
    records.update(Table::Jobs, "settle".into(), |_| Change::Keep(())).await.unwrap();
}

#[tokio::test]
async fn a_record_is_put_seen_changed_and_removed() {
    let room = Room::new();
    let records = room.open();
    assert_eq!(records.get(Table::Names, "a").unwrap(), None);
    put(&records, Table::Names, "a", b"one").await;
    assert_eq!(records.get(Table::Names, "a").unwrap().as_deref(), Some(&b"one"[..]));
    assert_eq!(records.get(Table::Pins, "a").unwrap(), None, "tables are apart");

    let was = records.update(Table::Names, "a".into(), |now| Change::Keep(now.map(<[u8]>::to_vec))).await.unwrap();
    assert_eq!(was.as_deref(), Some(&b"one"[..]));
    records.update(Table::Names, "a".into(), |_| Change::Remove(())).await.unwrap();
    assert_eq!(records.get(Table::Names, "a").unwrap(), None);
}

#[tokio::test]
async fn a_store_without_records_has_no_file_of_them() {
    let room = Room::new();
    let records = room.open();
    assert_eq!(records.get(Table::Names, "a").unwrap(), None);
    assert!(records.scan(Table::Pins, "", None, 10).unwrap().is_empty());
    drop(records);
    assert!(!room.file().exists());
    put(&room.open(), Table::Names, "a", b"one").await;
    let mode = std::fs::metadata(room.file()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// With the store it belongs to still open, and after both are gone.
#[tokio::test]
async fn records_are_counted_as_the_disk_does() {
    use std::os::unix::fs::MetadataExt;
    let room = Room::new();
    let config = StoreConfig { dir: room.0.path().into(), capacity: 1 << 30 };
    let store = Store::open(config.clone()).unwrap();
    let before = store.usage().durable;
    put(store.records(), Table::Names, "a", &[7; 2 << 20]).await;
    let given = || std::fs::metadata(room.file()).unwrap().blocks() * 512;
    assert_eq!(store.usage().durable, before + given());
    drop(store);
    let store = Store::open(config).unwrap();
    assert_eq!((store.usage().durable, store.usage().cached), (before + given(), 0));
    assert_eq!(store.records().get(Table::Names, "a").unwrap().unwrap().len(), 2 << 20);
}

#[tokio::test]
async fn scan_gives_the_prefix_in_order_and_goes_on_where_it_was() {
    let room = Room::new();
    let records = room.open();
    for key in ["b/2", "a", "b/1", "b", "c", "b/3"] {
        put(&records, Table::Names, key, key.as_bytes()).await;
    }
    assert_eq!(keys(&records, Table::Names, "", None, 10), ["a", "b", "b/1", "b/2", "b/3", "c"]);
    assert_eq!(keys(&records, Table::Names, "b/", None, 2), ["b/1", "b/2"]);
    assert_eq!(keys(&records, Table::Names, "b/", Some("b/2"), 10), ["b/3"]);
    assert_eq!(keys(&records, Table::Names, "b/", Some("a"), 10), ["b/1", "b/2", "b/3"]);
    assert!(keys(&records, Table::Names, "b/", Some("c"), 10).is_empty());
    assert_eq!(records.scan(Table::Names, "b/1", None, 1).unwrap()[0].1, b"b/1");
}

/// Read, add one, write: none is lost, though all share few transactions.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn updates_of_one_record_follow_one_another() {
    let room = Room::new();
    let records = room.open();
    let one = |records: Records| async move {
        let add = |now: Option<&[u8]>| now.map_or(0, |now| now[0]) + 1;
        records.update(Table::Names, "count".into(), move |now| Change::Put(vec![add(now)], add(now))).await.unwrap()
    };
    let all: Vec<_> = (0..200).map(|_| tokio::spawn(one(records.clone()))).collect();
    let mut seen = Vec::new();
    for task in all {
        seen.push(task.await.unwrap());
    }
    seen.sort_unstable();
    assert_eq!(seen, (1..=200).collect::<Vec<u8>>());
    assert_eq!(records.get(Table::Names, "count").unwrap(), Some(vec![200]));
}

#[tokio::test]
async fn a_panic_is_the_callers_and_the_next_update_goes_on() {
    let room = Room::new();
    let records = room.open();
    let other = records.clone();
    let panicking = tokio::spawn(async move { other.update::<()>(Table::Names, "a".into(), |_| panic!("on purpose")).await });
    assert!(panicking.await.unwrap_err().is_panic());
    put(&records, Table::Names, "a", b"one").await;
    assert_eq!(records.get(Table::Names, "a").unwrap().as_deref(), Some(&b"one"[..]));
}

#[tokio::test]
async fn what_is_too_large_is_refused_and_what_was_there_stays() {
    let room = Room::new();
    let records = room.open();
    put(&records, Table::Jobs, "a", b"one").await;
    let refused = records.update(Table::Jobs, "a".into(), |_| Change::Put(vec![0; super::MAX_VALUE + 1], ())).await;
    assert!(matches!(refused, Err(RecordError::TooLarge { .. })), "{refused:?}");
    assert_eq!(records.get(Table::Jobs, "a").unwrap().as_deref(), Some(&b"one"[..]));
}

#[tokio::test]
async fn notes_are_kept_by_a_clean_close() {
    let room = Room::new();
    let records = room.open();
    records.note(Table::Metadata, "k".into(), b"answer".to_vec());
    settle(&records).await;
    assert_eq!(records.get(Table::Metadata, "k").unwrap().as_deref(), Some(&b"answer"[..]));
    drop(records);
    assert_eq!(room.open().get(Table::Metadata, "k").unwrap().as_deref(), Some(&b"answer"[..]));
}

/// Also after it was opened again, when what it holds is counted anew; and a record that is noted again is young again.
#[tokio::test]
async fn a_bounded_table_forgets_the_oldest() {
    const BOUND: u64 = 50_000;
    let room = Room::new();
    let fill = async |records: &Records, numbers: std::ops::Range<usize>| {
        for n in numbers {
            records.note(Table::Metadata, format!("{n:03}"), vec![0; 1000]);
            records.note(Table::Metadata, "young".into(), vec![1; 1000]);
        }
        settle(records).await;
    };
    let records = room.open();
    records.bound(Table::Metadata, BOUND);
    fill(&records, 0..100).await;
    let kept = keys(&records, Table::Metadata, "", None, 1000);
    assert!((30..50).contains(&kept.len()), "{} of 1 kB in 50 kB", kept.len());
    assert_eq!((kept[kept.len() - 1].as_str(), kept[kept.len() - 2].as_str()), ("young", "099"));
    drop(records);

    let records = room.open();
    records.bound(Table::Metadata, BOUND);
    fill(&records, 100..110).await;
    let later = keys(&records, Table::Metadata, "", None, 1000);
    assert_eq!(later.len(), kept.len());
    assert_eq!(later[0], kept[10], "ten came, ten went");
    records.update(Table::Metadata, later[0].clone(), |_| Change::Remove(())).await.unwrap();
    assert_eq!(keys(&records, Table::Metadata, "", None, 1000), later[1..]);
}

#[tokio::test]
async fn what_was_not_there_drives_out_nothing_that_was() {
    let room = Room::new();
    let records = room.open();
    records.bound(Table::Misses, 50_000);
    records.note(Table::Metadata, "listing".into(), vec![1; 1000]);
    records.note(Table::Commits, "main".into(), vec![2; 40]);
    for n in 0..1000 {
        records.note(Table::Misses, n.to_string(), vec![0; 1000]);
        if n % 100 == 0 {
            settle(&records).await;
        }
    }
    settle(&records).await;
    assert!((30..50).contains(&keys(&records, Table::Misses, "", None, 1000).len()));
    records.bound(Table::Metadata, 2000);
    records.note(Table::Metadata, "another".into(), vec![1; 1900]);
    settle(&records).await;
    assert_eq!(keys(&records, Table::Metadata, "", None, 10), ["another"]);
    assert_eq!(keys(&records, Table::Commits, "", None, 10), ["main"]);
    assert_eq!((records.bound_of(Table::Metadata), records.bound_of(Table::Commits)), (2000, u64::MAX));
}

/// Whatever page is hit: what is read afterwards is right, or the file was put aside and is empty.
#[tokio::test]
async fn a_damaged_file_gives_no_wrong_record() {
    let room = Room::new();
    let value = |n: usize| format!("{n}-").repeat(40).into_bytes();
    let records = room.open();
    for n in 0..64 {
        put(&records, Table::Names, &n.to_string(), &value(n)).await;
    }
    drop(records);
    let sound = std::fs::read(room.file()).unwrap();
    // Where there is something: an empty page may rot unseen.
    let used: Vec<usize> = (0..sound.len()).step_by(97).filter(|&at| sound[at] != 0).collect();
    for at in used.iter().step_by(used.len() / 24 + 1).chain([&0, &9]) {
        std::fs::write(room.file(), &sound).unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(room.file()).unwrap();
        file.write_all_at(&[!sound[*at]], *at as u64).unwrap();
        let before = room.quarantined();
        let records = room.open();
        let empty = room.quarantined() > before;
        for (key, found) in records.scan(Table::Names, "", None, 1000).unwrap() {
            assert!(!empty && found == value(key.parse().unwrap()), "byte {at}: record {key} is wrong");
        }
        put(&records, Table::Names, "new", b"works").await;
        drop(records);
        assert!(room.open().get(Table::Names, "new").unwrap().is_some());
    }
    assert!(room.quarantined() > 0, "no damage was found out");
}

#[tokio::test]
async fn a_file_of_something_else_is_put_aside() {
    let room = Room::new();
    drop(room.open());
    for foreign in [&b"not a database"[..], &[0; 100_000]] {
        std::fs::write(room.file(), foreign).unwrap();
        let before = room.quarantined();
        let records = room.open();
        put(&records, Table::Names, "a", b"one").await;
        drop(records);
        assert_eq!(room.quarantined(), before + 1);
    }
}
