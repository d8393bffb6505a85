//! Prefetches and pins.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use herring_http_api::server::{ApiError, ErrorKind, JobsBackend};
use herring_http_api::types::{Job, PinInfo, Prefetch};
use uuid::Uuid;

use super::Api;

#[async_trait]
impl JobsBackend for Api {
    async fn prefetch(&self, _wanted: Prefetch) -> Result<Uuid, ApiError> {
        Err(missing())
    }

    fn job(&self, _job: Uuid) -> Option<Job> {
        None
    }

    fn follow(&self, _job: Uuid) -> Option<BoxStream<'static, Job>> {
        None
    }

    fn jobs(&self) -> Vec<Job> {
        Vec::new()
    }

    async fn pin(&self, _target: &str, _ttl: Duration) -> Result<PinInfo, ApiError> {
        Err(missing())
    }

    async fn unpin(&self, _target: &str) -> Result<(), ApiError> {
        Err(missing())
    }

    async fn pins(&self) -> Result<Vec<PinInfo>, ApiError> {
        Err(missing())
    }
}

fn missing() -> ApiError {
    ApiError::new(ErrorKind::Internal, "prefetches and pins are on their way")
}
