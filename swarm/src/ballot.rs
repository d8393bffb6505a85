//! Which of the manifests that nodes gave is believed.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use herring_blob::Manifest;
use metrics::counter;
use tokio::time::{Instant, timeout_at};

use crate::metrics as m;
use crate::proof::VOUCHERS;

/// How long others are waited for once one gave a manifest: in one building it takes 1 ms.
const OPINIONS: Duration = Duration::from_millis(50);

pub(crate) struct Ballot {
    asked: usize,
    /// Blobs above this size are not hashed before they are shown: there most who were asked are enough.
    prove_first: u64,
    given: Vec<Given>,
    first: Option<Instant>,
}

struct Given {
    manifest: Arc<Manifest>,
    by: usize,
    /// How many of those say that they have hashed the whole.
    proven: usize,
}

impl Ballot {
    pub fn new(asked: usize, prove_first: u64) -> Self {
        Self { asked, prove_first, given: Vec::new(), first: None }
    }

    /// The next answer, unless what came is enough.
    pub async fn next<T>(&self, answers: &mut FuturesUnordered<impl Future<Output = T>>) -> Option<T> {
        match self.first {
            _ if self.is_decided() => None,
            None => answers.next().await,
            Some(first) => timeout_at(first + OPINIONS, answers.next()).await.ok().flatten(),
        }
    }

    fn is_decided(&self) -> bool {
        let most = |given: &Given| given.manifest.size() > self.prove_first && given.by * 2 > self.asked;
        self.given.iter().any(|given| given.proven >= VOUCHERS || most(given))
    }

    pub fn count(&mut self, manifest: Manifest, proven: bool) {
        self.first.get_or_insert_with(Instant::now);
        let proven = usize::from(proven);
        match self.given.iter_mut().find(|given| *given.manifest == manifest) {
            Some(given) => (given.by, given.proven) = (given.by + 1, given.proven + proven),
            None => self.given.push(Given { manifest: Arc::new(manifest), by: 1, proven }),
        }
    }

    pub fn is_disputed(&self) -> bool {
        self.given.len() > 1
    }

    /// All that were given, first the one that most have hashed, or else gave; and whether enough have hashed that one.
    pub fn won(mut self) -> (Vec<Arc<Manifest>>, bool) {
        if let [one, _, ..] = &*self.given {
            counter!(m::DISPUTES).increment(1);
            tracing::warn!(id = %one.manifest.id(), manifests = self.given.len(), "nodes gave different manifests of one blob: one of them lies, or they were put with different chunk sizes");
        }
        self.given.sort_by_key(|given| Reverse((given.proven, given.by)));
        let vouched = self.given.first().is_some_and(|first| first.proven >= VOUCHERS);
        (self.given.into_iter().map(|given| given.manifest).collect(), vouched)
    }
}
