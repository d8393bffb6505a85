//! What must be so before an origin is asked anything: its commit is known, and its wish to be left alone reaches everyone.

use std::collections::HashSet;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use herring_http_api::peer::MetaCall;
use herring_origin::Origin;

use super::known::millis;
use crate::{OpenError, Swarm};

/// Members that are told at a time.
const TOLD_TOGETHER: usize = 32;

impl Swarm {
    /// The origin of this name, ready to be asked: whoever asks an origin anything, be it for bytes, takes it from here.
    pub(crate) async fn ready_origin(&self, name: &str) -> Result<&Origin, OpenError> {
        let origin = self.origin(name)?;
        self.pass_on_holds(origin);
        if !origin.pinned() {
            let commit = self.learn_commit(origin).await?;
            if !origin.pinned() {
                // In this order: who finds it pinned finds its commit.
                self.0.meta.set_commit(name, commit.clone());
                origin.pin(&commit);
            }
        }
        Ok(origin)
    }

    /// A peer was told to leave the origin alone.
    pub(super) fn hold_origin(&self, origin: &str, left: Duration) {
        if let Some(origin) = self.0.origins.get(origin) {
            origin.hold(left);
        }
    }

    /// One task per origin, from when it is first asked until shutdown. It keeps no engine alive that everyone else let go.
    fn pass_on_holds(&self, origin: &Origin) {
        if self.followed().contains(origin.name()) || !self.followed().insert(origin.name().to_owned()) {
            return;
        }
        let (engine, name, mut held) = (Arc::downgrade(&self.0), origin.name().to_owned(), origin.held());
        let following = async move {
            while held.changed().await.is_ok()
                && let Some(engine) = engine.upgrade()
            {
                let left = held.borrow_and_update().left();
                Swarm(engine).pass_on_hold(&name, left).await;
            }
        };
        self.0.tasks.spawn_on(self.0.stop.clone().run_until_cancelled_owned(following), &self.0.runtime);
    }

    async fn pass_on_hold(&self, origin: &str, left: Duration) {
        if !left.is_zero() {
            tracing::info!(origin, ms = left.as_millis(), "the origin wants to be left alone: telling the others");
            self.tell_hold(origin, left).await;
        }
    }

    /// Once to each: who does not hear it will be told by the origin.
    async fn tell_hold(&self, origin: &str, left: Duration) {
        let view = self.view();
        let (call, ask) =
            (&MetaCall::Hold { origin: origin.to_owned(), ms: millis(left) }, &self.ask(&view, self.0.config.status_deadline));
        let others = view.members().iter().filter(|node| node.id != *view.me());
        let tell = async |http| {
            if let Err(error) = self.0.peers.meta(http, call, self.0.config.status_deadline, ask).await {
                tracing::debug!(%http, origin, %error, "a peer was not told to leave an origin alone");
            }
        };
        stream::iter(others.map(|node| node.http)).for_each_concurrent(TOLD_TOGETHER, tell).await;
    }

    fn followed(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.meta.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
