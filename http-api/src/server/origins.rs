//! `/v1/origins`.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderMap, Method};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::deadline::{REPLY, within};
use super::etag::ETag;
use super::extract::{Path, Query};
use super::range::first_bytes;
use super::representation::Representation;
use super::{ApiError, Backend, ErrorKind};
use crate::types::OriginPage;

/// A key can mean something else tomorrow: a cache may keep it, but must ask.
const REVALIDATE: &str = "no-cache";

pub(super) fn routes() -> OpenApiRouter<Arc<dyn Backend>> {
    OpenApiRouter::new().routes(routes!(get_object)).routes(routes!(get_origin)).route("/v1/origins/{origin}", get(get_origin))
}

/// Whether a directory is asked for, and which page of it.
#[derive(Debug, Deserialize)]
struct ListQuery {
    list: Option<String>,
    token: Option<String>,
}

/// List an origin's root
///
/// Directories below it are listed alike: `/v1/origins/{origin}/{directory}/`.
#[utoipa::path(
    method(get, head), path = "/v1/origins/{origin}/", tag = "origins",
    params(
        ("origin" = String, Path, description = "The name that the swarm gave the origin"),
        ("token" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses(
        (status = 200, description = "At most 1000 entries; `next` where there are more", body = OriginPage),
        (status = 400, description = "The token is malformed"),
        (status = 403, description = "The origin denies access"),
        (status = 404, description = "No such origin"),
        (status = 501, description = "The origin has no listing"),
        (status = 503, description = "The origin cannot be reached, or is overloaded: try again"),
    ),
)]
async fn get_origin(
    State(backend): State<Arc<dyn Backend>>,
    Path(origin): Path<String>,
    Query(ListQuery { token, .. }): Query<ListQuery>,
) -> Result<Response, ApiError> {
    list(&*backend, &origin, "", token).await
}

async fn list(backend: &dyn Backend, origin: &str, prefix: &str, token: Option<String>) -> Result<Response, ApiError> {
    let page = within(REPLY, backend.list(origin, prefix, token.as_deref())).await?;
    Ok(Json(page).into_response())
}

/// Read an origin's object through the swarm
///
/// One version throughout: if the object changes at its origin while it is read, the connection breaks. A key with a slash behind it
/// is a directory, which is listed, page by page.
#[utoipa::path(
    method(get, head), path = "/v1/origins/{origin}/{*key}", tag = "origins",
    params(
        ("origin" = String, Path, description = "The name that the swarm gave the origin"),
        ("key" = String, Path, description = "The key within the origin; slashes stay slashes"),
        ("list" = Option<String>, Query, description = "List it as a directory, though no slash is behind it"),
        ("token" = Option<String>, Query, description = "Of a directory: `next` of the page before"),
        ("Range" = Option<String>, Header, description = "One range of bytes, such as `bytes=0-99` or `bytes=-100`; several are answered with the whole"),
        ("If-Range" = Option<String>, Header, description = "Heed `Range` only if this is the object's ETag or date"),
        ("If-Match" = Option<String>, Header, description = "ETags, or `*`: else 412"),
        ("If-None-Match" = Option<String>, Header, description = "ETags, or `*`: answered with 304 if one is the object's"),
        ("If-Modified-Since" = Option<String>, Header, description = "Answered with 304 if the object is not newer; heeded without `If-None-Match`"),
        ("If-Unmodified-Since" = Option<String>, Header, description = "Else 412; heeded without `If-Match`"),
    ),
    responses(
        (status = 200, description = "The whole object, or a page of the directory",
            content((Vec<u8> = "application/octet-stream"), (OriginPage = "application/json")),
            headers(("ETag" = String, description = "The origin's version"), ("Last-Modified" = String), ("Accept-Ranges" = String), ("Cache-Control" = String))),
        (status = 206, description = "The range that was asked for", content_type = "application/octet-stream", body = Vec<u8>,
            headers(("ETag" = String), ("Last-Modified" = String), ("Content-Range" = String))),
        (status = 304, description = "The client has it already"),
        (status = 400, description = "The key is malformed"),
        (status = 403, description = "The origin denies access"),
        (status = 404, description = "No such origin, or no such key in it"),
        (status = 409, description = "The object changed at its origin: start again"),
        (status = 412, description = "`If-Match` or `If-Unmodified-Since` does not hold"),
        (status = 416, description = "The range lies past the end", headers(("Content-Range" = String, description = "`bytes */<size>`"))),
        (status = 501, description = "The origin has no listing"),
        (status = 502, description = "The origin failed"),
        (status = 503, description = "Too busy: try again"),
    ),
)]
async fn get_object(
    State(backend): State<Arc<dyn Backend>>,
    Path((origin, key)): Path<(String, String)>,
    Query(ListQuery { list: directory, token }): Query<ListQuery>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let prefix = key.strip_suffix('/').or(directory.is_some().then_some(key.as_str()));
    if let Some(prefix) = prefix {
        return list(&*backend, &origin, prefix, token).await;
    }
    match read_object(&*backend, &origin, &key, &method, &headers).await {
        // What is believed of it was old, and is not believed any more.
        Err(error) if error.kind == ErrorKind::Changed => read_object(&*backend, &origin, &key, &method, &headers).await,
        other => other,
    }
}

/// Until the first bytes are here, nothing was answered.
async fn read_object(
    backend: &dyn Backend,
    origin: &str,
    key: &str,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let reading = if method == Method::GET { first_bytes(headers) } else { 0 };
    let meta = within(REPLY, backend.object(origin, key, reading)).await?;
    let object = Representation {
        size: meta.size,
        etag: ETag::of_version(&meta.version),
        modified: SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(meta.modified_ms)),
        cache_control: REVALIDATE,
    };
    object.answer(method, headers, |range| async move { backend.read_object(origin, key, &meta.version, range).await }).await
}
