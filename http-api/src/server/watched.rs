//! Streams that nobody reads must not hold memory for ever.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use crate::ByteStream;

/// A client that takes nothing for so long while bytes are ready is given up. The server sets this as the limit of
/// unacknowledged TCP too; here it counts for HTTP/2, where a stream can stand still on a connection that is well.
pub(super) const UNREAD: Duration = Duration::from_secs(30);

/// Bytes are handed out in pieces of this at most, without a copy: a client is asked for so much in [`UNREAD`], which is
/// 280 kbit/s, and not for a whole chunk. It is the largest frame of our own clients, so theirs are no smaller for it.
const PIECE: usize = 1 << 20;

/// A stream on its way to a client. If nobody polls it for [`UNREAD`], its source is dropped with all that it read ahead,
/// and it ends in an error should anybody ask again. hyper polls a body only when what it took before has gone out, so a task
/// of its own must look at the clock; the connection itself is `untaken.rs`. A source that has nothing yet is not the client's fault, and is waited for.
pub(super) struct Watched {
    state: Arc<State>,
    _watchdog: AbortOnDropHandle<()>,
}

impl Watched {
    pub(super) fn new(bytes: ByteStream) -> Self {
        let state = Arc::new(State(Mutex::new(Inner {
            source: Some(Source { bytes, piece: Bytes::new() }),
            ready_since: Some(Instant::now()),
        })));
        let watchdog = AbortOnDropHandle::new(tokio::spawn(watch(Arc::clone(&state))));
        Self { state, _watchdog: watchdog }
    }
}

impl Stream for Watched {
    type Item = io::Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut inner = self.state.lock();
        let Some(source) = &mut inner.source else {
            let detail = format!("the client took nothing for {} seconds", UNREAD.as_secs());
            return Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::TimedOut, detail))));
        };
        let polled = source.poll_piece(cx);
        inner.ready_since = polled.is_ready().then(Instant::now);
        polled
    }
}

struct State(Mutex<Inner>);

struct Inner {
    source: Option<Source>,
    /// Since when the client has been the one that is waited for.
    ready_since: Option<Instant>,
}

struct Source {
    bytes: ByteStream,
    /// What came and is not handed out yet.
    piece: Bytes,
}

impl Source {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.piece.is_empty() {
            match ready!(self.bytes.poll_next_unpin(cx)) {
                Some(Ok(piece)) => self.piece = piece,
                end => return Poll::Ready(end),
            }
        }
        Poll::Ready(Some(Ok(self.piece.split_to(self.piece.len().min(PIECE)))))
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When to look again; `None`, and the source is gone, where that time has come.
    fn check(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut inner = self.lock();
        let deadline = inner.ready_since.unwrap_or(now) + UNREAD;
        let source = if deadline > now { return Some(deadline) } else { inner.source.take() };
        // What it holds is freed without the lock.
        drop(inner);
        drop(source);
        None
    }
}

async fn watch(state: Arc<State>) {
    while let Some(deadline) = state.check() {
        sleep_until(deadline).await;
    }
    tracing::info!("a client took nothing for {} seconds: what was read for it is dropped", UNREAD.as_secs());
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use tokio::time::{advance, sleep};

    use super::*;

    /// A source that gives one piece each `pause`, and a handle on what it holds.
    fn source(pause: Duration) -> (Watched, Arc<()>) {
        let memory = Arc::new(());
        let held = Arc::clone(&memory);
        let pieces = stream::repeat(()).then(move |()| {
            let _held = &held;
            async move {
                sleep(pause).await;
                Ok(Bytes::from_static(b"piece"))
            }
        });
        (Watched::new(pieces.boxed()), memory)
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_reads_is_freed() {
        let (unread, memory) = source(Duration::ZERO);
        sleep(UNREAD - Duration::from_secs(1)).await;
        assert_eq!(Arc::strong_count(&memory), 2);
        sleep(Duration::from_secs(2)).await;
        assert_eq!(Arc::strong_count(&memory), 1, "also before the first poll");
        drop(unread);

        let (mut stalled, memory) = source(Duration::ZERO);
        assert!(stalled.next().await.unwrap().is_ok());
        sleep(UNREAD + Duration::from_secs(1)).await;
        assert_eq!(Arc::strong_count(&memory), 1);
        assert_eq!(stalled.next().await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_and_a_slow_source_are_not_stalled() {
        let (mut read, _) = source(UNREAD * 3);
        for _ in 0..4 {
            assert!(read.next().await.unwrap().is_ok(), "the source was slow");
            sleep(UNREAD - Duration::from_secs(1)).await;
        }
    }

    #[tokio::test]
    async fn large_pieces_are_handed_out_in_parts() {
        let whole = Bytes::from((0..PIECE * 2 + 5).map(|at| at.to_le_bytes()[1]).collect::<Vec<_>>());
        let pieces = [whole.slice(..3), Bytes::new(), whole.slice(3..)].map(Ok);
        let parts: Vec<Bytes> = Watched::new(stream::iter(pieces).boxed()).map(Result::unwrap).collect().await;
        assert_eq!(parts.iter().map(Bytes::len).collect::<Vec<_>>(), [3, 0, PIECE, PIECE, 2]);
        assert_eq!(parts.concat(), whole);
    }

    #[tokio::test(start_paused = true)]
    async fn the_watchdog_ends_with_the_stream() {
        let (read, memory) = source(Duration::ZERO);
        drop(read);
        advance(Duration::ZERO).await;
        tokio::task::yield_now().await;
        assert_eq!(Arc::strong_count(&memory), 1);
        assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
    }
}
