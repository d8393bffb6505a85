use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use herring_blob::{ByteRange, ContentId};
use tokio::time::{Instant, interval};

use super::{MOST, Profile, VERSION};
use crate::{Content, Source};

/// Where something new is read all the time for so long it is no start, but a scan, and nobody else shall repeat it.
const LONGEST: Duration = Duration::from_secs(120);
/// Fewer chunks are found sooner than their profile.
const LEAST: usize = 2;
/// How often, within the idle time, somebody looks whether it is over.
const LOOKS: u32 = 10;

/// What was read of a scope so far. Reads of what is not being traced any more cost one look at a flag.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    over: AtomicBool,
    reads: Mutex<Reads>,
}

#[derive(Debug, Default)]
struct Reads {
    contents: HashMap<ContentId, u32>,
    names: Vec<String>,
    seen: HashSet<(u32, u32)>,
    order: Vec<(u32, u32)>,
    last: Option<Instant>,
}

impl Trace {
    /// One that notes nothing.
    pub fn ended() -> Self {
        Self { over: AtomicBool::new(true), ..Self::default() }
    }

    /// Somebody reads `range`.
    pub fn note(&self, content: &Content, range: ByteRange) {
        if !self.over.load(Relaxed) {
            self.reads().note(content, range);
        }
    }

    /// No more is noted.
    pub fn end(&self) {
        self.over.store(true, Relaxed);
        *self.reads() = Reads::default();
    }

    /// What was read until nothing new was for the time `idle`. `None` where that is too little to be worth it.
    pub async fn watch(&self, idle: Duration) -> Option<Profile> {
        let (begin, mut look) = (Instant::now(), interval(idle / LOOKS));
        loop {
            look.tick().await;
            let reads = self.reads();
            if reads.last.is_some_and(|last| last.elapsed() >= idle) {
                break;
            }
            if reads.order.len() >= MOST || begin.elapsed() >= LONGEST {
                drop(reads);
                self.end();
                return None;
            }
        }
        self.over.store(true, Relaxed);
        let reads = std::mem::take(&mut *self.reads());
        (reads.order.len() >= LEAST).then(|| reads.profile())
    }

    fn reads(&self) -> MutexGuard<'_, Reads> {
        // A read more or less is all that a panic could change.
        self.reads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reads {
    fn note(&mut self, content: &Content, range: ByteRange) {
        let index = self.index(content);
        for chunk in content.geometry().chunks_in(range) {
            if self.order.len() < MOST && self.seen.insert((index, chunk)) {
                self.order.push((index, chunk));
                self.last = Some(Instant::now());
            }
        }
    }

    fn index(&mut self, content: &Content) -> u32 {
        let names = &mut self.names;
        *self.contents.entry(content.id()).or_insert_with(|| {
            names.push(match content.source() {
                Source::Blob(manifest) => manifest.id().to_string(),
                Source::Object(object) => object.key.clone(),
            });
            // There are at most as many as chunks.
            u32::try_from(names.len() - 1).unwrap_or(u32::MAX)
        })
    }

    fn profile(self) -> Profile {
        let mut reads: Vec<(u32, u32, u32)> = Vec::new();
        for (content, chunk) in self.order {
            match reads.last_mut() {
                Some((same, first, count)) if *same == content && *first + *count == chunk => *count += 1,
                _ => reads.push((content, chunk, 1)),
            }
        }
        Profile { profile: VERSION, contents: self.names, reads }
    }
}
