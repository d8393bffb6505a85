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
///
/// `L` is what askers wait on: a clone for each.
pub(crate) struct Flights<K: Eq + Hash, L> {
    running: Mutex<HashMap<K, L>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// What a flight that brings one answer at its end is waited on by.
pub(crate) type Answer<T> = Shared<oneshot::Receiver<T>>;

/// A flight's place on the list. Who comes after it was dropped starts a new flight, so it is dropped when what the flight
/// brings is where everybody looks first; also when the flight panics or is cancelled.
pub(crate) struct Listed<K: Eq + Hash, L> {
    flights: Arc<Flights<K, L>>,
    key: K,
}

impl<K: Eq + Hash + Clone + Send + 'static, L: Clone + Send + 'static> Flights<K, L> {
    pub fn new(tasks: TaskTracker, stop: CancellationToken) -> Arc<Self> {
        Arc::new(Self { running: Mutex::new(HashMap::new()), tasks, stop })
    }

    /// What to wait on for `key`, where a flight is under way.
    pub fn running(&self, key: &K) -> Option<L> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// Whether a flight of `key` is under way.
    pub fn has(&self, key: &K) -> bool {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).contains_key(key)
    }

    /// What to wait on for `key`: where no flight is under way, `start` makes one. It only builds the two and does not wait;
    /// its future is dropped at shutdown.
    pub fn launch<F>(self: &Arc<Self>, key: K, start: impl FnOnce(Listed<K, L>) -> (L, F)) -> L
    where
        F: Future<Output = ()> + Send + 'static,
    {
        // Only map operations happen under the lock, and they leave the map whole even where a panic poisons it.
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(landing) = running.get(&key) {
            return landing.clone();
        }
        let (landing, work) = start(Listed { flights: Arc::clone(self), key: key.clone() });
        running.insert(key, landing.clone());
        let stopped = self.stop.clone().cancelled_owned();
        self.tasks.spawn(async move {
            tokio::select! {
                () = work => {}
                () = stopped => {}
            }
        });
        landing
    }
}

impl<K: Eq + Hash + Clone + Send + 'static, T: Clone + Send + Sync + 'static> Flights<K, Answer<T>> {
    /// What the flight of `key` brings; `start` begins it where none is under way. `None` where it was cut short by shutdown.
    pub async fn join<F>(self: &Arc<Self>, key: K, start: impl FnOnce() -> F) -> Option<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        self.begin(key, start).await.ok()
    }

    /// The same without waiting: the flight goes on whether or not anybody waits for its answer.
    pub fn begin<F>(self: &Arc<Self>, key: K, start: impl FnOnce() -> F) -> Answer<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        self.launch(key, |listed| {
            let (sender, receiver) = oneshot::channel();
            let work = start();
            let flight = async move {
                let answer = work.await;
                drop(listed);
                let _ = sender.send(answer);
            };
            (receiver.shared(), flight)
        })
    }
}

impl<K: Eq + Hash, L> Drop for Listed<K, L> {
    fn drop(&mut self) {
        self.flights.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;
    use tokio::sync::Semaphore;

    use super::*;

    fn flights() -> Arc<Flights<u32, Answer<usize>>> {
        Flights::new(TaskTracker::new(), CancellationToken::new())
    }

    #[tokio::test]
    async fn many_askers_one_flight_and_none_is_remembered() {
        let flights = flights();
        let starts = AtomicUsize::new(0);
        let (gate, waiting) = (Arc::new(Semaphore::new(0)), AtomicUsize::new(0));
        let ask = || async {
            // All have joined before the flight may end: this future runs to its first pause without another between.
            if waiting.fetch_add(1, Ordering::SeqCst) == 99 {
                gate.add_permits(200);
            }
            let gate = Arc::clone(&gate);
            let n = || starts.fetch_add(1, Ordering::SeqCst);
            flights
                .join(7, || {
                    let n = n();
                    async move {
                        let _ = gate.acquire().await;
                        n
                    }
                })
                .await
        };
        assert_eq!(join_all((0..100).map(|_| ask())).await, vec![Some(0); 100]);
        assert_eq!(ask().await, Some(1));
    }

    #[tokio::test]
    async fn an_asker_that_leaves_does_not_stop_the_flight() {
        let flights = flights();
        let gate = Arc::new(Semaphore::new(0));
        let inner = Arc::clone(&gate);
        let mut leaving = Box::pin(flights.join(1, move || async move { inner.acquire().await.map_or(0, |_| 5) }));
        assert!(leaving.as_mut().now_or_never().is_none());
        drop(leaving);
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
