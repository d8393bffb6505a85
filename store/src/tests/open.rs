//! Opening a store of a million chunks. What it takes is printed; the files are made in the directory that `HERRING_OPEN` names, once:
//!
//! ```text
//! HERRING_OPEN=/somewhere cargo test --release -p herring-store --lib a_million -- --ignored --nocapture --test-threads 1
//! ```

use std::time::{Instant, SystemTime};

use herring_blob::{BlobId, ChunkDigest};

use super::*;
use crate::layout::{Layout, write_file};
use crate::table::State;

/// Files of `blobs` blobs of `chunks` small chunks each, all there, as if they had been written; their bytes are holes.
fn lay_out(dir: PathBuf, blobs: u32, chunks: u32) {
    let layout = Layout::new(dir);
    for blob in 0..blobs {
        let digest = |n: u32| ChunkDigest::of(&[blob.to_le_bytes(), n.to_le_bytes()].concat());
        let id = BlobId::from_bytes(*digest(u32::MAX).as_bytes());
        let manifest = Manifest::new(id, u64::from(chunks * CHUNK), CHUNK, (0..chunks).map(digest).collect()).unwrap();
        let geometry = manifest.geometry();
        let description = Description::Blob(Arc::new(manifest));
        let states = vec![State::Durable; chunks as usize];
        let (_, bytes) = crate::meta::new(&description, geometry, SystemTime::now(), states, crate::custody::Kept::Yes);
        layout.make_shelf(&id.into()).unwrap();
        crate::layout::create_file(&layout.data(&id.into())).unwrap();
        write_file(&layout.meta(&id.into()), &bytes).unwrap();
    }
}

/// Resident bytes of this process.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// Seconds that all threads of this process have run for, user and system.
fn processor() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let ticks = stat.split(' ').skip(13).take(2).map(|field| field.parse::<f64>().unwrap());
    ticks.sum::<f64>() / 100.0
}

fn open_a_million(blobs: u32, chunks: u32) {
    let room = tempfile::tempdir().unwrap();
    let top = std::env::var_os("HERRING_OPEN").map_or(room.path().into(), PathBuf::from);
    let config = StoreConfig { dir: top.join(blobs.to_string()), capacity: 1 << 50 };
    if !config.dir.exists() {
        drop(Store::open(config.clone()).unwrap());
        lay_out(config.dir.clone(), blobs, chunks);
    }
    let (before, worked, begun) = (resident(), processor(), Instant::now());
    let store = Store::open(config).unwrap();
    let (grown, worked, took) = (resident() - before, processor() - worked, begun.elapsed());
    assert_eq!((store.usage().blobs, store.usage().chunks), (blobs as usize, u64::from(blobs * chunks)));
    eprintln!("{blobs} blobs of {chunks} chunks: {took:.2?}, {worked:.2} CPU-s, {} bytes a blob", grown / u64::from(blobs));
}

#[test]
#[ignore = "makes 2,000,000 files; run by hand"]
fn a_million_small_blobs_are_opened() {
    open_a_million(1_000_000, 1);
}

#[test]
#[ignore = "prints what it takes; run by hand"]
fn a_million_chunks_of_large_blobs_are_opened() {
    open_a_million(250, 4000);
}

/// More entries than threads and shelves, blobs and objects, with what a crash leaves between them.
#[tokio::test]
async fn what_is_found_is_what_was_there() {
    let room = Room::new();
    let things: Vec<_> = (0..300).map(|n| if n % 3 == 0 { Thing::object(100, n) } else { Thing::blob(100, n) }).collect();
    let store = room.open();
    for thing in &things {
        thing.fill(&store).await;
    }
    drop(store);
    for thing in things.iter().step_by(10) {
        std::fs::remove_file(room.data(&thing.id())).unwrap();
    }
    for thing in things.iter().skip(5).step_by(10) {
        std::fs::remove_file(room.meta(&thing.id())).unwrap();
    }
    let stranger = room.data(&things[1].id()).with_file_name("stranger");
    std::fs::write(&stranger, "left alone").unwrap();
    let store = room.open();
    assert_eq!((store.usage().chunks, room.files()), (480, 481));
    for (n, thing) in things.iter().enumerate() {
        match store.get(&thing.id()) {
            Some(entry) => assert!(n % 5 != 0 && entry.read(thing.whole()).await.unwrap() == thing.bytes),
            None => assert_eq!(n % 5, 0),
        }
    }
}
