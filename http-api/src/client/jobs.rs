use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use http::header::ACCEPT;
use http::{HeaderValue, Method};
use url::Url;
use uuid::Uuid;

use super::answer::Answer;
use super::api::{empty, with};
use super::error::WireError;
use super::{ApiClient, ClientError};
use crate::types::{Job, JobCreated, JobList, PinInfo, PinList, Prefetch};

/// A job's states as they come. The last one is final; a stream that breaks off ends in an error.
pub type JobStream = BoxStream<'static, Result<Job, ClientError>>;

/// Bytes of an event: what a job says of itself, and what was wanted, which is 1 MiB at most, and more where names must be escaped.
const MAX_EVENT: usize = 8 << 20;

impl ApiClient {
    /// Lets the node bring what is wanted to its disk; answers the job that does so.
    pub async fn prefetch(&self, wanted: &Prefetch) -> Result<Uuid, ClientError> {
        let request = self.json_request(Method::POST, &self.url(["v1", "prefetch"])?, wanted)?;
        let created: JobCreated = self.parse(self.exchange(request).await?).await?;
        Ok(created.job)
    }

    pub async fn job(&self, job: Uuid) -> Result<Job, ClientError> {
        self.json(self.job_url(job)?).await
    }

    /// The jobs that run, and those that ended lately.
    pub async fn jobs(&self) -> Result<Vec<Job>, ClientError> {
        let list: JobList = self.json(self.url(["v1", "jobs"])?).await?;
        Ok(list.jobs)
    }

    /// The job's states, the present one first, until it ends.
    pub async fn follow_job(&self, job: Uuid) -> Result<JobStream, ClientError> {
        let mut request = self.request(Method::GET, &self.job_url(job)?, empty())?;
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        let events = Events { answer: self.exchange(request).await?, unread: BytesMut::new(), over: false };
        let client = self.clone();
        let states = stream::try_unfold(events, async |mut events| Ok(events.job().await?.map(|job| (job, events))));
        Ok(states.map(move |state| state.map_err(|error| client.failed(error))).boxed())
    }

    /// Returns once it is over, as it may have been before.
    pub async fn cancel_job(&self, job: Uuid) -> Result<(), ClientError> {
        self.control(Method::DELETE, self.job_url(job)?).await.map(drop)
    }

    /// Lets the node keep a blob or a tree, an id or a name, on its disk for so long, from now on.
    pub async fn pin(&self, target: &str, ttl: Duration) -> Result<PinInfo, ClientError> {
        let url = with(self.pin_url(target)?, [("ttl", Some(&ttl.as_secs().to_string()))]);
        self.parse(self.control(Method::PUT, url).await?).await
    }

    pub async fn unpin(&self, target: &str) -> Result<(), ClientError> {
        self.control(Method::DELETE, self.pin_url(target)?).await.map(drop)
    }

    pub async fn pins(&self) -> Result<Vec<PinInfo>, ClientError> {
        let list: PinList = self.json(self.url(["v1", "pins"])?).await?;
        Ok(list.pins)
    }

    fn job_url(&self, job: Uuid) -> Result<Url, ClientError> {
        self.url(["v1", "jobs", &job.to_string()])
    }

    fn pin_url(&self, target: &str) -> Result<Url, ClientError> {
        self.url(["v1", "pins"].into_iter().chain(target.split('/')))
    }
}

/// Server-sent events whose data are jobs.
struct Events {
    answer: Answer,
    unread: BytesMut,
    over: bool,
}

impl Events {
    /// The next state; `None` after the final one.
    async fn job(&mut self) -> Result<Option<Job>, WireError> {
        while !self.over {
            match self.cut() {
                Some(event) => {
                    if let Some(job) = parse(&event)? {
                        self.over = job.state.is_final();
                        return Ok(Some(job));
                    }
                }
                None => self.read().await?,
            }
        }
        Ok(None)
    }

    /// The next event, if all of it is here.
    fn cut(&mut self) -> Option<Bytes> {
        let end = self.unread.windows(2).position(|pair| pair == b"\n\n")?;
        Some(self.unread.split_to(end + 2).freeze())
    }

    async fn read(&mut self) -> Result<(), WireError> {
        let piece = self.answer.next().await?;
        let piece = piece.ok_or_else(|| WireError::Broken("it stopped telling before the job had ended".to_owned()))?;
        self.unread.extend_from_slice(&piece);
        let long = || WireError::Garbage(format!("an event of more than {MAX_EVENT} bytes"));
        if self.unread.len() > MAX_EVENT { Err(long()) } else { Ok(()) }
    }
}

/// What an event says; `None` for a comment, which only says that the node is alive.
fn parse(event: &[u8]) -> Result<Option<Job>, WireError> {
    let data = event.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"data:"));
    let job = data.map(serde_json::from_slice).transpose();
    job.map_err(|error| WireError::Garbage(format!("an event that is no job: {error}")))
}
