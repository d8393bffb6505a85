//! Boot profiles: in which order a tree, or a directory of an origin, was first read on one node, replayed on the next that open it.
//!
//! What is opened is a [`Scope`]. The first node to read in it writes down which chunks it touched (`profile/trace.rs`), until it has read
//! nothing new for a while; the profile becomes a blob, and a name of the swarm's own points at it. A node that opens the scope later finds
//! the name and sends for the chunks in that order, before they are asked for (`profile/replay.rs`). None is followed for ever, and scans make none
//! (`profile/age.rs`).

mod age;
mod replay;
mod trace;

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use herring_blob::{BlobId, ByteRange};
use quick_cache::sync::Cache;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::{Content, Source, Swarm};
use age::Begun;
pub(crate) use trace::Trace;

/// Scopes that a node remembers to have opened.
const SCOPES: usize = 1024;
/// Scopes that are written down or followed at the same time; more have no profile.
const AT_ONCE: usize = 64;
/// Segments of an origin's key that name a scope: `models/llama-3` of `models/llama-3/weights/1.bin`.
const DEPTH: usize = 2;
/// Chunks of one profile: 16 GiB in chunks of 4 MiB. What reads more than that is no start.
const MOST: usize = 4096;
/// What the names of all profiles begin with.
const NAMES: &str = ".profiles/";
/// What a profile begins with.
const VERSION: u32 = 1;

/// What is opened and read as one thing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Scope {
    Tree(BlobId),
    Origin { origin: String, prefix: String },
}

/// The traces of this node, by what they are of.
pub(crate) struct Traces {
    known: Cache<Scope, Arc<Trace>>,
    turns: Arc<Semaphore>,
    begun: Mutex<Begun>,
    /// The name up to which profiles were looked at for their age.
    looked_at: Mutex<Option<String>>,
}

impl Default for Traces {
    fn default() -> Self {
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        Self { known: Cache::new(SCOPES), turns, begun: Mutex::default(), looked_at: Mutex::default() }
    }
}

/// Chunks in the order in which they were first read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Profile {
    profile: u32,
    /// What was read: ids of blobs, or keys of the origin.
    contents: Vec<String>,
    /// Index of the content, first chunk, chunks.
    reads: Vec<(u32, u32, u32)>,
}

impl Profile {
    /// How many chunks of each content were read from its beginning on.
    fn first_chunks(&self) -> Vec<u32> {
        let mut chunks = vec![0; self.contents.len()];
        for (content, _, count) in self.reads.iter().filter(|(_, first, _)| *first == 0) {
            if let Some(chunks) = usize::try_from(*content).ok().and_then(|content| chunks.get_mut(content)) {
                *chunks = *count;
            }
        }
        chunks
    }
}

impl Scope {
    /// Of an origin's object: the directory that it is in, or the one above that is two deep.
    fn of_key(origin: &str, key: &str) -> Self {
        let directory = key.rsplit_once('/').map_or("", |(directory, _)| directory);
        let end = directory.match_indices('/').nth(DEPTH - 1).map_or(directory.len(), |(end, _)| end);
        Self::Origin { origin: origin.to_owned(), prefix: directory[..end].to_owned() }
    }

    /// The name that points at its profile; its length is bounded whatever the prefix is.
    fn name(&self) -> String {
        match self {
            Self::Tree(id) => format!("{NAMES}trees/{id}"),
            Self::Origin { origin, prefix } => format!("{NAMES}origins/{origin}/{}", BlobId::of(prefix.as_bytes())),
        }
    }
}

impl Swarm {
    /// Notes that `range` is being read, where the content is a part of something that has a profile or may get one. Does not wait.
    pub(crate) fn trace(&self, content: &Content, range: ByteRange) {
        let begin = || match (content.source(), content.tree()) {
            (Source::Object(object), _) => self.trace_of(Scope::of_key(&object.origin, &object.key)),
            (Source::Blob(_), Some(tree)) => self.trace_of(Scope::Tree(tree)),
            (Source::Blob(_), None) => Arc::new(Trace::ended()),
        };
        content.trace(begin).note(content, range);
    }

    /// The trace of a scope; begun where this node has not read in it before.
    fn trace_of(&self, scope: Scope) -> Arc<Trace> {
        let traces = &self.0.traces;
        if let Some(trace) = traces.known.get(&scope) {
            return trace;
        }
        let trace = Arc::new(Trace::default());
        let turn = Arc::clone(&traces.turns).try_acquire_owned().ok().filter(|_| !self.0.config.profile_idle.is_zero());
        let Some(turn) = turn else { return Arc::new(Trace::ended()) };
        // Of two that begin at once one is kept, and followed.
        let Ok(kept) = traces.known.get_or_insert_with(&scope, || Ok::<_, Infallible>(Arc::clone(&trace)));
        if Arc::ptr_eq(&kept, &trace) {
            let (swarm, stop) = (self.clone(), self.0.stop.clone());
            let work = async move {
                let _turn = turn;
                swarm.follow_scope(scope, trace).await;
            };
            self.0.tasks.spawn_on(stop.run_until_cancelled_owned(work), &self.0.runtime);
        }
        kept
    }

    /// Replays the profile of a scope; where there is none, makes it.
    async fn follow_scope(&self, scope: Scope, trace: Arc<Trace>) {
        let name = scope.name();
        match self.find_profile(&name).await {
            Ok(Some((info, profile))) => {
                trace.end();
                if !self.replay(&scope, profile).await
                    && let Err(error) = self.drop_profile(&info).await
                {
                    tracing::debug!(name, error, "a profile of what is gone was not let go");
                }
            }
            Ok(None) => {
                let begun = self.0.traces.begin();
                if let Some(profile) = trace.watch(self.0.config.profile_idle).await
                    && !self.0.traces.is_scan(begun)
                {
                    self.keep_profile(&name, profile).await;
                }
            }
            // Not knowing is no reason to write down what somebody has written already.
            Err(error) => {
                trace.end();
                tracing::debug!(name, %error, "no profile was looked for");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_two_deep_is_one_scope() {
        let prefix = |key: &str| match Scope::of_key("o", key) {
            Scope::Origin { prefix, .. } => prefix,
            Scope::Tree(_) => unreachable!("it was of a key"),
        };
        assert_eq!(prefix("a"), "");
        assert_eq!(prefix("m/a"), "m");
        assert_eq!(prefix("m/llama/a"), "m/llama");
        assert_eq!(prefix("m/llama/w/x/a"), "m/llama");
    }
}
