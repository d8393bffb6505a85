use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::Shared;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Work that is done once however many ask for it. It runs in a task of its own, so that an asker who goes away
/// wastes nothing and harms nobody. Nothing is remembered: who asks after the landing starts a new flight.
pub(crate) struct Flights<K, T> {
    running: Mutex<HashMap<K, Landing<T>>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

type Landing<T> = Shared<oneshot::Receiver<T>>;

/// Takes the flight off the list, also when it panics or is cancelled.
struct Listed<K: Eq + Hash + Clone, T> {
    flights: Arc<Flights<K, T>>,
    key: K,
}

impl<K: Eq + Hash + Clone + Send + 'static, T: Clone + Send + Sync + 'static> Flights<K, T> {
    pub fn new(tasks: TaskTracker, stop: CancellationToken) -> Arc<Self> {
        Arc::new(Self { running: Mutex::new(HashMap::new()), tasks, stop })
    }

    /// What the flight of `key` brings; `start` begins it where none is under way. `None` where it was cut short by shutdown.
    pub async fn join<F>(self: &Arc<Self>, key: K, start: impl FnOnce() -> F) -> Option<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        self.launch(key, start).await.ok()
    }

    /// Begins the flight where none is under way, and does not wait.
    pub fn launch<F>(self: &Arc<Self>, key: K, start: impl FnOnce() -> F) -> Landing<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        // Only map operations happen under the lock, and they leave the map whole even where a panic poisons it.
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(landing) = running.get(&key) {
            return landing.clone();
        }
        let (sender, receiver) = oneshot::channel();
        let landing = receiver.shared();
        running.insert(key.clone(), landing.clone());
        let listed = Listed { flights: Arc::clone(self), key };
        let stopped = self.stop.clone().cancelled_owned();
        let work = start();
        self.tasks.spawn(async move {
            let result = tokio::select! {
                result = work => Some(result),
                () = stopped => None,
            };
            // Off the list before it lands: who comes now looks at the disk first, or starts anew.
            drop(listed);
            if let Some(result) = result {
                let _ = sender.send(result);
            }
        });
        landing
    }
}

impl<K: Eq + Hash + Clone, T> Drop for Listed<K, T> {
    fn drop(&mut self) {
        self.flights.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    fn flights() -> Arc<Flights<u32, usize>> {
        Flights::new(TaskTracker::new(), CancellationToken::new())
    }

    #[tokio::test]
    async fn many_askers_one_flight_and_none_is_remembered() {
        let flights = flights();
        let (starts, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let ask = || {
            let (starts, gate) = (Arc::clone(&starts), Arc::clone(&gate));
            flights.launch(7, move || async move {
                let n = starts.fetch_add(1, Ordering::SeqCst);
                let _ = gate.acquire().await;
                n
            })
        };
        let askers: Vec<_> = (0..100).map(|_| ask()).collect();
        gate.add_permits(200);
        for asker in askers {
            assert_eq!(asker.await, Ok(0));
        }
        assert_eq!(ask().await, Ok(1));
    }

    #[tokio::test]
    async fn an_asker_that_leaves_does_not_stop_the_flight() {
        let flights = flights();
        let gate = Arc::new(Semaphore::new(0));
        let inner = Arc::clone(&gate);
        drop(flights.launch(1, move || async move { inner.acquire().await.map_or(0, |_| 5) }));
        gate.add_permits(1);
        assert_eq!(flights.join(1, || async { 6 }).await, Some(5));
    }

    #[tokio::test]
    async fn a_panic_and_a_shutdown_free_the_key() {
        let flights = flights();
        assert_eq!(flights.join(1, || async { panic!("expected by the test") }).await, None);
        assert_eq!(flights.join(1, || async { 2 }).await, Some(2));
        flights.stop.cancel();
        assert_eq!(flights.join(1, std::future::pending).await, None);
        assert!(flights.running.lock().unwrap().is_empty());
    }
}
