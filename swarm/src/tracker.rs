//! Who asked this node lately for which chunk, and how much it has promised to send. A node that has promised enough points at those who
//! asked before, who have the chunk by now or get it now: so the askers of a hot chunk become chains, without anybody who plans them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use herring_blob::ContentId;
use herring_ring::NodeId;
use quick_cache::sync::Cache;
use tokio::sync::Notify;
use tokio::time::timeout;

/// Bytes that are promised and not sent yet, from which on askers are pointed at others who asked before: 0.2 ms at 10 Gbit/s, about what another question takes.
/// With 16 MiB the one node that had a blob sent 1.3 times its bytes over links of 100 Mbit/s, before all were pointed elsewhere.
const ENOUGH: u64 = 256 << 10;
/// The same for those who are to be served here, one after the other.
const ENOUGH_IN_TURN: u64 = 4 << 20;
/// Chunks of which it is remembered who asked.
const CHUNKS: usize = 4096;
/// Of each, who asked last.
const FETCHERS: usize = 64;
/// After so long who asked may have dropped the chunk.
const LATELY: Duration = Duration::from_secs(300);
/// Who asks within so long of another, for what nobody waits for yet, is pointed at that one however idle this node is: all ask for the same chunks now, and those
/// that nobody has yet are to have this node's link.
const HOT: Duration = Duration::from_secs(1);
/// Whom an asker is pointed at, at most: one of them has room.
const NAMED: usize = 4;

pub(crate) struct Tracker {
    chunks: Cache<(ContentId, u32), Arc<Mutex<Fetchers>>>,
    outgoing: Arc<Outgoing>,
}

impl Default for Tracker {
    fn default() -> Self {
        Self { chunks: Cache::new(CHUNKS), outgoing: Arc::default() }
    }
}

/// Those who asked for a chunk, in the order in which they asked first. An asker is pointed only at those who asked before it, so that no two of them
/// wait for each other; where another owner pointed one of them here, `give.rs` sees to it.
#[derive(Debug, Default)]
struct Fetchers(Vec<Fetcher>);

#[derive(Debug)]
struct Fetcher {
    node: NodeId,
    zone: String,
    asked: Instant,
    /// How often others were pointed at it.
    pointed: u32,
}

/// Who asks, as the tracker sees it.
#[derive(Debug, Clone)]
pub(crate) struct Fetching {
    pub node: NodeId,
    pub zone: String,
}

/// Whom an asker may ask instead: the best first.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Holders {
    pub near: Vec<NodeId>,
    pub far: Vec<NodeId>,
    /// One of them asked just now, and others will in a moment.
    pub hot: bool,
}

/// What this node has promised to send.
#[derive(Debug, Default)]
struct Outgoing {
    bytes: AtomicU64,
    less: Notify,
}

/// A part of what was promised. What of it was not handed out is taken back when it is dropped.
#[derive(Debug)]
pub(crate) struct Promise {
    outgoing: Arc<Outgoing>,
    left: u64,
}

impl Tracker {
    /// Notes who asks for a chunk. Those who asked before it and may have it.
    pub fn note(&self, content: ContentId, chunk: u32, asker: &Fetching) -> Holders {
        let made = self.chunks.get_or_insert_with(&(content, chunk), || Ok::<_, std::convert::Infallible>(Arc::default()));
        let Ok(fetchers) = made;
        let mut fetchers = fetchers.lock().unwrap_or_else(PoisonError::into_inner);
        fetchers.note(asker, Instant::now())
    }

    /// Those were named to an asker, who asks the first of them first.
    pub fn pointed(&self, content: ContentId, chunk: u32, at: &NodeId) {
        if let Some(fetchers) = self.chunks.get(&(content, chunk)) {
            let mut fetchers = fetchers.lock().unwrap_or_else(PoisonError::into_inner);
            fetchers.0.iter_mut().filter(|fetcher| fetcher.node == *at).for_each(|fetcher| fetcher.pointed += 1);
        }
    }

    /// Bytes that are promised and not sent yet.
    pub fn promised(&self) -> u64 {
        self.outgoing.bytes.load(Relaxed)
    }

    /// Whether an asker had better ask others.
    pub fn is_busy(&self) -> bool {
        self.promised() >= ENOUGH
    }

    /// Whether those who are to be served here wait for their turn.
    pub fn is_full(&self) -> bool {
        self.promised() >= ENOUGH_IN_TURN
    }

    /// Promises so many bytes, however many are promised already.
    pub fn promise(&self, bytes: u64) -> Promise {
        self.outgoing.bytes.fetch_add(bytes, Relaxed);
        Promise { outgoing: Arc::clone(&self.outgoing), left: bytes }
    }

    /// Waits until this node is not full, or for so long.
    pub async fn turn(&self, most: Duration) {
        let idle = async {
            while self.is_full() {
                self.outgoing.less.notified().await;
            }
        };
        // Who waited long enough is served with the others.
        let _ = timeout(most, idle).await;
    }
}

