use futures_util::{StreamExt, stream};
use herring_blob::BlobId;
use herring_http_api::types::{Job, Prefetch, PrefetchPath};
use tokio::sync::{mpsc, watch};

use super::bring::{Fault, Faults, patiently};
use super::room::Ledger;
use crate::{Content, Found, Listed, Swarm};

/// Manifests or objects that one job asks for at the same time.
const ASKED: usize = 8;

/// What finds out which contents a job is about. They are brought while it goes on.
pub(super) struct Finder<'a> {
    swarm: &'a Swarm,
    job: &'a watch::Sender<Job>,
    found: mpsc::Sender<Content>,
    faults: &'a Faults,
    ledger: &'a Ledger,
}

impl<'a> Finder<'a> {
    pub fn new(
        swarm: &'a Swarm,
        job: &'a watch::Sender<Job>,
        found: mpsc::Sender<Content>,
        faults: &'a Faults,
        ledger: &'a Ledger,
    ) -> Self {
        Self { swarm, job, found, faults, ledger }
    }

    pub async fn find(self, wanted: &Prefetch) {
        for id in &wanted.blobs {
            self.tree(*id).await;
        }
        for name in &wanted.names {
            match patiently(|| self.swarm.name(name)).await {
                Ok(info) => self.tree(info.target).await,
                Err(fault) => self.faults.note(None, fault),
            }
        }
        for path in &wanted.origins {
            self.path(path).await;
        }
    }

    /// A blob; where it is a tree, with all that is in it.
    async fn tree(&self, id: BlobId) {
        self.blob(id).await;
        if self.faults.are_too_many() {
            return;
        }
        match patiently(|| self.swarm.open_tree(id)).await {
            Ok(Some(open)) => stream::iter(open.tree.blobs()).for_each_concurrent(ASKED, |id| self.blob(*id)).await,
            Ok(None) => {}
            Err(fault) => self.faults.note(Some(id.into()), fault),
        }
    }

    async fn blob(&self, id: BlobId) {
        if self.faults.are_too_many() || !self.ledger.is_new(id.into()) {
            return;
        }
        match patiently(|| self.swarm.open_blob(id)).await {
            Ok(content) => self.tell(content).await,
            Err(fault) => self.faults.note(Some(id.into()), fault),
        }
    }

    async fn path(&self, wanted: &PrefetchPath) {
        let (origin, path) = (&*wanted.origin, wanted.path.trim_matches('/'));
        let not_below =
            || Fault::lasting(format!("{origin}/{path} is a directory, and asked for by who may have that one object alone"));
        let found = if path.is_empty() {
            Ok(Found::Directory)
        } else {
            patiently(|| self.swarm.look_up_to_read(origin, path, u64::MAX)).await
        };
        match found {
            Ok(Found::Object(content)) => self.tell_new(content).await,
            Ok(Found::Directory) if wanted.object_only => self.faults.note(None, not_below()),
            Ok(Found::Directory) => self.directory(origin, path.to_owned()).await,
            Err(fault) => self.faults.note(None, fault),
        }
    }

    /// All that is below a directory, page by page; of each level only the directories of one page wait.
    async fn directory(&self, origin: &str, top: String) {
        let mut ahead: Vec<(String, Option<String>)> = vec![(top, None)];
        while let Some((prefix, token)) = ahead.pop() {
            if self.faults.are_too_many() {
                return;
            }
            let page = match patiently(|| self.swarm.list_page(origin, &prefix, token.as_deref())).await {
                Ok(page) => page,
                Err(fault) => {
                    self.faults.note(None, fault);
                    continue;
                }
            };
            let (directories, objects): (Vec<_>, Vec<_>) =
                page.entries.iter().partition(|entry| matches!(entry, Listed::Directory { .. }));
            let below = |entry: &&Listed| key(&prefix, entry.name());
            stream::iter(objects.iter().map(below)).for_each_concurrent(ASKED, |key| self.object(origin, key)).await;
            ahead.extend(page.next.clone().map(|next| (prefix.clone(), Some(next))));
            ahead.extend(directories.iter().map(|entry| (below(entry), None)));
        }
    }

    async fn object(&self, origin: &str, key: String) {
        match patiently(|| self.swarm.open_to_read(origin, &key, u64::MAX)).await {
            Ok(content) => self.tell_new(content).await,
            Err(fault) => self.faults.note(None, fault),
        }
    }

    async fn tell_new(&self, content: Content) {
        if self.ledger.is_new(content.id()) {
            self.tell(content).await;
        }
    }

    /// Counts it, and hands it on to be brought; where all of it could not stay, nothing more is.
    async fn tell(&self, content: Content) {
        self.job.send_modify(|job| {
            job.contents += 1;
            job.bytes_total += content.size();
        });
        if let Err(full) = self.ledger.enter(&self.swarm.0.store, &content) {
            return self.faults.give_up(full);
        }
        // Nobody takes it any more once there are too many faults.
        let _ = self.found.send(content).await;
    }
}

fn key(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") }
}
