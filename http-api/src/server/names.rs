//! `/v1/names`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::deadline::{REPLY, within};
use super::etag::{ETag, Verdict, judge, only_tag};
use super::extract::{Path, Query};
use super::upload::{PEOPLE, Upload};
use super::{ApiError, ErrorKind, NamesBackend};
use crate::name::{NameFault, check_given, check_name, check_prefix};
use crate::types::{Condition, NameInfo, NameList, NameTarget};

/// Names on one page.
const PAGE: usize = 1000;
/// Bytes of the body that names a target: some 80, and room for spaces.
const MAX_TARGET: u64 = 4 << 10;

type Names = State<Arc<dyn NamesBackend>>;

pub(super) fn routes() -> OpenApiRouter<Arc<dyn NamesBackend>> {
    let routes = OpenApiRouter::new().routes(routes!(list_names)).routes(routes!(get_name, put_name, delete_name));
    routes.route("/v1/names/", any(async || check(check_name(""), "")))
}

/// What a name points at
#[utoipa::path(
    method(get, head), path = "/v1/names/{*name}", tag = "names",
    params(
        ("name" = String, Path, description = "At most 512 bytes; slashes stay slashes"),
        ("If-Match" = Option<String>, Header, description = "ETags, or `*`: else 412"),
        ("If-None-Match" = Option<String>, Header, description = "ETags, or `*`: answered with 304 if one is the name's"),
    ),
    responses(
        (status = 200, description = "The blob or tree that it points at", body = NameInfo,
            headers(("ETag" = String, description = "`\"<version>\"`"), ("Cache-Control" = String))),
        (status = 304, description = "The client knows it already"),
        (status = 400, description = "No name can be spelt so"),
        (status = 404, description = "It points at nothing"),
        (status = 412, description = "`If-Match` names something else"),
        (status = 503, description = "Too few of its owners answer: try again"),
    ),
)]
async fn get_name(State(names): Names, Path(name): Path<String>, headers: HeaderMap) -> Result<Response, ApiError> {
    check(check_name(&name), &name)?;
    let info = within(REPLY, names.name(&name)).await?;
    match judge(&headers, &tag(&info), None) {
        Verdict::Failed => Err(condition_failed(&name)),
        Verdict::NotModified => Ok((StatusCode::NOT_MODIFIED, state(&info)).into_response()),
        Verdict::Proceed => Ok((state(&info), Json(info)).into_response()),
    }
}

/// Point a name at a blob or a tree
///
/// Answered once most of the name's owners have it on disk.
#[utoipa::path(
    put, path = "/v1/names/{*name}", tag = "names", request_body = NameTarget,
    params(
        ("name" = String, Path, description = "At most 512 bytes; slashes stay slashes"),
        ("If-Match" = Option<String>, Header, description = "ETags of what it may point at now, or `*`: anything; else 412"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: it must point at nothing; else 412"),
    ),
    responses(
        (status = 200, description = "It points there now", body = NameInfo, headers(("ETag" = String))),
        (status = 201, description = "It is new", body = NameInfo, headers(("ETag" = String))),
        (status = 400, description = "No name can be spelt so, it begins with a dot as the swarm's own do, or the target is malformed"),
        (status = 412, description = "It points at something else than the condition says"),
        (status = 503, description = "Too few of its owners answer: try again"),
    ),
)]
async fn put_name(State(names): Names, Path(name): Path<String>, headers: HeaderMap, body: Upload) -> Result<Response, ApiError> {
    check(check_given(&name), &name)?;
    let NameTarget { target } = body.json(MAX_TARGET, &PEOPLE).await?;
    let put = within(REPLY, async {
        let condition = condition(&*names, &name, &headers).await?;
        names.put_name(&name, target, condition).await
    });
    let put = put.await?;
    let status = if put.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, state(&put.info), Json(put.info)).into_response())
}

/// Delete a name
///
/// What it points at stays.
#[utoipa::path(
    delete, path = "/v1/names/{*name}", tag = "names",
    params(
        ("name" = String, Path, description = "At most 512 bytes; slashes stay slashes"),
        ("If-Match" = Option<String>, Header, description = "ETags of what it may point at now, or `*`: anything; else 412"),
    ),
    responses(
        (status = 204, description = "It points at nothing now"),
        (status = 400, description = "No name can be spelt so"),
        (status = 404, description = "It pointed at nothing"),
        (status = 412, description = "It points at something else than the condition says"),
        (status = 503, description = "Too few of its owners answer: try again"),
    ),
)]
async fn delete_name(State(names): Names, Path(name): Path<String>, headers: HeaderMap) -> Result<StatusCode, ApiError> {
    check(check_name(&name), &name)?;
    let delete = within(REPLY, async {
        let condition = condition(&*names, &name, &headers).await?;
        names.delete_name(&name, condition).await
    });
    delete.await.map(|()| StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize)]
