use std::sync::atomic::Ordering;

use futures_util::future::join_all;
use herring_blob::BlobId;
use herring_gossip::View;

use crate::candidates::Candidate;
use crate::config::REMOVE_DEADLINE;
use crate::{OpenError, RemoveError, Swarm, Tried};

impl Swarm {
    /// Removes a blob from every member. Until tombstones exist, a member that is away brings its copy back.
    pub async fn remove(&self, id: BlobId) -> Result<(), RemoveError> {
        if let Err(OpenError::NotFound { tried, .. }) = self.open_blob(id).await {
            return Err(RemoveError::NotFound { id, tried });
        }
        let view = self.view();
        let answers = join_all(view.members().iter().map(|node| self.remove_at(&view, node.into(), id))).await;
        let mut tried = Tried::default();
        for (whom, why) in answers.into_iter().flatten() {
            tried.note(whom, why);
        }
        if tried.0.is_empty() { Ok(()) } else { Err(RemoveError::Incomplete { id, tried }) }
    }

    async fn remove_at(&self, view: &View, member: Candidate, id: BlobId) -> Option<(String, String)> {
        let done = if self.is_me(view, &member) {
            self.remove_local(id).await.map_err(|error| error.to_string())
        } else {
            self.0.peers.delete(member.http, id, &self.ask(view, REMOVE_DEADLINE)).await.map_err(|error| error.to_string())
        };
        done.err().map(|why| (member.id.to_string(), why))
    }

    /// Removes this node's copy and tells who listens, also where there was none: a mount may show what it only looked up.
    pub async fn remove_local(&self, id: BlobId) -> Result<(), herring_store::WriteError> {
        self.0.removals.fetch_add(1, Ordering::Relaxed);
        self.0.store.remove(&id.into()).await?;
        self.0.unkept.retain(|(content, _), _| *content != id.into());
        self.0.trees.forget(&id);
        let _ = self.0.deletions.send(id);
        Ok(())
    }
}
