//! Prefetches and pins, and the fake that does them.

use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use futures_util::stream::{self, BoxStream, StreamExt};
use herring_blob::BlobId;
use herring_http_api::client::{ApiClient, ClientError};
use herring_http_api::server::{ApiError, JobsBackend, ServerConfig};
use herring_http_api::types::{Job, JobCreated, JobList, JobState, PinInfo, PinList, Prefetch, PrefetchPath};
use http::Request;
use http_body_util::BodyExt;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tower::ServiceExt;
use uuid::Uuid;

use crate::fake::{Fake, not_found};
use crate::sockets::Running;
use crate::{ask, get};

impl Fake {
    fn begin(&self) -> Uuid {
        let job = Uuid::new_v4();
        let (state, wanted) = (JobState::Looking, Prefetch::default());
        let begun =
            Job { job, state, wanted, bytes_total: 0, bytes_done: 0, contents: 0, error: None, created_ms: 0, ended_ms: None };
        self.jobs.lock().unwrap().insert(job, watch::Sender::new(begun));
        job
    }

    fn advance(&self, job: Uuid, state: JobState, bytes_done: u64) {
        self.jobs.lock().unwrap()[&job].send_modify(|job| (job.state, job.bytes_done) = (state, bytes_done));
    }

    fn followers(&self, job: Uuid) -> usize {
        self.jobs.lock().unwrap()[&job].receiver_count()
    }
}

#[async_trait]
impl JobsBackend for Fake {
    async fn prefetch(&self, wanted: Prefetch) -> Result<Uuid, ApiError> {
        let job = self.begin();
        self.jobs.lock().unwrap()[&job].send_modify(|job| job.wanted = wanted);
        Ok(job)
    }

    fn job(&self, job: Uuid) -> Option<Job> {
        self.jobs.lock().unwrap().get(&job).map(|job| job.borrow().clone())
    }

    /// Every state that it sees, also after the last.
    fn follow(&self, job: Uuid) -> Option<BoxStream<'static, Job>> {
        let mut states = self.jobs.lock().unwrap().get(&job)?.subscribe();
        states.mark_changed();
        Some(Box::pin(stream::unfold(states, async |mut states| {
            states.changed().await.ok()?;
            let job = states.borrow_and_update().clone();
            Some((job, states))
        })))
    }

    fn jobs(&self) -> Vec<Job> {
        self.jobs.lock().unwrap().values().map(|job| job.borrow().clone()).collect()
    }

    async fn cancel(&self, job: Uuid) -> bool {
        let jobs = self.jobs.lock().unwrap();
        let Some(state) = jobs.get(&job) else { return false };
        state.send_if_modified(|job| {
            let runs = !job.state.is_final();
            job.state = if runs { JobState::Cancelled } else { job.state };
            runs
        });
        true
    }

    async fn pin(&self, target: &str, ttl: Duration) -> Result<PinInfo, ApiError> {
        let until_ms = u64::try_from(ttl.as_millis()).unwrap();
        let pin = PinInfo { target: target.into(), id: BlobId::of(target.as_bytes()), until_ms, bytes: 9, bytes_here: 4 };
        self.pins.lock().unwrap().insert(target.into(), pin.clone());
        Ok(pin)
    }

    async fn unpin(&self, target: &str) -> Result<(), ApiError> {
        self.pins.lock().unwrap().remove(target).map(drop).ok_or_else(|| not_found("such pin"))
    }

    async fn pins(&self) -> Result<Vec<PinInfo>, ApiError> {
        Ok(self.pins.lock().unwrap().values().cloned().collect())
    }
}

