//! `/v1/prefetch` and `/v1/jobs`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use http::{HeaderMap, StatusCode, header};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::auth::Caller;
use super::deadline::{REPLY, within};
use super::events::{EVENT_STREAM, events};
use super::extract::Path;
use super::names::check;
use super::upload::{PEOPLE, Upload};
use super::{ApiError, ErrorKind, JobsBackend};
use crate::access::{Resource, Scope};
use crate::name::check_name;
use crate::types::{Job, JobCreated, JobList, Prefetch, PrefetchPath};

/// Bytes of a prefetch: some 15,000 ids.
const MAX_WANTED: u64 = 1 << 20;
/// Clients that follow jobs at once: a quarter of what a node has for a thousand users, and no strain on it.
const MAX_FOLLOWERS: usize = 256;

/// The jobs, and the places for those who follow them.
#[derive(Clone)]
pub(super) struct Jobs {
    backend: Arc<dyn JobsBackend>,
    followers: Arc<Semaphore>,
    /// The server goes down: a job may take hours longer than those who follow it can be waited for.
    closing: CancellationToken,
}

impl Jobs {
    pub(super) fn new(backend: Arc<dyn JobsBackend>, closing: CancellationToken) -> Self {
        Self { backend, followers: Arc::new(Semaphore::new(MAX_FOLLOWERS)), closing }
    }

    fn follow(&self, job: Uuid) -> Result<Response, ApiError> {
        let full = || format!("{MAX_FOLLOWERS} clients follow jobs here already; ask for the job without text/event-stream");
        let slot = Arc::clone(&self.followers).try_acquire_owned();
        let slot = slot.map_err(|_| ApiError::new(ErrorKind::Unavailable, full()))?;
        let states = self.backend.follow(job).ok_or_else(|| no_job(job))?;
        Ok(events(states.take_until(self.closing.clone().cancelled_owned()).boxed(), slot))
    }
}

pub(super) fn routes() -> OpenApiRouter<Jobs> {
    OpenApiRouter::new().routes(routes!(prefetch)).routes(routes!(list_jobs)).routes(routes!(get_job, delete_job))
}

/// Bring blobs, trees and objects to this node's disk
///
/// Answered at once; the job goes on in the background, also if this node restarts.
#[utoipa::path(
    post, path = "/v1/prefetch", tag = "jobs", request_body = Prefetch,
    responses(
        (status = 202, description = "It has begun", body = JobCreated, headers(("Location" = String, description = "`/v1/jobs/<job>`"))),
        (status = 400, description = "The body is malformed, or asks for nothing"),
        (status = 413, description = "The body is larger than 1 MiB"),
        (status = 503, description = "Too busy: try again"),
    ),
)]
async fn prefetch(State(jobs): State<Jobs>, caller: Caller, body: Upload) -> Result<Response, ApiError> {
    let mut wanted: Prefetch = body.json(MAX_WANTED, &PEOPLE).await?;
    if wanted.is_empty() {
        return Err(ApiError::new(ErrorKind::BadRequest, "nothing is wanted: list at least one of blobs, names and origins"));
    }
    wanted.names.iter().try_for_each(|name| check(check_name(name), name))?;
    check_access(&caller, &mut wanted)?;
    let job = within(REPLY, jobs.backend.prefetch(wanted)).await?;
    let location = [(header::LOCATION, format!("/v1/jobs/{job}"))];
    Ok((StatusCode::ACCEPTED, location, Json(JobCreated { job })).into_response())
}

/// Each thing is asked for as if it were read: a job's progress tells how large it is.
fn check_access(caller: &Caller, wanted: &mut Prefetch) -> Result<(), ApiError> {
    let may = |resource: &Resource| caller.check(Scope::Read, resource);
    wanted.blobs.iter().try_for_each(|id| may(&Resource::blob(&id.to_string())))?;
    wanted.names.iter().try_for_each(|name| may(&Resource::name(name)))?;
    wanted.origins.iter_mut().try_for_each(|PrefetchPath { origin, path, object_only }| {
        // An object, or a directory: which of them is not known yet, and not to be told.
        let path = path.trim_matches('/');
        may(&Resource::directory(origin, path)).or_else(|_| {
            *object_only = true;
            may(&Resource::object(origin, path))
        })
    })
}

/// The jobs that run, and those that ended in the last hour, without what they are about
#[utoipa::path(get, path = "/v1/jobs", tag = "jobs", responses((status = 200, description = "Those of this node", body = JobList)))]
async fn list_jobs(State(jobs): State<Jobs>) -> Json<JobList> {
    Json(JobList { jobs: jobs.backend.jobs().into_iter().map(Job::without_wanted).collect() })
}

/// How far a job is
///
/// With `Accept: text/event-stream` its states as they come, each an event whose data is the job as JSON, without what it is about:
/// `progress`, and at last `done`, `failed` or `cancelled`.
#[utoipa::path(
    get, path = "/v1/jobs/{job}", tag = "jobs",
    params(
        ("job" = String, Path, description = "As the prefetch answered"),
        ("Accept" = Option<String>, Header, description = "`text/event-stream` to follow it"),
    ),
    responses(
        (status = 200, description = "The job", content((Job = "application/json"), (String = "text/event-stream"))),
        (status = 400, description = "The job's id is malformed"),
        (status = 404, description = "This node has no such job, or it ended more than an hour ago"),
        (status = 503, description = "Too many follow jobs already"),
    ),
)]
async fn get_job(State(jobs): State<Jobs>, Path(job): Path<Uuid>, headers: HeaderMap) -> Result<Response, ApiError> {
    let vary = [(header::VARY, "accept")];
    if wants_events(&headers) {
        return Ok((vary, jobs.follow(job)?).into_response());
    }
    let state = jobs.backend.job(job).ok_or_else(|| no_job(job))?;
    Ok((vary, Json(state)).into_response())
}

/// Cancel a job
///
/// What it brought stays until the room is needed. Answered once it is over; one that was over already stays what it was. What a pin keeps is
/// brought again: end the pin.
#[utoipa::path(
    delete, path = "/v1/jobs/{job}", tag = "jobs",
    params(("job" = String, Path, description = "As the prefetch answered")),
    responses(
        (status = 204, description = "It is over, and a restart does not go on with it"),
        (status = 400, description = "The job's id is malformed"),
        (status = 404, description = "This node has no such job, or it ended more than an hour ago"),
    ),
)]
async fn delete_job(State(jobs): State<Jobs>, caller: Caller, Path(job): Path<Uuid>) -> Result<StatusCode, ApiError> {
    // For who may begin it.
    let mut wanted = jobs.backend.job(job).ok_or_else(|| no_job(job))?.wanted;
    check_access(&caller, &mut wanted)?;
    let found = within(REPLY, async { Ok(jobs.backend.cancel(job).await) }).await?;
    found.then_some(StatusCode::NO_CONTENT).ok_or_else(|| no_job(job))
}

fn wants_events(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut types = accepted.flat_map(|list| list.split(',')).filter_map(|range| range.split(';').next());
    types.any(|media| media.trim().eq_ignore_ascii_case(EVENT_STREAM))
}

fn no_job(job: Uuid) -> ApiError {
    ApiError::new(ErrorKind::NotFound, format!("this node has no job {job}; those that ended are forgotten after an hour"))
}
