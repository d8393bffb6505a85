use std::collections::HashSet;
use std::hash::Hash;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Keys of which each is held by one thread at a time: a lock per chunk, or per id, that costs nothing while it is free.
///
/// Blocks the thread, so only for blocking threads. What is waited for is another thread's disk operation on the same key.
pub(crate) struct Claims<K> {
    taken: Mutex<HashSet<K>>,
    freed: Condvar,
}

/// The right to work on one key, until dropped.
pub(crate) struct Claim<'a, K: Copy + Eq + Hash> {
    claims: &'a Claims<K>,
    key: K,
}

impl<K: Copy + Eq + Hash> Claims<K> {
    pub fn new() -> Self {
        Self { taken: Mutex::new(HashSet::new()), freed: Condvar::new() }
    }

    /// Waits until nobody holds `key`, and takes it.
    pub fn wait(&self, key: K) -> Claim<'_, K> {
        let mut taken = self.lock();
        while !taken.insert(key) {
            taken = self.freed.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        Claim { claims: self, key }
    }

    /// Takes `key`, if nobody holds it.
    pub fn try_take(&self, key: K) -> Option<Claim<'_, K>> {
        let taken = self.lock().insert(key);
        // Not made where it is somebody else's: a claim that is dropped frees its key.
        taken.then(|| Claim { claims: self, key })
    }

    /// A set of keys is whole after any panic, so poison is no reason to stop.
    fn lock(&self) -> MutexGuard<'_, HashSet<K>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Copy + Eq + Hash> Claim<'_, K> {
    pub fn key(&self) -> K {
        self.key
    }
}

impl<K: Copy + Eq + Hash> Drop for Claim<'_, K> {
    fn drop(&mut self) {
        self.claims.lock().remove(&self.key);
        self.claims.freed.notify_all();
    }
}
