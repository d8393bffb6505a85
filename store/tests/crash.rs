//! What only a real process or a real disk can show: death by SIGKILL, and a disk that is full.

#[path = "crash/records.rs"]
mod records;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use herring_blob::{BlobHasher, BlobId, ByteRange, Chunk, ContentId, Manifest};
use herring_store::{Description, Entry, ReadError, Store, StoreConfig, WriteError};

const CHUNK: usize = 16 << 10;
/// Tells this program that it is the child, and where to work.
const CHILD: &str = "HERRING_STORE_TEST_CHILD";
const SEED: &str = "HERRING_STORE_TEST_SEED";

/// Held while a child is started: until it runs its own program, it holds all that is open here, the locks of stores too.
static STARTING: Mutex<()> = Mutex::new(());

fn open(dir: &Path) -> Store {
    let _nobody_starts = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    Store::open(StoreConfig { dir: dir.into(), capacity: 1 << 30 }).unwrap()
}

/// This program again, for that test alone, which finds out by [`CHILD`] what it is to do.
fn start_child(test: &str, dir: &Path, seed: u64) -> Child {
    let _alone = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(CHILD, dir).env(SEED, seed.to_string());
    // Returns once the child runs its own program.
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The bytes of the blob that is called `seed`: 0 to 6 chunks and a bit.
fn content(seed: u64) -> Bytes {
    let size = usize::try_from(seed % 7).unwrap() * CHUNK + usize::try_from(seed % 3).unwrap();
    (0..size as u64).map(|n| (n.wrapping_mul(31) ^ (n >> 8) ^ seed.wrapping_mul(97)).to_le_bytes()[0]).collect()
}

fn chunks(bytes: &Bytes) -> impl Iterator<Item = (u32, Chunk)> {
    let chunk_size = u32::try_from(CHUNK).unwrap();
    (0u32..).zip(bytes.chunks(CHUNK)).map(move |(n, chunk)| (n, Chunk::of(bytes.slice_ref(chunk), chunk_size)))
}

fn manifest(bytes: &Bytes) -> Arc<Manifest> {
    let mut hasher = BlobHasher::new(u32::try_from(CHUNK).unwrap());
    bytes.chunks(CHUNK).for_each(|chunk| {
        hasher.chunk(chunk);
    });
    Arc::new(hasher.finish().unwrap())
}

async fn put(store: &Store, bytes: &Bytes) -> Result<Entry, WriteError> {
    let upload = store.begin_upload(u32::try_from(CHUNK).unwrap()).await?;
    for (n, chunk) in chunks(bytes) {
        upload.write_chunk(n, chunk).await?;
    }
    upload.commit(manifest(bytes), None).await
}

/// Every other blob is partly cached first, so that commits rename and merge in turn.
async fn put_somehow(store: &Store, seed: u64) -> BlobId {
    let bytes = content(seed);
    if seed.is_multiple_of(2) {
        let cached = store.create(Description::Blob(manifest(&bytes))).await.unwrap();
        for (n, chunk) in chunks(&bytes).step_by(2) {
            cached.write_chunk(n, chunk).await.unwrap();
        }
    }
    put(store, &bytes).await.unwrap();
    BlobId::of(&bytes)
}

/// The child: puts blobs, says which are acknowledged, and never stops.
fn put_until_killed(dir: &Path) -> ! {
    let first: u64 = std::env::var(SEED).unwrap().parse().unwrap();
    let store = open(dir);
    tokio::runtime::Runtime::new().unwrap().block_on(async move {
        for seed in first.. {
            let id = put_somehow(&store, seed).await;
            // Not to stdout: that is buffered, and where it is not, the test harness writes there too. Panics once the parent is gone.
            eprintln!("ack {seed} {id}");
        }
    });
    unreachable!("there is always a next seed")
}

/// What a child that began at `first` acknowledged before it was killed, `count` acknowledgements or more after its start.
fn acknowledged_by_a_killed_child(dir: &Path, first: u64, count: usize) -> Vec<(u64, BlobId)> {
    let mut child = start_child("every_acknowledged_blob_survives_a_kill", dir, first);
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let mut acks: Vec<_> = lines.by_ref().filter_map(|line| ack(&line)).take(count).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    acks.extend(lines.filter_map(|line| ack(&line)));
    assert!(acks.len() >= count, "the child died by itself after {} blobs", acks.len());
    acks
}

fn ack(line: &str) -> Option<(u64, BlobId)> {
    let (seed, id) = line.strip_prefix("ack ")?.split_once(' ')?;
    Some((seed.parse().ok()?, id.parse().ok()?))
}

#[test]
fn every_acknowledged_blob_survives_a_kill() {
    if let Some(dir) = std::env::var_os(CHILD) {
        put_until_killed(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut acknowledged = Vec::new();
    for (round, count) in [1, 2, 3, 5, 8, 13].into_iter().enumerate() {
        acknowledged.extend(acknowledged_by_a_killed_child(dir.path(), 1000 * round as u64 + 7, count));
        let store = open(dir.path());
        assert_weighed(&store, dir.path());
        runtime.block_on(check_all(&store, &acknowledged));
    }
}

/// What the store counts is what the disk has, but for chunks of 16 KiB that the killed process wrote and did not record.
fn assert_weighed(store: &Store, dir: &Path) {
    let (counted, du) = (store.usage().bytes, du(dir));
    assert!(counted <= du + du / 50 && du <= counted + counted / 50 + 4 * CHUNK as u64, "{counted} counted, {du} on the disk");
}

fn du(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let inside = std::fs::read_dir(path).into_iter().flatten().map(|file| du(&file.unwrap().path()));
    std::fs::symlink_metadata(path).unwrap().blocks() * 512 + inside.sum::<u64>()
}

async fn check_all(store: &Store, acknowledged: &[(u64, BlobId)]) {
    for &(seed, id) in acknowledged {
        let (entry, bytes) = (store.get(&id.into()).expect("an acknowledged blob is there"), content(seed));
        assert!(entry.is_complete() && (0..entry.geometry().chunk_count()).all(|n| entry.is_durable(n)));
        assert_eq!(entry.read(ByteRange::new(0, bytes.len() as u64)).await.unwrap(), bytes);
    }
    // What was not acknowledged may be there in part, but what is there is right.
    for entry in store.blobs() {
        for n in (0..entry.geometry().chunk_count()).filter(|&n| entry.has(n)) {
            let bytes = entry.read(entry.geometry().chunk_range(n)).await.expect("a killed process leaves no half chunk");
            assert!(entry.digest(n).unwrap().matches(&bytes));
        }
    }
    assert_eq!(store.usage().chunks, store.blobs().iter().map(|entry| u64::from(entry.present_count())).sum::<u64>());
}

/// A disk of `mib` MiB, unmounted when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None`, with the reason printed, where this user may not mount.
    fn mount(mib: u32) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let options = std::ffi::CString::new(format!("size={mib}m")).unwrap();
        let flags = rustix::mount::MountFlags::NOSUID | rustix::mount::MountFlags::NODEV;
        match rustix::mount::mount("herring-test", dir.path(), "tmpfs", flags, Some(options.as_c_str())) {
            Ok(()) => Some(Self(dir)),
            Err(error) => skip(&format!("mounting a small tmpfs: {error}")),
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Err(error) = rustix::mount::unmount(self.0.path(), rustix::mount::UnmountFlags::DETACH) {
            eprintln!("could not unmount {}: {error}", self.0.path().display());
        }
    }
}

/// Where the machine is meant to allow it, a test that cannot run has failed.
fn skip<T>(why: &str) -> Option<T> {
    let required = std::env::var("HERRING_REQUIRE").unwrap_or_default();
    assert!(!required.contains("netns") && !required.contains("fuse"), "required, but cannot run: {why}");
    eprintln!("skipped: {why}");
    None
}

#[tokio::test]
async fn a_full_disk_is_full_and_loses_nothing() {
    let Some(disk) = SmallDisk::mount(4) else { return };
    let dir = disk.0.path().join("store");
    let store = open(&dir);
    let mut kept: Vec<u64> = Vec::new();
    let refused = loop {
        let seed = 6 + 7 * kept.len() as u64;
        match put(&store, &content(seed)).await {
            Ok(_) => kept.push(seed),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, WriteError::Full { free: 0, .. }), "{refused:?}");
    assert!(kept.len() > 20, "{} blobs of 96 KiB in 4 MiB", kept.len());
    let used = store.usage();
    assert_eq!(used.chunks, kept.iter().map(|&seed| content(seed).len().div_ceil(CHUNK) as u64).sum::<u64>());
    drop(store);

    let store = open(&dir);
    assert_eq!(store.usage(), used);
    for &seed in &kept {
        let (bytes, id) = (content(seed), ContentId::from(BlobId::of(&content(seed))));
        assert_eq!(store.get(&id).unwrap().read(ByteRange::new(0, bytes.len() as u64)).await.unwrap(), bytes);
    }
    fill_and_free(&store, &kept).await;
}

/// A cached entry meets the full disk too: what is removed makes room for it, and without that only what is cached may go.
async fn fill_and_free(store: &Store, kept: &[u64]) {
    let bytes = content(6 + 7 * 1000);
    let entry = loop {
        match store.create(Description::Blob(manifest(&bytes))).await {
            Ok(entry) => break entry,
            Err(error) => assert!(matches!(error, WriteError::Full { .. }), "{error:?}"),
        }
        remove(store, kept[0]).await;
    };
    for (n, chunk) in chunks(&bytes) {
        if let Err(error) = entry.write_chunk(n, chunk.clone()).await {
            assert!(matches!(error, WriteError::Full { free: 0, .. }), "{error:?}");
            assert!(!entry.has(n) && matches!(entry.read(entry.geometry().chunk_range(n)).await, Err(ReadError::Missing { .. })));
            remove(store, kept[1]).await;
            entry.write_chunk(n, chunk).await.unwrap();
        }
    }
    for (n, chunk) in chunks(&bytes).filter(|(n, _)| entry.has(*n)) {
        assert!(entry.read_chunk(n).await.unwrap().digest() == chunk.digest());
    }
    assert!(entry.present_count() > 0 && kept[2..].iter().all(|&seed| is_durable(store, seed)));
}

fn is_durable(store: &Store, seed: u64) -> bool {
    let id = BlobId::of(&content(seed)).into();
    store.get(&id).is_some_and(|entry| (0..entry.geometry().chunk_count()).all(|n| entry.is_durable(n)))
}

async fn remove(store: &Store, seed: u64) {
    assert!(store.remove(&BlobId::of(&content(seed)).into()).await.unwrap());
}
