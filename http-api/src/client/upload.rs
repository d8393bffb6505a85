use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::link::SentBody;
use crate::ByteStream;

/// How long a node may think once it has taken the whole body. It waits for disks, and gives up itself after 400 s; its
/// word on what went wrong says more than ours.
pub(super) const SETTLE: Duration = Duration::from_secs(420);

/// Watches a body on its way out: a put may take hours, so what bounds it is that something moves, and once all of it is
/// taken, [`SETTLE`].
#[derive(Default)]
pub(super) struct Upload {
    taken: AtomicU64,
    /// The source has nothing to give yet: the node is not to blame.
    source_waits: AtomicBool,
    /// The source gave its last.
    ended: Notify,
    failure: Mutex<Option<String>>,
}

impl Upload {
    pub(super) fn watch(mut source: ByteStream) -> (Arc<Self>, SentBody) {
        let upload = Arc::new(Self::default());
        let watcher = upload.clone();
        let watched = stream::poll_fn(move |cx| {
            let polled = source.poll_next_unpin(cx);
            watcher.note(&polled);
            polled
        });
        (upload, StreamBody::new(watched.map_ok(Frame::data)).boxed_unsync())
    }

    fn note(&self, polled: &Poll<Option<std::io::Result<Bytes>>>) {
        self.source_waits.store(polled.is_pending(), Ordering::Relaxed);
        self.taken.fetch_add(1, Ordering::Relaxed);
        match polled {
            Poll::Ready(Some(Err(error))) => {
                *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
            }
            Poll::Ready(None) => self.ended.notify_one(),
            _ => {}
        }
    }

    /// Why the source broke off, if it did.
    pub(super) fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for `work`. Fails with the limit that ran out: `limit` in which the node neither took anything nor answered,
    /// or [`SETTLE`] since it took the last.
    pub(super) async fn while_moving<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Result<T, Duration> {
        let mut work = pin!(work);
        loop {
            let before = self.taken.load(Ordering::Relaxed);
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                () = self.ended.notified() => return timeout(SETTLE, work).await.map_err(|_| SETTLE),
                () = sleep(limit) => {
                    let moved = self.taken.load(Ordering::Relaxed) != before;
                    if !moved && !self.source_waits.load(Ordering::Relaxed) {
                        return Err(limit);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    async fn answer_after(time: Duration) -> &'static str {
        sleep(time).await;
        "answered"
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_takes_nothing_is_given_up() {
        let (upload, _body) = Upload::watch(Box::pin(stream::repeat_with(|| Ok(Bytes::from_static(b"x")))));
        assert_eq!(upload.while_moving(SECOND, answer_after(10 * SECOND)).await, Err(SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_source_is_not_the_nodes_fault() {
        let (upload, mut body) = Upload::watch(Box::pin(stream::pending()));
        assert!(futures_util::poll!(body.frame()).is_pending());
        assert_eq!(upload.while_moving(SECOND, answer_after(10 * SECOND)).await, Ok("answered"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_took_all_may_think_for_minutes_but_not_for_ever() {
        for (thinks, expected) in [(SETTLE - SECOND, Ok("answered")), (SETTLE + SECOND, Err(SETTLE))] {
            let (upload, mut body) = Upload::watch(Box::pin(stream::empty()));
            assert!(body.frame().await.is_none());
            assert_eq!(upload.while_moving(SECOND, answer_after(thinks)).await, expected);
        }
    }
}
