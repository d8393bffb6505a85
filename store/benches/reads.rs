//! What reads of verified bytes in the page cache cost.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use herring_blob::{BlobHasher, ByteRange, Chunk};
use herring_store::{Description, Entry, Store, StoreConfig};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const CHUNK: u32 = 4 << 20;

/// A blob of 4 chunks, just written.
fn filled(room: &TempDir, runtime: &Runtime) -> Entry {
    let bytes: Bytes = (0..4 * CHUNK).map(|at| at.to_le_bytes()[1] ^ at.to_le_bytes()[2]).collect();
    let mut hasher = BlobHasher::new(CHUNK);
    bytes.chunks(CHUNK as usize).for_each(|chunk| drop(hasher.chunk(chunk)));
    let manifest = Arc::new(hasher.finish().expect("it is not too large"));
    let store = Store::open(StoreConfig { dir: room.path().into(), capacity: 1 << 30 }).expect("the directory is ours");
    runtime.block_on(async {
        let entry = store.create(Description::Blob(manifest)).await.expect("the disk takes it");
        for (n, chunk) in (0..).zip(bytes.chunks(CHUNK as usize)) {
            entry.write_chunk(n, Chunk::of(bytes.slice_ref(chunk), CHUNK)).await.expect("the disk takes it");
        }
        entry
    })
}

fn reads(criterion: &mut Criterion) {
    let room = TempDir::new().expect("a directory for temporary files");
    let entry = filled(&room, &Runtime::new().expect("threads can be started"));
    for len in [4 << 10, 64 << 10] {
        let range = ByteRange::at(5 << 20, len);
        criterion.bench_function(&format!("read_now of {len}"), |bencher| {
            bencher.iter(|| black_box(entry.read_now(range).expect("it is in the page cache")));
        });
    }
    let mut buffer = vec![0; 128 << 10];
    criterion.bench_function("read_into_now of 131072", |bencher| {
        bencher.iter(|| assert!(entry.read_into_now(5 << 20, black_box(&mut buffer)), "it is in the page cache"));
    });
    criterion.bench_function("chunk_now of 4194304", |bencher| {
        bencher.iter(|| black_box(entry.chunk_now(1).expect("it is in the page cache")));
    });
}

criterion_group!(benches, reads);
criterion_main!(benches);
