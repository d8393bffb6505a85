use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use herring_blob::{ByteRange, ObjectRef};
use tokio::time::{Instant, sleep, timeout};

use crate::backend::{Backend, Body};
use crate::error::Fault;
use crate::hold::Throttle;
use crate::metrics;

/// Tries of one question. Those that the origin throttled are not counted: its holds are what bounds them.
const TRIES: u32 = 4;

/// Pauses are drawn from nothing to this much, doubling: nodes that failed together do not try again together.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What was refused for being too much once more rests by itself behind the hold, this long and doubling to that, while others go on: one key that is refused for ever would hold up all
/// keys of its origin.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(8);

/// A body of which nothing came for so long is broken: TCP repairs a lost packet within 3 s, and another connection is faster than waiting.
pub(crate) const STALL: Duration = Duration::from_secs(10);

/// What is left of one question's patience: the only place that asks an origin again.
pub(crate) struct Tries {
    origin: Arc<str>,
    throttle: Arc<Throttle>,
    end: Instant,
    left: u32,
    pause: Duration,
    /// Zero until it was throttled.
    rest: Duration,
}

impl Tries {
    pub(crate) fn new(origin: Arc<str>, throttle: Arc<Throttle>, end: Instant) -> Self {
        Self { origin, throttle, end, left: TRIES - 1, pause: FIRST_PAUSE, rest: Duration::ZERO }
    }

    /// Asks until there is an answer, or a fault that asking again would not change.
    pub(crate) async fn ask<T, F>(&mut self, mut ask: impl FnMut() -> F) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        loop {
            self.throttle.wait(self.end).await?;
            match ask().await {
                Ok(answer) => {
                    self.throttle.succeeded();
                    return Ok(answer);
                }
                Err(fault) => self.pause_after(fault).await?,
            }
        }
    }

    /// Returns when the question may be asked again, or with the fault if it may not.
    async fn pause_after(&mut self, fault: Fault) -> Result<(), Fault> {
        match fault {
            Fault::Throttled(retry_after) => {
                self.count(metrics::THROTTLED);
                self.throttle.throttled(retry_after);
                self.throttle.wait(self.end).await?;
                let rest = self.rest.mul_f64(0.75 + fastrand::f64() / 2.0);
                self.rest = (self.rest * 2).clamp(FIRST_REST, LONGEST_REST);
                if Instant::now() + rest >= self.end {
                    return Err(Fault::Throttled(Some(rest)));
                }
                sleep(rest).await;
            }
            Fault::Unavailable(_) if self.left > 0 => {
                self.left -= 1;
                sleep(self.pause.mul_f64(fastrand::f64())).await;
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            }
            final_one => return Err(final_one),
        }
        self.count(metrics::RETRIES);
        Ok(())
    }

    fn count(&self, what: &'static str) {
        ::metrics::counter!(what, "origin" => self.origin.to_string()).increment(1);
    }
}

/// A read under way. Where its body breaks off it goes on, behind the last byte that came.
pub(crate) struct Reading {
    backend: Arc<dyn Backend>,
    tries: Tries,
    object: ObjectRef,
    left: ByteRange,
    body: Option<Body>,
}

impl Reading {
    /// Returns when the first body is there; `range` is not empty.
    pub(crate) async fn open(
        backend: Arc<dyn Backend>,
        tries: Tries,
        object: ObjectRef,
        range: ByteRange,
    ) -> Result<Self, Fault> {
        let mut reading = Self { backend, tries, object, left: range, body: None };
        reading.body = Some(reading.ask().await?);
        Ok(reading)
    }

    /// Of a body that is there already: the first `range` of the object.
    pub(crate) fn begun(backend: Arc<dyn Backend>, tries: Tries, object: ObjectRef, range: ByteRange, body: Body) -> Self {
        Self { backend, tries, object, left: range, body: Some(body) }
    }

    /// The next bytes; `None` behind the last one.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            let body = match &mut self.body {
                Some(body) => body,
                None => {
                    let body = self.ask().await?;
                    self.body.insert(body)
                }
            };
            match next_part(body, self.left.len()).await {
                Ok(part) => {
                    self.left.start += part.as_ref().map_or(0, |part| part.len() as u64);
                    return Ok(part);
                }
                Err(Fault::Unavailable(_)) if self.left.is_empty() => return Ok(None),
                Err(fault) => {
                    self.body = None;
                    self.tries.pause_after(fault).await?;
                }
            }
        }
    }

    async fn ask(&mut self) -> Result<Body, Fault> {
        let (backend, left) = (&*self.backend, self.left);
        let ObjectRef { key, version, size, .. } = &self.object;
        self.tries.ask(|| backend.read(key, version, *size, left)).await
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if self.body.is_some() && !self.left.is_empty() {
            let origin = self.object.origin.clone();
            ::metrics::counter!(metrics::LET_GO, "origin" => origin).increment(self.left.len());
        }
    }
}

/// The next part of a body that has `left` bytes still to give.
async fn next_part(body: &mut Body, left: u64) -> Result<Option<Bytes>, Fault> {
    let silent = || Fault::Unavailable(format!("nothing came for {} s with {left} bytes to go", STALL.as_secs()));
    match timeout(STALL, body.try_next()).await.map_err(|_| silent())?? {
        Some(part) if part.len() as u64 > left => Err(Fault::Unusable("it gave more bytes than were asked for".to_owned())),
        None if left > 0 => Err(Fault::Unavailable(format!("it ended {left} bytes too early"))),
        part => Ok(part),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Readers of other keys, one question after the other, get nearly all that they would without it.
    #[tokio::test(start_paused = true)]
    async fn a_key_that_is_always_refused_does_not_hold_up_the_others() {
        let (throttle, began) = (Arc::new(Throttle::new()), Instant::now());
        let end = began + Duration::from_secs(60);
        let tries = || Tries::new("o".into(), Arc::clone(&throttle), end);
        let refused = async {
            let mut asked = 0;
            let fault = tries()
                .ask(|| {
                    asked += 1;
                    async { Err::<(), _>(Fault::Throttled(None)) }
                })
                .await;
            assert!(matches!(fault, Err(Fault::Throttled(Some(_)))), "{fault:?}");
            asked
        };
        let others = async {
            let mut answered = 0;
            while began.elapsed() < Duration::from_secs(50) {
                let answer = async {
                    sleep(Duration::from_millis(10)).await;
                    Ok(())
                };
                let mut answer = Some(answer);
                tries().ask(|| answer.take().expect("they are not refused")).await.unwrap();
                answered += 1;
            }
            answered
        };
        let (asked, answered) = tokio::join!(refused, others);
        assert!((6..=14).contains(&asked), "{asked} tries of what is refused");
        assert!(answered > 3000, "{answered} of 5000 answers for the others");
    }
}
