//! Prefetches and pins.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use herring_http_api::server::{ApiError, ErrorKind, JobsBackend};
use herring_http_api::types::{Job, PinInfo, Prefetch};
use herring_store::RecordError;
use herring_swarm::{JobError, NameError, PinError};
use tokio::sync::watch;
use uuid::Uuid;

use super::{Api, open_error};

#[async_trait]
impl JobsBackend for Api {
    async fn prefetch(&self, wanted: Prefetch) -> Result<Uuid, ApiError> {
        self.swarm.prefetch(wanted).await.map_err(job_error)
    }

    fn job(&self, job: Uuid) -> Option<Job> {
        self.swarm.job(job)
    }

    fn follow(&self, job: Uuid) -> Option<BoxStream<'static, Job>> {
        self.swarm.follow_job(job).map(|states| states_of(states).boxed())
    }

    fn jobs(&self) -> Vec<Job> {
        self.swarm.jobs()
    }

    async fn cancel(&self, job: Uuid) -> bool {
        self.swarm.cancel_job(job).await
    }

    async fn pin(&self, target: &str, ttl: Duration) -> Result<PinInfo, ApiError> {
        self.swarm.pin(target, ttl).await.map_err(pin_error)
    }

    async fn unpin(&self, target: &str) -> Result<(), ApiError> {
        self.swarm.unpin(target).await.map_err(pin_error)
    }

    async fn pins(&self) -> Result<Vec<PinInfo>, ApiError> {
        Ok(self.swarm.pins())
    }
}

/// The present state, then each that comes, up to the last.
fn states_of(mut states: watch::Receiver<Job>) -> impl futures_util::Stream<Item = Job> + Send {
    states.mark_changed();
    stream::unfold(Some(states), |states| async {
        let mut states = states?;
        states.changed().await.ok()?;
        let job = states.borrow_and_update().clone();
        let over = job.state.is_final();
        Some((job, (!over).then_some(states)))
    })
}

fn job_error(error: JobError) -> ApiError {
    match error {
        JobError::Nothing => ApiError::new(ErrorKind::BadRequest, error.to_string()),
        JobError::TooMany => ApiError::new(ErrorKind::Unavailable, error.to_string()),
        JobError::Record(error) => record_error(&error),
    }
}

fn pin_error(error: PinError) -> ApiError {
    let told = error.to_string();
    match error {
        PinError::Name(NameError::Invalid { .. }) => ApiError::new(ErrorKind::BadRequest, told),
        PinError::Name(NameError::NotFound { .. }) | PinError::NotPinned { .. } => ApiError::new(ErrorKind::NotFound, told),
        PinError::Name(_) | PinError::TooMany => ApiError::new(ErrorKind::Unavailable, told),
        PinError::Open(error) => open_error(error),
        PinError::Full { .. } => ApiError::new(ErrorKind::Full, told),
        PinError::Record(error) => record_error(&error),
    }
}

fn record_error(error: &RecordError) -> ApiError {
    let kind = match error {
        RecordError::TooLarge { .. } => ErrorKind::BadRequest,
        RecordError::Disk { .. } | RecordError::Slow | RecordError::Closed => ErrorKind::Unavailable,
    };
    ApiError::new(kind, error.to_string())
}

#[cfg(test)]
mod tests {
    use herring_http_api::types::JobState;

    use super::*;

    fn job(bytes_done: u64, state: JobState) -> Job {
        let (job, wanted) = (Uuid::nil(), Prefetch::default());
        Job { job, state, wanted, bytes_total: 2, bytes_done, contents: 1, error: None, created_ms: 0, ended_ms: None }
    }

    #[test]
    fn a_pin_without_room_is_told_as_a_full_disk() {
        let error = pin_error(PinError::Full { target: "models/a".into(), needed: 7, taken: 8, most: 9 });
        assert_eq!(error.kind, ErrorKind::Full);
        assert!(["models/a", "7 bytes", "9 bytes", "8 are taken"].iter().all(|part| error.detail.contains(part)), "{error}");
    }

    #[tokio::test]
    async fn who_follows_sees_the_present_and_the_last_state_and_then_the_end() {
        let (sender, states) = watch::channel(job(0, JobState::Running));
        let mut followed = Box::pin(states_of(states));
        assert_eq!(followed.next().await.unwrap().bytes_done, 0);
        sender.send_replace(job(1, JobState::Running));
        sender.send_replace(job(2, JobState::Done));
        assert_eq!(followed.next().await, Some(job(2, JobState::Done)));
        assert_eq!(followed.next().await, None);
        let (_sender, over) = watch::channel(job(2, JobState::Failed));
        assert_eq!(states_of(over).collect::<Vec<_>>().await.len(), 1);
    }
}
