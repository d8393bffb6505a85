use tokio::time::{Instant, timeout_at};

use crate::error::Fault;
use crate::{DEADLINE, OriginError, metrics};

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

    pub(crate) fn end(&self) -> Instant {
        self.end
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

    fn error(&self, fault: Fault) -> OriginError {
        let (origin, key) = (self.origin.clone(), self.key.clone());
        match fault {
            Fault::NotFound => OriginError::NotFound { origin, key },
            Fault::Changed => OriginError::Changed { origin, key, version: self.version.clone() },
            Fault::Denied(detail) => OriginError::Denied { origin, key, detail },
            Fault::Unavailable(detail) => OriginError::Unavailable { origin, key, detail },
            Fault::Unusable(detail) => OriginError::Unusable { origin, key, detail },
            Fault::Throttled(left) => OriginError::Throttled { origin, key, seconds: left.unwrap_or_default().as_secs() + 1 },
            Fault::Unlisted => OriginError::Unlisted { origin, key },
            Fault::TimedOut => OriginError::TimedOut { origin, key, op: self.op, seconds: DEADLINE.as_secs() },
        }
    }
}
