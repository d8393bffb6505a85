//! Counters as they stand: all tests of the process share them, so each asks for a label of its own.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

#[derive(Default)]
pub struct Counters(Mutex<HashMap<Key, Arc<AtomicU64>>>);

impl Counters {
    pub fn get(&self, key: &Key) -> u64 {
        self.0.lock().unwrap().get(key).map_or(0, |count| count.load(Ordering::SeqCst))
    }
}

impl Recorder for Counters {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Arc::clone(self.0.lock().unwrap().entry(key.clone()).or_default()))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// Begins to count; nothing to do the second time.
pub fn install() -> &'static Counters {
    static COUNTERS: OnceLock<Counters> = OnceLock::new();
    static INSTALLED: OnceLock<()> = OnceLock::new();
    let counters = COUNTERS.get_or_init(Counters::default);
    INSTALLED.get_or_init(|| metrics::set_global_recorder(counters).expect("nobody else installs a recorder here"));
    counters
}

/// Bytes that the origin of this name gave so far.
pub fn origin_bytes(origin: &str) -> u64 {
    count("herring_origin_bytes_total", &[("origin", origin)])
}

/// Those of them that it gave to whoever asks it on behalf of all.
pub fn unique_bytes(origin: &str) -> u64 {
    count("herring_swarm_origin_unique_bytes_total", &[("origin", origin)])
}

/// Questions for bytes that it was asked.
pub fn origin_reads(origin: &str) -> u64 {
    count("herring_origin_requests_total", &[("origin", origin), ("op", "read")])
}

fn count(name: &'static str, labels: &[(&'static str, &str)]) -> u64 {
    let labels: Vec<_> = labels.iter().map(|(name, value)| metrics::Label::new(*name, (*value).to_owned())).collect();
    let key = Key::from_parts(name, labels);
    install().get(&key)
}
