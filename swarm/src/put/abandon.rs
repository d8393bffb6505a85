//! The end of a put that came to nothing.

use std::sync::PoisonError;

use futures_util::future::join_all;
use tokio::time::sleep;

use super::Transfer;
use crate::candidates::Candidate;
use crate::config::{CHUNK_DEADLINE, SMALL_DEADLINE};

/// Tells those who hold parts of an upload to forget it, unless it was committed. Runs also where the client goes away.
pub(super) struct Abandon(pub Option<Transfer>);

impl Transfer {
    async fn abandon(self) {
        // A chunk that arrived behind the word to forget it would begin the upload anew.
        self.sends.close();
        tokio::select! {
            () = self.sends.wait() => {}
            () = sleep(CHUNK_DEADLINE) => {}
            () = self.swarm.0.stop.cancelled() => return,
        }
        let touched = std::mem::take(&mut *self.touched.lock().unwrap_or_else(PoisonError::into_inner));
        let nodes = touched.iter().filter_map(|id| self.view.get(id)).map(Candidate::from);
        join_all(nodes.map(|node| self.abandon_at(node))).await;
    }

    /// Best effort: what is missed here, each node's own sweep of idle uploads finds.
    async fn abandon_at(&self, node: Candidate) {
        if self.swarm.is_me(&self.view, &node) {
            return self.swarm.abort_upload(self.upload).await;
        }
        let ask = self.swarm.ask(&self.view, SMALL_DEADLINE);
        if let Err(error) = self.swarm.0.peers.abort_upload(node.http, self.upload, &ask).await {
            tracing::debug!(peer = %node.id, %error, "a peer was not told that a put came to nothing");
        }
    }
}

impl Drop for Abandon {
    fn drop(&mut self) {
        if let Some(transfer) = self.0.take() {
            let tasks = transfer.swarm.0.tasks.clone();
            tasks.spawn(transfer.abandon());
        }
    }
}
