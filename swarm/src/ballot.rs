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
use crate::proof::{By, VOUCHERS};

/// How many times as long others are waited for where it is of a large blob, which is shown by what they say alone.
const FOR_LARGE: u32 = 10;

pub(crate) struct Ballot {
    /// Blobs above this size are not hashed before they are shown: there it is enough that two gave it.
    prove_first: u64,
    /// How long others are waited for once one gave a manifest.
    opinions: Duration,
    votes: Vec<Vote>,
    first: Option<Instant>,
    /// Those who say that they have none.
    without: usize,
}

/// What nodes gave.
pub(crate) struct Given {
    /// First the one that won, or that most have hashed or gave.
    pub all: Vec<Arc<Manifest>>,
    /// How the first is known to be right.
    pub known: Option<By>,
}

struct Vote {
    manifest: Arc<Manifest>,
    by: usize,
    /// How many of those say that they have hashed the whole.
    proven: usize,
}

impl Vote {
    fn known(&self) -> Option<By> {
        match self {
            Self { proven: VOUCHERS.., .. } => Some(By::Others),
            Self { by: VOUCHERS.., .. } => Some(By::Word),
            _ => None,
        }
    }
}

impl Ballot {
    pub fn new(prove_first: u64, opinions: Duration) -> Self {
        Self { prove_first, opinions, votes: Vec::new(), first: None, without: 0 }
    }

    /// The next answer, unless what came is enough.
    pub async fn next<T>(&self, answers: &mut FuturesUnordered<impl Future<Output = T>>) -> Option<T> {
        match self.first {
            _ if self.is_decided() => None,
            None => answers.next().await,
            Some(first) => timeout_at(first + self.patience(), answers.next()).await.ok().flatten(),
        }
    }

    fn patience(&self) -> Duration {
        if self.votes.iter().any(|vote| self.is_large(vote)) { self.opinions * FOR_LARGE } else { self.opinions }
    }

    fn is_large(&self, vote: &Vote) -> bool {
        vote.manifest.size() > self.prove_first
    }

    fn is_decided(&self) -> bool {
        let believed = self.prove_first == 0 && !self.votes.is_empty();
        believed || self.votes.iter().any(|vote| vote.known() >= Some(if self.is_large(vote) { By::Word } else { By::Others }))
    }

    /// `proven`: whether it says that it has hashed the whole.
    pub fn count(&mut self, manifest: Manifest, proven: bool) {
        self.first.get_or_insert_with(Instant::now);
        let proven = usize::from(proven);
        match self.votes.iter_mut().find(|vote| *vote.manifest == manifest) {
            Some(vote) => (vote.by, vote.proven) = (vote.by + 1, vote.proven + proven),
            None => self.votes.push(Vote { manifest: Arc::new(manifest), by: 1, proven }),
        }
    }

    pub fn count_without(&mut self) {
        self.without += 1;
    }

    pub fn won(mut self) -> Given {
        if let [one, _, ..] = &*self.votes {
            counter!(m::DISPUTES).increment(1);
            tracing::warn!(
                id = %one.manifest.id(), manifests = self.votes.len(),
                "nodes gave different manifests of one blob: one of them lies, or they were put with different chunk sizes"
            );
        }
        let large = self.prove_first;
        self.votes.sort_by_key(|vote| Reverse((if vote.manifest.size() > large { 0 } else { vote.proven }, vote.by)));
        let mut known = self.votes.first().and_then(Vote::known);
        if self.votes.len() == 1 && self.without == 0 {
            // Nobody says otherwise.
            known = known.or(Some(By::Word));
        }
        Given { all: self.votes.into_iter().map(|vote| vote.manifest).collect(), known }
    }
}
