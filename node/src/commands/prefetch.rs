use std::convert::Infallible;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use futures_util::TryStreamExt;
use herring_http_api::client::{ApiClient, ClientError};
use herring_http_api::types::{Job, JobCreated, JobState, Prefetch, PrefetchPath};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::commands::Target;
use crate::error::Failure;
use crate::output::{Output, Table, size};
use crate::progress::Progress;
use crate::signals::Stop;

/// How long a node may be away: its job goes on after a restart, which takes seconds.
const AWAY: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub struct PrefetchArgs {
    /// Ids, names, or origins' paths: ORIGIN:PATH or origins/ORIGIN/PATH; trees and directories with all that is in them
    #[arg(required_unless_present = "cancel", value_name = "TARGET")]
    targets: Vec<Goal>,

    /// Waits until all of it is on the node's disk; Ctrl-C ends only the waiting
    #[arg(long)]
    wait: bool,

    /// Ends this job instead; what it brought stays until the room is needed
    #[arg(long, value_name = "JOB", conflicts_with_all = ["targets", "wait"])]
    cancel: Option<Uuid>,
}

/// What is to be brought.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Goal {
    Target(Target),
    Path(PrefetchPath),
}

impl FromStr for Goal {
    type Err = Infallible;

    /// As the mount has it, too: below `blobs`, `names` and `origins`. What can be an id is one; a name with a colon in it is written
    /// `names/NAME`.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        let path = |(origin, path): (&str, &str)| Self::Path(PrefetchPath::new(origin, path));
        if let Some(below) = text.strip_prefix("origins/") {
            return Ok(path(below.split_once('/').unwrap_or((below, ""))));
        }
        Ok(match (text.parse()?, text.split_once(':')) {
            (Target::Name(_), Some(parted)) if !text.starts_with("names/") => path(parted),
            (target, _) => Self::Target(target),
        })
    }
}

pub async fn run(client: &ApiClient, output: Output, args: PrefetchArgs) -> Result<(), Failure> {
    if let Some(job) = args.cancel {
        client.cancel_job(job).await?;
        let job = client.job(job).await?;
        return output.show(&job, || cancelled(&job));
    }
    // Before it is asked for: a Ctrl-C in between must not hide the job's id.
    let mut stop = Stop::listen()?;
    let wanted = wanted(args.targets);
    let job = tokio::select! {
        job = client.prefetch(&wanted) => job?,
        () = stop.asked() => return Err(Failure::failed("interrupted before the node said that it begins")),
    };
    if !args.wait {
        return output.show(&JobCreated { job }, || {
            format!("job {job} has begun: see GET /v1/jobs/{job}, or end it with herring prefetch --cancel {job}\n")
        });
    }
    tokio::select! {
        ended = follow(client, job) => tell(output, ended?),
        () = stop.asked() => Err(Failure::failed(format_args!("not waited for; job {job} goes on: see GET /v1/jobs/{job}, or end it with --cancel {job}"))),
    }
}

fn wanted(targets: Vec<Goal>) -> Prefetch {
    let mut wanted = Prefetch::default();
    for target in targets {
        match target {
            Goal::Target(Target::Blob(id)) => wanted.blobs.push(id),
            Goal::Target(Target::Name(name)) => wanted.names.push(name),
            Goal::Path(path) => wanted.origins.push(path),
        }
    }
    wanted
}

/// The job's end, its progress shown until then.
async fn follow(client: &ApiClient, job: Uuid) -> Result<Job, Failure> {
    let progress = Progress::new("prefetch", Some(0));
    let mut away = None;
    loop {
        let error = match watch(client, job, &progress, &mut away).await {
            Ok(ended) => return Ok(ended),
            Err(error) => error,
        };
        if !may_pass(&error) || away.get_or_insert_with(Instant::now).elapsed() > AWAY {
            let lost =
                format_args!("lost sight of job {job}, which goes on as soon as the node does: see GET /v1/jobs/{job}: {error}");
            return Err(Failure::failed(lost));
        }
        sleep(AGAIN).await;
    }
}

