use herring_blob::BlobId;
use herring_gossip::View;
use herring_http_api::repair::Fate;
use herring_ring::Point;
use herring_store::Entry;

use crate::config::REMOVE_DEADLINE;
use crate::jobs::now_ms;
use crate::{OpenError, RemoveError, Swarm, Tried};

impl Swarm {
    /// Deletes a blob: acknowledged once most owners of its manifest have written down that it is deleted, and removed their copies, and all other
    /// members were told; those who are away hear of it when they are back, and bring nothing back with them. Deleting it again says so again.
    pub async fn remove(&self, id: BlobId) -> Result<(), RemoveError> {
        if !self.0.fates.is_deleted(&id)
            && let Err(OpenError::NotFound { tried, .. }) = self.open_blob(id).await
        {
            return Err(RemoveError::NotFound { id, tried });
        }
        self.check_majority().map_err(|why| RemoveError::Minority { id, why: why.to_string() })?;
        let (view, fate) = (self.view(), self.0.fates.next(id, true, now_ms()));
        self.tell_owners(&view, fate).await?;
        self.remember(vec![fate]).await?;
        self.tell_all(&view, view.members(), fate, REMOVE_DEADLINE).await;
        Ok(())
    }

    /// The owners hear of it before all others: what no owner knows nobody knows, so a put that all of them took has met every deletion
    /// before it (`put/word.rs`).
    async fn tell_owners(&self, view: &View, fate: Fate) -> Result<(), RemoveError> {
        let owners = view.owners(Point::of_blob(&fate.id), self.replicas());
        let mine = owners.iter().any(|node| node.id == *view.me());
        if mine {
            self.remember(vec![fate]).await?;
        }
        let (mut told, mut tried) = (usize::from(mine), Tried::default());
        for (node, answer) in self.tell_all(view, owners.iter().copied(), fate, REMOVE_DEADLINE).await {
            match answer {
                Ok(()) => told += 1,
                Err(error) => tried.note(node.id, error),
            }
        }
        if 2 * told > owners.len() { Ok(()) } else { Err(RemoveError::Incomplete { id: fate.id, tried }) }
    }

    /// Removes this node's copy and tells who listens, also where there was none: a mount may show what it only looked up.
    pub async fn remove_local(&self, id: BlobId) -> Result<(), herring_store::WriteError> {
        self.remove_copy(id, |_| true).await
    }

    /// The same for a blob that is deleted, unless it is put again before its copy is gone: a put says first that it lives, and commits then. So
    /// whether it is still deleted is asked where no commit can come between the answer and the removal.
    pub(crate) async fn remove_deleted(&self, id: BlobId) -> Result<(), herring_store::WriteError> {
        self.remove_copy(id, self.still_deleted(id)).await
    }

    pub(crate) fn still_deleted(&self, id: BlobId) -> impl FnOnce(&Entry) -> bool + Send + use<> {
        let swarm = self.clone();
        move |_| swarm.0.fates.is_deleted(&id)
    }

    async fn remove_copy(
        &self,
        id: BlobId,
        still: impl FnOnce(&Entry) -> bool + Send + 'static,
    ) -> Result<(), herring_store::WriteError> {
        self.0.store.remove_if(&id.into(), still).await?;
        self.0.unkept.retain(|((content, _), _), _| *content != id.into());
        self.0.trees.forget(&id);
        let _ = self.0.deletions.send(id);
        Ok(())
    }
}
