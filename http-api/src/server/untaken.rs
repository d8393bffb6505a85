//! Answers that their client does not take must not hold slots and memory for as long as it keeps its connection. HTTP/2 lets one answer stand still on a
//! connection that is well, so the kernel does not notice it; and hyper, which waits for the client's window with a piece in its hand, does not ask for the next.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::sleep;

/// Looks within the limit. Looks are counted, and not time, so that nobody is blamed for a pause of this process.
const LOOKS: u32 = 4;

/// The answers of one connection of which its client has something to take.
#[derive(Debug, Default)]
pub(super) struct Untaken(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    /// How many looks found each of them so.
    looks: HashMap<u64, u32>,
}

/// An answer's body that tells when it was taken from.
struct Watched {
    body: Body,
    untaken: Arc<Untaken>,
    number: u64,
}

impl Untaken {
    pub(super) fn watch(self: &Arc<Self>, body: Body) -> Body {
        if body.is_end_stream() {
            return body;
        }
        let number = {
            let mut waiting = self.lock();
            waiting.next += 1;
            waiting.next
        };
        self.offered(number);
        Body::new(Watched { body, untaken: Arc::clone(self), number })
    }

    /// Returns once something of one of them was there for `limit` and nobody took it.
    pub(super) async fn until_stuck(&self, limit: Duration) {
        while !self.look() {
            sleep(limit / LOOKS).await;
        }
    }

    fn look(&self) -> bool {
        let mut waiting = self.lock();
        waiting.looks.values_mut().for_each(|looks| *looks += 1);
        waiting.looks.values().any(|looks| *looks > LOOKS)
    }

    fn offered(&self, number: u64) {
        self.lock().looks.insert(number, 0);
    }

    fn taken(&self, number: u64) {
        self.lock().looks.remove(&number);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Figures only.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match polled {
            Poll::Ready(_) => self.untaken.offered(self.number),
            // It is the source that is waited for.
            Poll::Pending => self.untaken.taken(self.number),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.untaken.taken(self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::{StreamExt, stream};
    use tokio::time::timeout;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(8);

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_not_taken_is_noticed_and_one_that_is_or_that_waits_is_not() {
        let untaken = Arc::new(Untaken::default());
        let empty = untaken.watch(Body::empty());
        let pieces = || stream::repeat_with(|| Ok::<_, Infallible>(Bytes::from_static(b"piece")));
        let mut slow = untaken.watch(Body::from_stream(pieces())).into_data_stream();
        let reading = async {
            for _ in 0..9 {
                sleep(LIMIT / 2).await;
                slow.next().await;
            }
        };
        assert!(timeout(LIMIT * 4, async { tokio::join!(untaken.until_stuck(LIMIT), reading) }).await.is_err());
        drop((slow, empty));
        let mut waits = untaken.watch(Body::from_stream(stream::pending::<Result<Bytes, Infallible>>())).into_data_stream();
        assert!(timeout(LIMIT, waits.next()).await.is_err());
        assert!(timeout(LIMIT * 4, untaken.until_stuck(LIMIT)).await.is_err(), "its source has nothing");
        let stuck = untaken.watch(Body::from_stream(pieces()));
        untaken.until_stuck(LIMIT).await;
        drop(stuck);
        assert!(untaken.lock().looks.is_empty());
    }
}