/// The same, as long as the node is there.
async fn watch(client: &ApiClient, job: Uuid, progress: &Progress, away: &mut Option<Instant>) -> Result<Job, ClientError> {
    let mut states = client.follow_job(job).await?;
    loop {
        let broken = || ClientError::Broken { url: job.to_string(), detail: "it ended before the job".to_owned() };
        let state = states.try_next().await?.ok_or_else(broken)?;
        *away = None;
        progress.set(state.bytes_done, state.bytes_total);
        if state.state.is_final() {
            return Ok(state);
        }
    }
}

/// Whether a node that restarts, or has too much to do, would be seen so.
fn may_pass(error: &ClientError) -> bool {
    match error {
        ClientError::Connect { .. } | ClientError::TimedOut { .. } | ClientError::Broken { .. } => true,
        ClientError::Problem(problem) => matches!(problem.status, 429 | 503),
        _ => false,
    }
}

fn tell(output: Output, job: Job) -> Result<(), Failure> {
    if job.state == JobState::Done {
        return output.show(&job, || table(&job));
    }
    if job.state == JobState::Cancelled {
        return Err(Failure::failed(cancelled(&job).trim_end()));
    }
    let why = job.error.as_deref().unwrap_or("the node did not say why");
    let (done, total) = (size(job.bytes_done), size(job.bytes_total));
    Err(Failure::failed(format_args!("not all was brought, {done} of {total} are there: {why}")))
}

fn cancelled(Job { job, state, bytes_done, bytes_total, .. }: &Job) -> String {
    match state {
        JobState::Cancelled => {
            format!("job {job} was cancelled: {} of the {} that it had found are there\n", size(*bytes_done), size(*bytes_total))
        }
        _ => format!("job {job} was over already\n"),
    }
}

fn table(job: &Job) -> String {
    let mut table = Table::new(&["JOB", "FILES", "SIZE"], &[1, 2]);
    table.row([job.job.to_string(), job.contents.to_string(), size(job.bytes_done)]);
    table.render()
}

#[cfg(test)]
mod tests {
    use herring_blob::BlobId;

    use super::*;

    fn name(name: &str) -> Goal {
        Goal::Target(Target::Name(name.into()))
    }

    fn path(origin: &str, path: &str) -> Goal {
        Goal::Path(PrefetchPath::new(origin, path))
    }

    #[test]
    fn targets_are_told_apart() {
        let id = BlobId::of(b"");
        for text in [id.to_string(), format!("sha256:{id}"), format!("blobs/{id}")] {
            assert_eq!(text.parse(), Ok(Goal::Target(Target::Blob(id))), "{text}");
        }
        for (text, expected) in [
            ("models/llama", name("models/llama")),
            ("names/models/llama", name("models/llama")),
            ("names/a:b", name("a:b")),
            ("s3:llama/config.json", path("s3", "llama/config.json")),
            ("s3:", path("s3", "")),
            ("origins/s3/llama/a:b", path("s3", "llama/a:b")),
            ("origins/s3", path("s3", "")),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_job_that_failed_is_a_failure_with_its_reason() {
        let job = Job {
            job: Uuid::nil(),
            state: JobState::Failed,
            wanted: Prefetch::default(),
            bytes_total: 2 << 20,
            bytes_done: 1 << 20,
            contents: 2,
            error: Some("blob x is not here".into()),
            created_ms: 0,
            ended_ms: Some(1),
        };
        let told = tell(Output { json: true }, job.clone()).unwrap_err().to_string();
        assert!(told.contains("1.0 MiB of 2.0 MiB") && told.ends_with("blob x is not here"), "{told}");
        let cancelled = Job { state: JobState::Cancelled, error: None, ..job };
        let told = tell(Output { json: true }, cancelled).unwrap_err().to_string();
        assert!(told.contains("was cancelled: 1.0 MiB of the 2.0 MiB"), "{told}");
    }
}
