//! Reads into the caller's buffer, and what they leave in the page cache.

use std::fs::File;
use std::io::IoSliceMut;
use std::os::unix::fs::FileExt;

use rustix::io::ReadWriteFlags;

use super::*;
use crate::ReadError;

/// Pages that may stay of the 1,026 of a file here: the kernel does not drop one that it works on itself at that moment, which
/// happens to one or two when the machine is busy, and to look is to begin reading. Of what is not dropped, some hundred stay.
const STRAY: usize = 64;

/// Whether nothing of this file is in the page cache, as far as somebody can tell.
fn assert_spared(path: &std::path::Path, after: &str) {
    let pages = resident(path).unwrap_or(0);
    assert!(pages <= STRAY, "{pages} pages after {after}");
}

/// Pages of this file that are in the page cache; `None` where nobody can tell, or the file system keeps all of it there. To look is
/// to begin reading: so once, and from the end, in which order the kernel does not read ahead.
fn resident(path: &std::path::Path) -> Option<usize> {
    const TMPFS: u32 = 0x0102_1994;
    let file = File::open(path).unwrap();
    let is_in = |page: u64| {
        let (flags, mut byte) = (ReadWriteFlags::NOWAIT, [0]);
        rustix::io::preadv2(&file, &mut [IoSliceMut::new(&mut byte)], page * 4096, flags) == Ok(1)
    };
    let pages = file.metadata().unwrap().len().div_ceil(4096);
    let found = (0..pages).rev().filter(|&page| is_in(page)).count();
    file.read_exact_at(&mut [0], 0).unwrap();
    let is_tmpfs = u32::try_from(rustix::fs::fstatfs(&file).unwrap().f_type) == Ok(TMPFS);
    let told = !is_tmpfs && (is_in(0) || found > 0);
    if !told {
        eprintln!("skipped: nobody tells which pages of {} are in memory", path.display());
    }
    told.then_some(found)
}

/// Writes back what is dirty, so that the kernel can drop it.
fn settle(path: &std::path::Path) {
    std::fs::File::open(path).unwrap().sync_all().unwrap();
}

/// All bytes of `buffer` are something else first.
fn buffer(len: u64) -> Vec<u8> {
    vec![0xA5; usize::try_from(len).unwrap()]
}

#[tokio::test]
async fn what_is_read_into_a_buffer_is_what_is_read() {
    let room = Room::new();
    let thing = Thing::blob_in(BIG, 3 * BIG as usize + 1500, 1);
    for reopened in [false, true] {
        let store = room.open();
        let entry = thing.fill(&store).await;
        for (start, len) in [(0, 1), (1000, 2000), (16_383, 2), (5000, 40_000), (49_152, 1500), (0, 50_652), (50_652, 0)] {
            let range = ByteRange::at(start, len);
            let (mut into, mut now) = (buffer(len), buffer(len));
            entry.read_into(start, &mut into).unwrap();
            assert_eq!(into, thing.slice(range), "{range}, reopened: {reopened}");
            assert_eq!(entry.read(range).await.unwrap(), into);
            assert!(!entry.read_into_now(start, &mut now) || now == into);
        }
        let mut past = buffer(2);
        assert!(matches!(entry.read_into(50_651, &mut past), Err(ReadError::Io(_))));
        assert!(!entry.read_into_now(50_651, &mut past));
        assert!(!entry.read_into_now(u64::MAX, &mut past));
    }
}

#[tokio::test]
async fn a_buffer_over_a_chunk_that_is_not_here_is_not_filled() {
    let room = Room::new();
    let thing = Thing::blob_in(BIG, 3 * BIG as usize, 1);
    let entry = thing.create(&room.open()).await;
    thing.write(&entry, 0).await.unwrap();
    let mut bytes = buffer(10);
    assert!(matches!(entry.read_into(u64::from(BIG) - 5, &mut bytes), Err(ReadError::Missing { chunk: 1 })));
    assert!(!entry.read_into_now(u64::from(BIG) - 5, &mut bytes));
    entry.read_into(u64::from(BIG) - 10, &mut bytes).unwrap();
}

/// A blob on disk that the page cache need not keep.
async fn released(room: &Room) -> (Thing, PathBuf, Entry) {
    let thing = Thing::blob_in(1 << 20, (4 << 20) + 5000, 1);
    let path = room.data(&thing.id());
    let entry = thing.fill(&room.open()).await;
    settle(&path);
    entry.release_pages(thing.whole());
    (thing, path, entry)
}

#[tokio::test]
async fn released_pages_leave_the_page_cache() {
    let room = Room::new();
    let (thing, path, entry) = released(&room).await;
    assert_spared(&path, "their release");
    assert_eq!(entry.read(thing.whole()).await.unwrap(), thing.bytes);
}

#[tokio::test]
async fn reading_into_a_buffer_leaves_nothing_in_the_page_cache() {
    for size in [4096, 100_000, 700_000] {
        let room = Room::new();
        let (thing, path, entry) = released(&room).await;
        drop(entry);
        let entry = room.open().get(&thing.id()).unwrap();
        // Twice: the first reads verify. In no order that would make the kernel read ahead.
        for offset in [3_300_000, 1_250_000, 2_290_000, 250_000].into_iter().cycle().take(8) {
            let mut bytes = buffer(size);
            // As the mount does it; the first time never, for nothing is verified, then the kernel begins to read.
            if !entry.read_into_now(offset, &mut bytes) {
                entry.read_into(offset, &mut bytes).unwrap();
            }
            assert_eq!(bytes, thing.slice(ByteRange::at(offset, size)));
        }
        assert_spared(&path, &format!("reads of {size} bytes"));
    }
}

#[tokio::test]
async fn verifying_all_leaves_nothing_in_the_page_cache_and_makes_a_blob_native() {
    let room = Room::new();
    let thing = Thing::blob_in(1 << 20, (4 << 20) + 10, 1);
    let path = room.data(&thing.id());
    let store = room.open();
    let entry = thing.create(&store).await;
    for n in 0..thing.count() {
        assert_eq!(entry.native_path(), None, "chunk {n} is not here");
        thing.write(&entry, n).await.unwrap();
    }
    let inode = |path: &std::path::Path| std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap());
    let native = |store: &Store, entry: &Entry| entry.native_path().map(|name| inode(&store.native_dir().join(name)));
    assert_eq!(native(&store, &entry), Some(inode(&path)));
    settle(&path);
    entry.release_pages(thing.whole());
    drop((store, entry));
    let store = room.open();
    let entry = store.get(&thing.id()).unwrap();
    entry.read_into(0, &mut buffer(1 << 20)).unwrap();
    assert_eq!(entry.native_path(), None, "nobody has looked at the others");
    entry.verify_all().await.unwrap();
    assert_eq!(native(&store, &entry), Some(inode(&path)));
    assert_spared(&path, "verifying");
    let name = entry.native_path().unwrap();
    assert!(store.remove(&thing.id()).await.unwrap());
    assert_eq!(entry.native_path(), None);
    let again = thing.create(&store).await;
    assert!(again.native_path().is_none() && !store.native_dir().join(name).exists(), "a file with holes has no native name");
}

#[tokio::test]
async fn only_whole_blobs_are_native() {
    let room = Room::new();
    let store = room.open();
    assert!(Thing::blob(0, 1).create(&store).await.native_path().is_some());
    assert_eq!(Thing::object(100, 1).fill(&store).await.native_path(), None);
}
