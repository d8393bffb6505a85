//! What small records cost: an update that is on disk when it returns, alone and among others, a look, and an open.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use futures_util::future::join_all;
use herring_store::{Change, Records, Store, StoreConfig, Table};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Enough that an open has something to check.
const KEPT: usize = 10_000;

fn open(room: &TempDir) -> Store {
    Store::open(StoreConfig { dir: room.path().into(), capacity: 1 << 30 }).expect("the directory is ours")
}

async fn put(records: &Records, key: String) {
    let put = records.update(Table::Names, key, |_| Change::Put(vec![7; 200], ()));
    put.await.expect("the disk takes some bytes");
}

fn records(criterion: &mut Criterion) {
    let room = TempDir::new().expect("a directory for temporary files");
    let runtime = Runtime::new().expect("threads can be started");
    let store = open(&room);
    let kept = store.records();
    runtime.block_on(join_all((0..KEPT).map(|n| put(kept, format!("kept-{n}")))));
    criterion.bench_function("one durable update", |bencher| bencher.iter(|| runtime.block_on(put(kept, "one".into()))));
    criterion.bench_function("64 durable updates at once", |bencher| {
        bencher.iter(|| runtime.block_on(join_all((0..64).map(|n| put(kept, format!("many-{n}"))))));
    });
    criterion.bench_function("a look", |bencher| bencher.iter(|| black_box(kept.get(Table::Names, "kept-5000").is_ok())));
    drop(store);
    criterion.bench_function("an open of 10,000 records", |bencher| bencher.iter(|| drop(open(&room))));
}

criterion_group!(benches, records);
criterion_main!(benches);
