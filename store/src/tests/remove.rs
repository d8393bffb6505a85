//! What is removed while somebody puts it again.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use super::*;

fn put(store: &Store, thing: &Thing, chunks: &[u32]) -> Entry {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(thing.upload(store, chunks)).unwrap()
}

/// The answer and the removal are one: a put that comes between them waits, and keeps what it commits.
#[test]
fn who_puts_again_what_is_being_removed_comes_after_it() {
    let (room, thing) = (Room::new(), Thing::blob(200, 1));
    let store = room.open();
    let first = put(&store, &thing, &[0]);
    let entry = thread::scope(|threads| {
        let mut again = None;
        let removed = store.remove_blocking(thing.id(), |_| {
            assert!(store.naming().try_take(thing.id()).is_none(), "nobody can commit now");
            again = Some(threads.spawn(|| put(&store, &thing, &[1])));
            true
        });
        assert!(removed.unwrap() && !first.is_alive());
        again.unwrap().join().unwrap()
    });
    assert!(entry.is_durable(1) && !entry.has(0));
    assert!(store.get(&thing.id()).is_some_and(|known| known.is_alive()));
    drop((store, entry, first));
    assert!(room.open().get(&thing.id()).unwrap().is_durable(1));
}

/// A removal that was begun while the blob was deleted finds that it lives again.
#[test]
fn who_removes_while_somebody_commits_asks_after_it() {
    let (room, thing) = (Room::new(), Thing::blob(200, 1));
    let (store, deleted) = (room.open(), AtomicBool::new(true));
    let entry = put(&store, &thing, &[0, 1]);
    let removed = thread::scope(|threads| {
        let committing = store.naming().wait(thing.id());
        let removal = threads.spawn(|| store.remove_blocking(thing.id(), |_| deleted.load(Relaxed)).unwrap());
        // As a put does, before it commits.
        deleted.store(false, Relaxed);
        drop(committing);
        removal.join().unwrap()
    });
    assert!(!removed && entry.is_alive() && entry.is_durable(0));
    let changes = store.durable_changes();
    assert!(!store.remove_blocking(thing.id(), |_| false).unwrap() && !changes.has_changed().unwrap(), "nothing changed");
    assert!(store.remove_blocking(thing.id(), |_| true).unwrap() && changes.has_changed().unwrap());
}
