//! The checker, against nodes that are not what they should be.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use herring_blob::{BlobId, ByteRange};
use herring_http_api::client::PeerConfig;

use super::check;
use super::load::{Load, Rates};
use super::random::Random;
use super::report::Report;
use super::site::{At, Door, Site, Sites};

/// What nodes hold: all the same, or each its own.
type Disk = Arc<Mutex<HashMap<BlobId, Vec<u8>>>>;

/// How a node fails its readers.
#[derive(Clone, Copy)]
enum Vice {
    None,
    FlipsBits,
    FailsReads,
    Refuses,
}

struct Fake {
    disk: Disk,
    vice: Vice,
}

#[async_trait]
impl Door for Fake {
    async fn put(&self, bytes: Bytes) -> Result<BlobId, String> {
        if matches!(self.vice, Vice::Refuses) {
            return Err("no room".to_owned());
        }
        let id = BlobId::of(&bytes);
        self.disk.lock().unwrap().insert(id, bytes.to_vec());
        Ok(id)
    }

    async fn read(&self, id: BlobId, range: ByteRange) -> Result<Vec<u8>, String> {
        // A node is never as quick as not to let others run.
        tokio::task::yield_now().await;
        if matches!(self.vice, Vice::FailsReads) {
            return Err("it fell asleep".to_owned());
        }
        let whole = self.disk.lock().unwrap().get(&id).cloned().ok_or("it has no such blob")?;
        let part = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
        let mut bytes = whole[part].to_vec();
        if matches!(self.vice, Vice::FlipsBits) {
            bytes[0] ^= 1;
        }
        Ok(bytes)
    }
}

/// A load on nodes with these vices and one disk, with three blobs put.
async fn load(vices: &[Vice]) -> (Load, Disk) {
    let disk = Disk::default();
    let sites = vices.iter().enumerate().map(|(n, vice)| {
        let door = Fake { disk: disk.clone(), vice: *vice };
        Site::new(format!("n{}", n + 1), At::new(String::new(), PeerConfig::patient()), Arc::new(door))
    });
    let rates = Rates { seed: 1, readers: 2, writers: 1, bytes: 64 << 10, over: Duration::from_millis(50) };
    let load = Load::new(rates, Arc::new(Sites::new(sites)));
    for number in 0..3 {
        load.put(&load.sites().all()[0], 0, number).await;
    }
    (load, disk)
}

async fn checked(load: &Load) -> Report {
    check::all(load).await;
    let mut report = Report::default();
    report.take(&load.tally());
    report
}

fn found(report: &Report) -> [u64; 4] {
    [report.failed_reads, report.lost_blobs, report.wrong_bytes, report.refused_writes]
}

#[tokio::test]
async fn where_nothing_is_wrong_nothing_is_found() {
    let (load, _) = load(&[Vice::None; 3]).await;
    assert_eq!((found(&checked(&load).await), load.acknowledged().len()), ([0; 4], 3));
}

#[tokio::test]
async fn a_lost_blob_is_found() {
    let (load, disk) = load(&[Vice::None; 3]).await;
    let lost = load.acknowledged()[1].id;
    disk.lock().unwrap().remove(&lost);
    let report = checked(&load).await;
    assert_eq!(found(&report), [0, 1, 0, 0]);
    assert!(report.look_at[0].starts_with(&format!("lost: {lost} of ")), "{:?}", report.look_at);
}

#[tokio::test]
async fn wrong_bytes_are_found_wherever_they_come_from() {
    let (load, _) = load(&[Vice::None, Vice::FlipsBits]).await;
    let report = checked(&load).await;
    assert_eq!(found(&report), [0, 0, 3, 0]);
    assert!(report.look_at[0].starts_with("wrong: n2 gave wrong bytes: byte 0 of "), "{:?}", report.look_at);
    // And where bytes are missing.
    let blob = &load.acknowledged()[0];
    load.judge(&load.sites().all()[0], blob, blob.whole(), Ok(vec![]), |_| {});
    assert_eq!(load.tally().wrong.count, 4);
}

#[tokio::test]
async fn a_read_that_fails_at_one_node_is_no_loss_but_a_failure() {
    let (load, _) = load(&[Vice::None, Vice::FailsReads]).await;
    let report = checked(&load).await;
    assert_eq!(found(&report), [3, 0, 0, 0]);
    assert!(report.look_at[0].contains("it fell asleep"), "{:?}", report.look_at);
}

#[tokio::test]
async fn a_refused_put_is_not_acknowledged_and_not_lost() {
    let (load, _) = load(&[Vice::Refuses]).await;
    assert_eq!((found(&checked(&load).await), load.acknowledged().len()), ([0, 0, 0, 3], 0));
}

#[tokio::test]
async fn readers_find_it_while_they_read() {
    let (load, _) = load(&[Vice::None, Vice::FlipsBits, Vice::FailsReads]).await;
    let mut numbers = Random::derived(1, &[]);
    let blob = load.acknowledged()[0].clone();
    for _ in 0..60 {
        let range = blob.part(&mut numbers);
        load.read_somewhere(&blob, range, &mut numbers).await;
    }
    let tally = load.tally();
    assert!(tally.wrong.count > 0 && tally.failed.count > 0 && tally.retried == 0, "{tally:?}");
}

/// A node that the drill takes away while it is asked.
struct Falling(Arc<Sites>);

#[async_trait]
impl Door for Falling {
    async fn put(&self, _: Bytes) -> Result<BlobId, String> {
        self.0.all()[0].fall();
        Err("connection reset".to_owned())
    }

    async fn read(&self, _: BlobId, _: ByteRange) -> Result<Vec<u8>, String> {
        self.0.all()[0].fall();
        Err("connection reset".to_owned())
    }
}

#[tokio::test]
async fn a_read_that_met_a_node_as_it_was_taken_away_goes_on_at_another() {
    let sites = Arc::new(Sites::default());
    sites.add(Site::new("n1".to_owned(), At::new(String::new(), PeerConfig::patient()), Arc::new(Falling(sites.clone()))));
    let rates = Rates { seed: 1, readers: 1, writers: 1, bytes: 64 << 10, over: Duration::from_millis(50) };
    let load = Load::new(rates, sites.clone());
    load.put(&sites.all()[0], 0, 0).await;
    assert_eq!(found(&checked(&load).await), [0; 4]);
    assert_eq!(load.tally().interrupted, 1);
    let disk = Disk::default();
    sites.add(Site::new(
        "n2".to_owned(),
        At::new(String::new(), PeerConfig::patient()),
        Arc::new(Fake { disk, vice: Vice::None }),
    ));
    load.put(&sites.all()[1], 0, 1).await;
    // As if it had come back, to go away once more.
    sites.all()[0].rise();
    let (blob, mut numbers) = (load.acknowledged()[0].clone(), Random::derived(1, &[]));
    while load.tally().retried == 0 {
        load.read_somewhere(&blob, blob.whole(), &mut numbers).await;
    }
    let tally = load.tally();
    assert_eq!((tally.failed.count, tally.retried), (0, 1));
    assert_eq!(sites.serving().len(), 1);
}

#[tokio::test]
async fn a_load_reads_what_it_writes_until_it_is_ended() {
    let (load, _) = load(&[Vice::None; 2]).await;
    let work = load.begin();
    while load.acknowledged().len() < 6 || load.tally().figures(super::tally::Phase::Before).reads < 10 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    load.end(work).await;
    assert_eq!(found(&checked(&load).await), [0; 4]);
}