struct ListQuery {
    #[serde(default)]
    prefix: String,
    after: Option<String>,
    limit: Option<usize>,
}

/// The names that begin with a prefix
///
/// Those that begin with a dot are the swarm's own, and listed only where the prefix begins with one, which no prefix of a token covers.
#[utoipa::path(
    get, path = "/v1/names", tag = "names",
    params(
        ("prefix" = Option<String>, Query, description = "May end anywhere; none: all names"),
        ("after" = Option<String>, Query, description = "Only those that come after this one: `next` of the page before"),
        ("limit" = Option<usize>, Query, description = "At most so many; at least 1, and no more than 1000 are given"),
    ),
    responses(
        (status = 200, description = "In the order of the names; `next` where there are more", body = NameList),
        (status = 400, description = "A parameter is malformed"),
        (status = 503, description = "Too few nodes answer: try again"),
    ),
)]
async fn list_names(
    State(names): Names,
    Query(ListQuery { prefix, after, limit }): Query<ListQuery>,
) -> Result<Json<NameList>, ApiError> {
    check(check_prefix(&prefix), &prefix)?;
    if let Some(after) = &after {
        check(check_prefix(after), after)?;
    }
    let limit = limit.unwrap_or(PAGE).min(PAGE);
    if limit == 0 {
        return Err(ApiError::new(ErrorKind::BadRequest, format!("limit must be from 1 to {PAGE}, not 0")));
    }
    within(REPLY, names.names(&prefix, after.as_deref(), limit)).await.map(Json)
}

/// What the request asks of the name's present state. A single tag goes to the name's owners as it is; of several, this node finds
/// the one that is true now and the owners are told that one, so a change in between is not overlooked.
async fn condition(names: &dyn NamesBackend, name: &str, headers: &HeaderMap) -> Result<Condition, ApiError> {
    let tags = [header::IF_MATCH, header::IF_NONE_MATCH].map(|name| headers.contains_key(&name).then(|| only_tag(headers, name)));
    match tags {
        [None, None] => Ok(Condition::Always),
        [Some(Some("*")), None] => Ok(Condition::Exists),
        [None, Some(Some("*"))] => Ok(Condition::Absent),
        [Some(Some(tag)), None] => version(tag).map(Condition::Version).ok_or_else(|| condition_failed(name)),
        _ => judged(names, name, headers).await,
    }
}

async fn judged(names: &dyn NamesBackend, name: &str, headers: &HeaderMap) -> Result<Condition, ApiError> {
    match names.name(name).await {
        Ok(info) if judge(headers, &tag(&info), None) == Verdict::Proceed => Ok(Condition::Version(info.version)),
        Err(error) if error.kind == ErrorKind::NotFound && !headers.contains_key(header::IF_MATCH) => Ok(Condition::Absent),
        Err(error) if error.kind != ErrorKind::NotFound => Err(error),
        _ => Err(condition_failed(name)),
    }
}

fn tag(info: &NameInfo) -> ETag {
    ETag::of_version(&info.version.to_string())
}

/// The version of which this is the tag, if it is one's.
fn version(tag: &str) -> Option<u64> {
    let version = tag.strip_prefix('"')?.strip_suffix('"')?.parse().ok()?;
    (tag == format!("\"{version}\"")).then_some(version)
}

/// What every answer with a name says. A name can point elsewhere tomorrow: a cache must ask.
fn state(info: &NameInfo) -> HeaderMap {
    HeaderMap::from_iter([(header::ETAG, tag(info).value()), (header::CACHE_CONTROL, HeaderValue::from_static("no-cache"))])
}

pub(super) fn check(checked: Result<(), NameFault>, name: &str) -> Result<(), ApiError> {
    checked.map_err(|fault| ApiError::new(ErrorKind::BadRequest, format!("{name:?} cannot be a name: it {fault}")))
}

fn condition_failed(name: &str) -> ApiError {
    let detail = format!("the name {name} is not in a state that the request's conditions name; read it again");
    ApiError::new(ErrorKind::PreconditionFailed, detail)
}
