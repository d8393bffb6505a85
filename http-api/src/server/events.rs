//! A job's states as server-sent events.

use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use http::header;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use super::watched::Watched;
use crate::types::{Job, JobState};

pub(super) const EVENT_STREAM: &str = "text/event-stream";

/// How soon after one state the next is told. A chunk lands every few milliseconds; nobody sees more than ten states a second.
const PACE: Duration = Duration::from_millis(100);
/// How long nothing may be said: proxies take silence for death, the common ones after 60 s.
const BEAT: Duration = Duration::from_secs(15);
const COMMENT: Bytes = Bytes::from_static(b":\n\n");

/// Tells the job's states until it ends. `slot` is given back when that, or the client's patience, is over.
pub(super) fn events(states: BoxStream<'static, Job>, slot: OwnedSemaphorePermit) -> Response {
    let states = states.map(Job::without_wanted).boxed();
    let progress = Progress { states, last: Instant::now(), told: false, over: false, _slot: slot };
    let told = stream::unfold(progress, async |mut progress| Some((Ok(progress.next().await?), progress)));
    let headers = [(header::CONTENT_TYPE, EVENT_STREAM), (header::CACHE_CONTROL, "no-store")];
    (headers, Body::from_stream(Watched::new(told.boxed()))).into_response()
}

struct Progress {
    states: BoxStream<'static, Job>,
    /// When something was said last.
    last: Instant,
    /// The first state is told at once.
    told: bool,
    over: bool,
    _slot: OwnedSemaphorePermit,
}

impl Progress {
    /// The next thing to say; `None` once the last was said.
    async fn next(&mut self) -> Option<Bytes> {
        let mut latest = None;
        while !self.over {
            let until = self.last + if latest.is_some() { PACE } else { BEAT };
            match timeout_at(until, self.states.next()).await {
                Ok(Some(job)) if job.state.is_final() || !self.told || self.last.elapsed() >= PACE => {
                    return Some(self.tell(&job));
                }
                Ok(Some(job)) => latest = Some(job),
                Ok(None) => self.over = true,
                Err(_) => {
                    return Some(match latest {
                        Some(job) => self.tell(&job),
                        None => self.beat(),
                    });
                }
            }
        }
        latest.map(|job| self.tell(&job))
    }

    fn tell(&mut self, job: &Job) -> Bytes {
        (self.last, self.told, self.over) = (Instant::now(), true, self.over || job.state.is_final());
        let name = match job.state {
            JobState::Looking | JobState::Running => "progress",
            JobState::Done => "done",
            JobState::Failed => "failed",
            JobState::Cancelled => "cancelled",
        };
        // JSON has no line breaks but those that its writer puts in, which this one does not.
        let data = serde_json::to_string(job).expect("a job has string keys only, and writing to memory does not fail");
        format!("event: {name}\ndata: {data}\n\n").into()
    }

    fn beat(&mut self) -> Bytes {
        self.last = Instant::now();
        COMMENT
    }
}
