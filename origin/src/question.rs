use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::{Instant, timeout_at};

use crate::backend::Body;
use crate::error::Fault;
use crate::{DEADLINE, MAX_LISTED, OriginError, Parts, metrics};

/// What is being asked of whom, and until when: the context that every error carries.
pub(crate) struct Question {
    origin: String,
    op: &'static str,
    key: String,
    version: String,
    end: Instant,
}

impl Question {
    /// Counts it; the deadline runs from now.
    pub(crate) fn new(origin: &str, op: &'static str, key: &str, version: &str) -> Self {
        ::metrics::counter!(metrics::REQUESTS, "origin" => origin.to_owned(), "op" => op).increment(1);
        let end = Instant::now() + DEADLINE;
        Self { origin: origin.to_owned(), op, key: key.to_owned(), version: version.to_owned(), end }
    }

    /// Waits for the answer, or a part of it, until the deadline.
    pub(crate) async fn answer<T>(&self, work: impl Future<Output = Result<T, Fault>>) -> Result<T, OriginError> {
        let answer = timeout_at(self.end, work).await.unwrap_or(Err(Fault::TimedOut));
        answer.map_err(|fault| {
            let error = self.error(fault);
            ::metrics::counter!(metrics::ERRORS, "origin" => self.origin.clone(), "kind" => error.kind()).increment(1);
            error
        })
    }

    /// The parts of an answer as they come, `length` bytes in all, or an error.
    pub(crate) fn parts(self, body: Body, length: u64) -> Parts {
        stream::try_unfold((self, body, length), |(asked, mut body, left)| async move {
            let Some(part) = asked.answer(next(&mut body, left)).await? else { return Ok(None) };
            let length = part.len() as u64;
            ::metrics::counter!(metrics::BYTES, "origin" => asked.origin.clone()).increment(length);
            Ok(Some((part, (asked, body, left - length))))
        })
        .boxed()
    }

    fn error(&self, fault: Fault) -> OriginError {
        let (origin, key) = (self.origin.clone(), self.key.clone());
        match fault {
            Fault::NotFound => OriginError::NotFound { origin, key },
            Fault::Changed => OriginError::Changed { origin, key, version: self.version.clone() },
            Fault::Denied(detail) => OriginError::Denied { origin, key, detail },
            Fault::Unavailable(detail) => OriginError::Unavailable { origin, key, detail },
            Fault::TooMany => OriginError::TooMany { origin, key, most: MAX_LISTED },
            Fault::TimedOut => OriginError::TimedOut { origin, key, op: self.op, seconds: DEADLINE.as_secs() },
        }
    }
}

/// The next part of a body that has `left` bytes still to give.
async fn next(body: &mut Body, left: u64) -> Result<Option<Bytes>, Fault> {
    match body.try_next().await? {
        Some(part) if part.len() as u64 > left => Err(Fault::Unavailable("it gave more bytes than were asked for".to_owned())),
        None if left > 0 => Err(Fault::Unavailable(format!("it ended {left} bytes too early"))),
        part => Ok(part),
    }
}
