//! The public API, which these tests do not ask.

use std::sync::Arc;

use async_trait::async_trait;
use herring_blob::{BlobId, ByteRange, Manifest};
use herring_http_api::ByteStream;
use herring_http_api::server::{ApiError, Backend, ErrorKind, PutOutcome};
use herring_http_api::types::{BlobInfo, Cluster, Explain, ObjectMeta, Owners};

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
    async fn put_blob(&self, _: Option<BlobId>, _: ByteStream) -> Result<PutOutcome, ApiError> {
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
    async fn object(&self, _: &str, _: &str) -> Result<ObjectMeta, ApiError> {
        nothing()
    }
    async fn read_object(&self, _: &str, _: &str, _: &str, _: ByteRange) -> Result<ByteStream, ApiError> {
        nothing()
    }
    async fn cluster(&self) -> Result<Cluster, ApiError> {
        nothing()
    }
    async fn owners(&self, _: BlobId, _: Option<u32>) -> Result<Owners, ApiError> {
        nothing()
    }
    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
    fn metrics(&self) -> String {
        String::new()
    }
}
