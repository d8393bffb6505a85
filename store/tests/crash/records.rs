//! The same for records: what was acknowledged is there after SIGKILL, and a full disk takes records again once it has room.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use herring_store::{Change, RecordError, Records, Table};

use super::{CHILD, SmallDisk, open, start_child};

/// Sixteen writers, each with a key of its own that counts up, beside notes that nobody waits for.
async fn count_until_killed(dir: &Path) -> ! {
    let store = open(dir);
    let count = async |records: Records, writer: u64| {
        loop {
            records.note(Table::Metadata, format!("note-{writer}"), vec![0; 3000]);
            let reached = add_one(&records, format!("count-{writer}")).await.unwrap();
            // In one piece, since the kill may come between two. Panics once the parent is gone.
            std::io::stderr().write_all(format!("ack {writer} {reached}\n").as_bytes()).unwrap();
        }
    };
    for writer in 1..16 {
        tokio::spawn(count(store.records().clone(), writer));
    }
    count(store.records().clone(), 0).await
}

async fn add_one(records: &Records, key: String) -> Result<u64, RecordError> {
    let value = |now: Option<&[u8]>| now.map_or(0, number) + 1;
    records.update(Table::Names, key, move |now| Change::Put(value(now).to_le_bytes().to_vec(), value(now))).await
}

fn number(value: &[u8]) -> u64 {
    u64::from_le_bytes(value.try_into().expect("a record is never half of one"))
}

#[test]
fn every_acknowledged_record_survives_a_kill() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    if let Some(dir) = std::env::var_os(CHILD) {
        runtime.block_on(count_until_killed(Path::new(&dir)));
    }
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = [0_u64; 16];
    for acks in [1, 7, 40, 200, 900] {
        count_in_a_killed_child(dir.path(), acks, &mut acknowledged);
        let store = open(dir.path());
        for (writer, reached) in acknowledged.iter_mut().enumerate() {
            let found = store.records().get(Table::Names, &format!("count-{writer}")).unwrap();
            let found = found.map_or(0, |value| number(&value));
            assert!(found == *reached || found == *reached + 1, "writer {writer} reached {reached}, found {found}");
            *reached = found;
        }
    }
    assert!(!dir.path().join("quarantine").exists(), "a kill is no damage");
}

/// Kills it after `acks` acknowledgements; `reached` is then what each writer was told last.
fn count_in_a_killed_child(dir: &Path, acks: usize, reached: &mut [u64; 16]) {
    let mut child = start_child("records::every_acknowledged_record_survives_a_kill", dir, 0);
    let lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let mut seen = 0;
    for line in lines {
        let Some((writer, count)) = line.strip_prefix("ack ").and_then(|ack| ack.split_once(' ')) else { continue };
        reached[writer.parse::<usize>().unwrap()] = count.parse().unwrap();
        seen += 1;
        if seen == acks {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(seen >= acks, "the child died by itself after {seen} records");
}

#[tokio::test]
async fn a_full_disk_refuses_records_and_takes_them_again() {
    let Some(disk) = SmallDisk::mount(4) else { return };
    let store = open(&disk.0.path().join("store"));
    let filler = disk.0.path().join("filler");
    assert_eq!(add_one(store.records(), "a".into()).await.unwrap(), 1);
    std::fs::write(&filler, vec![1; 8 << 20]).unwrap_err();
    let mut wrote = 1;
    let refused = loop {
        match put_large(store.records(), wrote).await {
            Ok(()) => wrote += 1,
            Err(error) => break error,
        }
        assert!(wrote < 1000, "64 MB went into a full disk of 4");
    };
    assert!(matches!(refused, RecordError::Disk { .. }), "{refused:?}");
    std::fs::remove_file(&filler).unwrap();
    assert_eq!(add_one(store.records(), "a".into()).await.unwrap(), 2, "what was acknowledged is there, and it goes on");
    for n in 1..wrote {
        assert_eq!(store.records().get(Table::Jobs, &n.to_string()).unwrap().map(|value| value.len()), Some(64 << 10));
    }
}

async fn put_large(records: &Records, n: u64) -> Result<(), RecordError> {
    records.update(Table::Jobs, n.to_string(), |_| Change::Put(vec![3; 64 << 10], ())).await
}
