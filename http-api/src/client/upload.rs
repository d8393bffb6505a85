use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::time::timeout;

use super::link::SentBody;
use crate::ByteStream;

/// Watches a body on its way out: a put may take hours, so what bounds it is that something moves.
#[derive(Default)]
pub(super) struct Upload {
    taken: AtomicU64,
    /// The source has nothing to give yet: the node is not to blame.
    source_waits: AtomicBool,
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
        if let Poll::Ready(Some(Err(error))) = polled {
            *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
        }
    }

    /// Why the source broke off, if it did.
    pub(super) fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for `work`; `None` once the node neither took anything nor answered for `limit`.
    pub(super) async fn while_moving<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        loop {
            let before = self.taken.load(Ordering::Relaxed);
            if let Ok(done) = timeout(limit, work.as_mut()).await {
                return Some(done);
            }
            let moved = self.taken.load(Ordering::Relaxed) != before;
            if !moved && !self.source_waits.load(Ordering::Relaxed) {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ten_seconds() -> &'static str {
        tokio::time::sleep(Duration::from_secs(10)).await;
        "answered"
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_takes_nothing_is_given_up() {
        let (upload, _body) = Upload::watch(Box::pin(stream::repeat_with(|| Ok(Bytes::from_static(b"x")))));
        assert_eq!(upload.while_moving(Duration::from_secs(1), ten_seconds()).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_source_is_not_the_nodes_fault() {
        let (upload, mut body) = Upload::watch(Box::pin(stream::pending()));
        assert!(futures_util::poll!(body.frame()).is_pending());
        assert_eq!(upload.while_moving(Duration::from_secs(1), ten_seconds()).await, Some("answered"));
    }
}