impl Fetchers {
    fn note(&mut self, asker: &Fetching, now: Instant) -> Holders {
        self.0.retain(|fetcher| now.duration_since(fetcher.asked) < LATELY);
        let before = self.0.iter().position(|fetcher| fetcher.node == asker.node).unwrap_or(self.0.len());
        let holders = self.holders(before, &asker.zone, now);
        if before == self.0.len() {
            if before == FETCHERS {
                self.0.remove(0);
            }
            self.0.push(Fetcher { node: asker.node.clone(), zone: asker.zone.clone(), asked: now, pointed: 0 });
        }
        holders
    }

    /// The least pointed at first; of those, who asked first has most of it.
    fn holders(&self, before: usize, zone: &str, now: Instant) -> Holders {
        let mut known: Vec<&Fetcher> = self.0[..before].iter().collect();
        known.sort_by_key(|fetcher| fetcher.pointed);
        let named = |near: bool| {
            let of = known.iter().filter(|fetcher| (fetcher.zone == *zone) == near);
            of.take(NAMED).map(|fetcher| fetcher.node.clone()).collect()
        };
        let hot = known.iter().any(|fetcher| now.duration_since(fetcher.asked) < HOT);
        Holders { near: named(true), far: named(false), hot }
    }
}

impl Holders {
    /// At most [`NAMED`], those of the asker's zone first.
    pub fn named(self) -> Vec<NodeId> {
        let mut all = self.near;
        all.extend(self.far);
        all.truncate(NAMED);
        all
    }
}

impl Outgoing {
    fn sent(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Relaxed);
        self.less.notify_one();
    }
}

impl Promise {
    /// `bytes` that count as promised until the last of their clones is dropped: then the socket has them.
    pub fn hold(&mut self, bytes: Bytes) -> Bytes {
        struct Held(Bytes, #[expect(dead_code, reason = "held for its drop")] Promise);
        impl AsRef<[u8]> for Held {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        let part = self.left.min(bytes.len() as u64);
        self.left -= part;
        Bytes::from_owner(Held(bytes, Promise { outgoing: Arc::clone(&self.outgoing), left: part }))
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        if self.left > 0 {
            self.outgoing.sent(self.left);
        }
    }
}

#[cfg(test)]
mod tests {
    use herring_blob::BlobId;

    use super::*;

    fn node(name: &str) -> Fetching {
        let zone = name.split('-').nth(1).unwrap_or_default().to_owned();
        Fetching { node: name.parse().unwrap(), zone }
    }

    fn names(nodes: &[NodeId]) -> Vec<String> {
        nodes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn who_asks_is_pointed_only_at_those_who_asked_before() {
        let (tracker, content) = (Tracker::default(), BlobId::of(b"x").into());
        assert_eq!(tracker.note(content, 0, &node("a")), Holders::default());
        assert_eq!(names(&tracker.note(content, 0, &node("b")).named()), ["a"]);
        assert_eq!(names(&tracker.note(content, 0, &node("c")).named()), ["a", "b"]);
        tracker.pointed(content, 0, &node("a").node);
        assert_eq!(names(&tracker.note(content, 0, &node("d")).named()), ["b", "c", "a"]);
        assert_eq!(names(&tracker.note(content, 0, &node("b")).named()), ["a"], "c and d may wait for it");
        assert_eq!(tracker.note(content, 1, &node("b")), Holders::default(), "of another chunk");
    }

    #[test]
    fn those_of_ones_own_zone_come_first() {
        let (tracker, content) = (Tracker::default(), BlobId::of(b"x").into());
        for name in ["a-1", "b-2", "c-1", "d-2"] {
            tracker.note(content, 0, &node(name));
        }
        let holders = tracker.note(content, 0, &node("e-2"));
        assert_eq!(
            (names(&holders.near), names(&holders.far)),
            (vec!["b-2".into(), "d-2".into()], vec!["a-1".into(), "c-1".into()])
        );
        assert_eq!(names(&holders.named()), ["b-2", "d-2", "a-1", "c-1"]);
    }

    #[test]
    fn only_so_many_are_remembered() {
        let (tracker, content) = (Tracker::default(), BlobId::of(b"x").into());
        for n in 0..FETCHERS * 2 {
            assert!(tracker.note(content, 0, &node(&format!("n{n}"))).named().len() <= NAMED);
        }
        let fetchers = tracker.chunks.get(&(content, 0)).unwrap();
        assert_eq!(fetchers.lock().unwrap().0.len(), FETCHERS);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_sent_or_given_up_is_promised_no_more() {
        let tracker = Tracker::default();
        let mut promise = tracker.promise(ENOUGH_IN_TURN);
        assert!(tracker.is_full());
        let part = promise.hold(Bytes::from(vec![0; 1 << 20]));
        drop(part.clone());
        assert!(tracker.is_full(), "a clone is on its way still");
        let waiting = tracker.turn(Duration::from_secs(3600));
        let sending = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(part);
        };
        tokio::join!(waiting, sending);
        assert!(!tracker.is_full() && tracker.is_busy());
        drop(promise);
        assert_eq!(tracker.promised(), 0);
    }
}