#[tokio::test]
async fn a_prefetch_becomes_a_job() {
    let fake = Fake::default();
    let id = BlobId::of(b"a");
    let body = format!(r#"{{"blobs":["{id}"],"names":["models/a"],"origins":[{{"origin":"hub","path":"x"}}]}}"#);
    let answer = ask(&fake, "POST", "/v1/prefetch", &[], body).await;
    let created: JobCreated = serde_json::from_slice(&answer.body).unwrap();
    let location = format!("/v1/jobs/{}", created.job);
    assert_eq!((answer.status.as_u16(), answer.header("location")), (202, location.as_str()));
    let answer = get(&fake, &location, &[("accept", "application/json, */*")]).await;
    assert_eq!((answer.header("content-type"), answer.header("vary")), ("application/json", "accept"));
    let job: Job = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(job.wanted.origins, [PrefetchPath::new("hub", "x")]);
    assert_eq!((job.wanted.blobs, job.wanted.names), (vec![id], vec!["models/a".to_owned()]));
    let list: JobList = serde_json::from_slice(&get(&fake, "/v1/jobs", &[]).await.body).unwrap();
    assert_eq!(list.jobs.len(), 1);
    assert!(list.jobs[0].wanted.is_empty(), "a list of many jobs is no list of all that they want");
    let followed = event(follow(&fake, created.job).await.body_mut()).await.unwrap().1.unwrap();
    assert!(followed.wanted.is_empty(), "nor is it said ten times a second");
    assert_eq!(get(&fake, &format!("/v1/jobs/{}", Uuid::new_v4()), &[]).await.kind(), "not-found");
    assert_eq!(get(&fake, &format!("/v1/jobs/{}", Uuid::new_v4()), &[("accept", "text/event-stream")]).await.kind(), "not-found");
    assert_eq!(get(&fake, "/v1/jobs/7", &[]).await.kind(), "bad-request");
}

#[tokio::test]
async fn a_prefetch_of_nothing_or_too_much_is_refused() {
    let fake = Fake::default();
    for body in [
        "",
        "{}",
        "[]",
        "{\"blobs\":[\"abc\"]}",
        "{\"names\":[\"a//b\"]}",
        "{\"blob\":[]}",
        "{\"names\":[\"\"]}",
        "{\"names\":[\"a\"],\"ttl\":1}",
        "{\"origins\":[{\"origin\":\"a\",\"path\":\"\",\"to\":1}]}",
    ] {
        let answer = ask(&fake, "POST", "/v1/prefetch", &[], body).await;
        assert_eq!((answer.status.as_u16(), answer.kind().as_str()), (400, "bad-request"), "{body}");
    }
    let names = |count| serde_json::to_string(&Prefetch { names: vec!["n".repeat(250); count], ..Prefetch::default() }).unwrap();
    assert_eq!(ask(&fake, "POST", "/v1/prefetch", &[], names(4000)).await.status.as_u16(), 202);
    assert_eq!(ask(&fake, "POST", "/v1/prefetch", &[], names(5000)).await.kind(), "too-large");
    assert_eq!(fake.jobs().len(), 1);
}

/// Follows a job without a socket; what comes, with when it came.
async fn follow(fake: &Fake, job: Uuid) -> axum::response::Response {
    let request = Request::get(format!("/v1/jobs/{job}")).header("accept", "text/html;q=0.5, text/event-stream;q=1");
    fake.router().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

async fn event(body: &mut Body) -> Option<(String, Option<Job>)> {
    let frame = body.frame().await?.unwrap().into_data().unwrap();
    let text = String::from_utf8(frame.to_vec()).unwrap();
    assert!(text.ends_with("\n\n"));
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
    Some((field("event: ").unwrap_or_default(), field("data: ").map(|data| serde_json::from_str(&data).unwrap())))
}

#[tokio::test(start_paused = true)]
async fn states_are_told_at_a_pace_and_the_last_one_at_once() {
    for (last, name) in [(JobState::Done, "done"), (JobState::Failed, "failed"), (JobState::Cancelled, "cancelled")] {
        let fake = Fake::default();
        let job = fake.begin();
        let mut response = follow(&fake, job).await;
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let (body, begin) = (response.body_mut(), Instant::now());
        let told = event(body).await.unwrap();
        assert_eq!((told.0.as_str(), told.1.unwrap().state, begin.elapsed()), ("progress", JobState::Looking, Duration::ZERO));
        let working = async {
            for bytes in 1..=10 {
                fake.advance(job, JobState::Running, bytes);
                sleep(Duration::from_millis(25)).await;
            }
            fake.advance(job, last, 11);
        };
        let telling = async {
            let mut seen = Vec::new();
            while let Some((name, job)) = event(body).await {
                seen.push((name, job.unwrap().bytes_done, begin.elapsed().as_millis()));
            }
            seen
        };
        let (seen, ()) = tokio::join!(telling, working);
        let bytes: Vec<_> = seen.iter().map(|(_, bytes, _)| *bytes).collect();
        assert_eq!(seen.last().map(|(name, bytes, at)| (name.as_str(), *bytes, *at)), Some((name, 11, 250)));
        assert!(bytes.is_sorted() && (2..=4).contains(&bytes.len()), "{seen:?}");
        assert_eq!(fake.followers(job), 0, "nobody follows what has ended");
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_stands_still_shows_that_the_node_lives() {
    let fake = Fake::default();
    let job = fake.begin();
    let mut response = follow(&fake, job).await;
    let body = response.body_mut();
    event(body).await.unwrap();
    let begin = Instant::now();
    for beat in 1..=5 {
        assert_eq!(event(body).await, Some((String::new(), None)));
        assert_eq!(begin.elapsed().as_secs(), beat * 15);
    }
    fake.advance(job, JobState::Running, 1);
    assert_eq!(event(body).await.unwrap().0, "progress");
    fake.jobs.lock().unwrap().clear();
    assert_eq!(event(body).await, None, "the node goes down");
}

#[tokio::test]
async fn followers_are_bounded_and_leave_when_they_go() {
    let fake = Fake::default();
    let job = fake.begin();
    let router = fake.router();
    let follow = async || {
        let request = Request::get(format!("/v1/jobs/{job}")).header("accept", "text/event-stream").body(Body::empty());
        router.clone().oneshot(request.unwrap()).await.unwrap()
    };
    let mut all = Vec::new();
    for _ in 0..256 {
        all.push(follow().await);
    }
    assert!(all.iter().all(|response| response.status() == 200));
    assert_eq!((fake.followers(job), follow().await.status().as_u16()), (256, 503));
    all.pop();
    // The watchdog of a body ends a moment after the body.
    while fake.followers(job) > 255 {
        tokio::task::yield_now().await;
    }
    assert_eq!(follow().await.status().as_u16(), 200);
}

#[tokio::test]
async fn our_client_prefetches_and_follows() {
    let fake = Fake::default();
    let server = Running::of(&fake).await;
    let client = ApiClient::new(&format!("http://{}", server.addr)).unwrap();
    let wanted = Prefetch { names: vec!["a".into()], ..Prefetch::default() };
    let job = client.prefetch(&wanted).await.unwrap();
    assert_eq!(client.job(job).await.unwrap().wanted, wanted);
    assert_eq!(client.jobs().await.unwrap().len(), 1);
    let mut states = client.follow_job(job).await.unwrap();
    assert_eq!(states.next().await.unwrap().unwrap().state, JobState::Looking);
    fake.advance(job, JobState::Running, 5);
    assert_eq!(states.next().await.unwrap().unwrap().bytes_done, 5);
    fake.advance(job, JobState::Done, 6);
    assert_eq!(states.next().await.unwrap().unwrap().state, JobState::Done);
    assert!(states.next().await.is_none());
    let after = client.follow_job(job).await.unwrap().map(|state| state.unwrap().state).collect::<Vec<_>>().await;
    assert_eq!(after, [JobState::Done], "of one that has ended, its end");
    let absent = client.follow_job(Uuid::new_v4()).await.err();
    assert!(matches!(&absent, Some(ClientError::Problem(problem)) if problem.status == 404), "{absent:?}");
    let broken = client.prefetch(&wanted).await.unwrap();
    let mut states = client.follow_job(broken).await.unwrap();
    states.next().await.unwrap().unwrap();
    fake.jobs.lock().unwrap().clear();
    let error = states.next().await.unwrap().unwrap_err();
    assert!(matches!(&error, ClientError::Broken { detail, .. } if detail.contains("before the job had ended")), "{error:?}");
}

#[tokio::test]
async fn a_job_is_cancelled_once_and_one_that_is_over_stays_what_it_was() {
    let fake = Fake::default();
    let server = Running::of(&fake).await;
    let client = ApiClient::new(&format!("http://{}", server.addr)).unwrap();
    let (running, done) = (fake.begin(), fake.begin());
    fake.advance(done, JobState::Done, 7);
    let mut states = client.follow_job(running).await.unwrap();
    assert_eq!(states.next().await.unwrap().unwrap().state, JobState::Looking);
    for _ in 0..2 {
        client.cancel_job(running).await.unwrap();
        client.cancel_job(done).await.unwrap();
    }
    assert_eq!(states.next().await.unwrap().unwrap().state, JobState::Cancelled);
    assert!(states.next().await.is_none());
    assert_eq!(client.job(done).await.unwrap().state, JobState::Done);
    let unknown = client.cancel_job(Uuid::new_v4()).await.err();
    assert!(matches!(&unknown, Some(ClientError::Problem(problem)) if problem.status == 404), "{unknown:?}");
    assert_eq!(ask(&fake, "DELETE", "/v1/jobs/7", &[], "").await.kind(), "bad-request");
}

/// A stop waits for what is under way, here an hour, but not for a job.
#[tokio::test]
async fn a_stop_does_not_wait_for_followers() {
    let fake = Fake::default();
    let patient = ServerConfig { drain: Duration::from_secs(3600), ..ServerConfig::default() };
    let server = Running::start(fake.backends(), patient).await;
    let client = ApiClient::new(&format!("http://{}", server.addr)).unwrap();
    let mut states = client.follow_job(fake.begin()).await.unwrap();
    states.next().await.unwrap().unwrap();
    server.stop().await;
    assert!(matches!(states.next().await, Some(Err(ClientError::Broken { .. }))));
}

#[tokio::test]
async fn pins_are_leases() {
    let fake = Fake::default();
    for (query, ms) in [("", 604_800_000), ("?ttl=1h", 3_600_000), ("?ttl=90", 90_000)] {
        let answer = ask(&fake, "PUT", &format!("/v1/pins/models/a%20b{query}"), &[], "").await;
        let pin: PinInfo = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!((answer.status.as_u16(), pin.target.as_str(), pin.until_ms), (200, "models/a b", ms), "{query}");
    }
    let list: PinList = serde_json::from_slice(&get(&fake, "/v1/pins", &[]).await.body).unwrap();
    assert_eq!(list.pins.len(), 1);
    for wrong in ["a?ttl=0", "a?ttl=soon", "a?ttl=", "a//b", "a/%2e%2e", "a?ttl=9999d"] {
        assert_eq!(ask(&fake, "PUT", &format!("/v1/pins/{wrong}"), &[], "").await.kind(), "bad-request", "{wrong}");
    }
    let told = ask(&fake, "PUT", "/v1/pins/a", &[], r#"{"ttl":"1h"}"#).await;
    assert!(told.kind() == "bad-request" && String::from_utf8_lossy(&told.body).contains("?ttl="), "a time that is not heard");
    assert_eq!(ask(&fake, "DELETE", "/v1/pins/models/a%20b", &[], "").await.status.as_u16(), 204);
    assert_eq!(ask(&fake, "DELETE", "/v1/pins/models/a%20b", &[], "").await.kind(), "not-found");

    let server = Running::of(&fake).await;
    let client = ApiClient::new(&format!("http://{}", server.addr)).unwrap();
    let pin = client.pin("a/b", Duration::from_secs(7)).await.unwrap();
    assert_eq!((pin.until_ms, client.pins().await.unwrap()), (7000, vec![pin]));
    client.unpin("a/b").await.unwrap();
    assert!(client.unpin("a/b").await.is_err());
}
