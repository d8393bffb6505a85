//! The public API, which these tests do not ask.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use herring_blob::{BlobId, ByteRange, Manifest};
use herring_http_api::ByteStream;
use herring_http_api::server::{ApiError, Backend, ErrorKind, JobsBackend, NamePut, NamesBackend, PutOutcome};
use herring_http_api::types::{
    BlobInfo, Cluster, Condition, Drain, DrainState, Explain, Job, NameInfo, NameList, ObjectMeta, OriginPage, Owners, PinInfo,
    Prefetch, PutWish,
};
use uuid::Uuid;

pub struct NoPublicApi;

fn nothing<T>() -> Result<T, ApiError> {
    Err(ApiError::new(ErrorKind::NotFound, "these nodes have no public API"))
}

#[async_trait]
impl Backend for NoPublicApi {
    async fn blob(&self, _: BlobId) -> Result<BlobInfo, ApiError> {
        nothing()
    }
    async fn read_blob(&self, _: BlobId, _: ByteRange) -> Result<ByteStream, ApiError> {
        nothing()
    }
    async fn put_blob(&self, _: Option<BlobId>, _: PutWish, _: ByteStream) -> Result<PutOutcome, ApiError> {
        nothing()
    }
    async fn delete_blob(&self, _: BlobId) -> Result<(), ApiError> {
        nothing()
    }
    async fn manifest(&self, _: BlobId) -> Result<Arc<Manifest>, ApiError> {
        nothing()
    }
    async fn explain(&self, _: BlobId, _: Option<u32>) -> Result<Explain, ApiError> {
        nothing()
    }
    async fn object(&self, _: &str, _: &str, _: u64) -> Result<ObjectMeta, ApiError> {
        nothing()
    }
    async fn read_object(&self, _: &str, _: &str, _: &str, _: ByteRange) -> Result<ByteStream, ApiError> {
        nothing()
    }
    async fn list(&self, _: &str, _: &str, _: Option<&str>) -> Result<OriginPage, ApiError> {
        nothing()
    }
    async fn cluster(&self) -> Result<Cluster, ApiError> {
        nothing()
    }
    async fn owners(&self, _: BlobId, _: Option<u32>) -> Result<Owners, ApiError> {
        nothing()
    }
    async fn drain(&self, _: bool) -> Result<(), ApiError> {
        nothing()
    }
    fn drained(&self) -> Drain {
        Drain { state: DrainState::No, left_chunks: 0, left_bytes: 0 }
    }
    fn ready(&self) -> Result<String, String> {
        Ok(String::new())
    }
    fn metrics(&self) -> String {
        String::new()
    }
}

#[async_trait]
impl NamesBackend for NoPublicApi {
    async fn name(&self, _: &str) -> Result<NameInfo, ApiError> {
        nothing()
    }
    async fn put_name(&self, _: &str, _: BlobId, _: Condition) -> Result<NamePut, ApiError> {
        nothing()
    }
    async fn delete_name(&self, _: &str, _: Condition) -> Result<(), ApiError> {
        nothing()
    }
    async fn names(&self, _: &str, _: Option<&str>, _: usize) -> Result<NameList, ApiError> {
        nothing()
    }
}

#[async_trait]
impl JobsBackend for NoPublicApi {
    async fn prefetch(&self, _: Prefetch) -> Result<Uuid, ApiError> {
        nothing()
    }
    fn job(&self, _: Uuid) -> Option<Job> {
        None
    }
    fn follow(&self, _: Uuid) -> Option<BoxStream<'static, Job>> {
        None
    }
    fn jobs(&self) -> Vec<Job> {
        Vec::new()
    }
    async fn cancel(&self, _: Uuid) -> bool {
        false
    }
    async fn pin(&self, _: &str, _: Duration) -> Result<PinInfo, ApiError> {
        nothing()
    }
    async fn unpin(&self, _: &str) -> Result<(), ApiError> {
        nothing()
    }
    async fn pins(&self) -> Result<Vec<PinInfo>, ApiError> {
        nothing()
    }
}
