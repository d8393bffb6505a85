//! The API's description: `/openapi.json`, and `/docs` to read it and try it, without internet.

use axum::Router;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::{ContentBuilder, Info, License, OpenApi, OpenApiBuilder, Ref, RefOr, ResponseBuilder};
use utoipa::{PartialSchema, ToSchema};
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::PROBLEM_JSON;
use crate::peer::DEADLINE;
use crate::types::Problem;

const DESCRIPTION: &str = "A peer swarm for big immutable bytes. Blobs are named by the SHA-256 of their bytes, kept at \
    several nodes, and read from whichever is nearest; objects of origins are read through the swarm, once for all nodes. Names are \
    versioned pointers to blobs and trees. Prefetches and pins bring what will be read to this node, and keep it there.";

/// A manifest as it is written down; the type itself lives where no OpenAPI is known.
#[derive(ToSchema)]
#[schema(as = Manifest)]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) struct ManifestSchema {
    /// SHA-256 of the blob, 64 hexadecimal digits.
    id: String,
    /// Bytes.
    size: u64,
    /// Bytes of every chunk but the last, which may be shorter.
    chunk_size: u32,
    /// BLAKE3 of each chunk, 64 hexadecimal digits.
    chunks: Vec<String>,
}

/// The description before any route.
pub(super) fn empty() -> OpenApi {
    let mut info = Info::new("Herring", env!("CARGO_PKG_VERSION"));
    info.description = Some(DESCRIPTION.into());
    let mut license = License::new("Apache License 2.0");
    license.identifier = Some(env!("CARGO_PKG_LICENSE").into());
    info.license = Some(license);
    OpenApiBuilder::new().info(info).build()
}

/// Adds what holds for every route, so that no route has to say it: the bodies of errors, when to come back, the client's deadline, and how
/// OpenAPI spells wildcards and HEAD.
pub(super) fn complete(mut api: OpenApi) -> OpenApi {
    let components = api.components.get_or_insert_default();
    components.schemas.insert(Problem::name().into(), Problem::schema());
    let paths = std::mem::take(&mut api.paths.paths);
    for (path, mut item) in paths {
        operations(&mut item).for_each(describe_errors);
        [&mut item.get, &mut item.head].into_iter().flatten().for_each(|operation| {
            operation.parameters.get_or_insert_default().push(RefOr::T(deadline()));
        });
        if let Some(head) = &mut item.head {
            describe_head(head);
        }
        api.paths.paths.insert(path.replace("{*", "{"), item);
    }
    api
}

pub(super) fn routes(api: OpenApi) -> Router {
    // The default validator is a site on the internet.
    let config = Config::from("/openapi.json").validator_url("none");
    SwaggerUi::new("/docs").url("/openapi.json", api).config(config).into()
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.head, &mut item.put, &mut item.post, &mut item.delete].into_iter().flatten()
}

fn deadline() -> Parameter {
    let description = "Milliseconds that the client waits: then 504 is answered, or the body breaks off";
    ParameterBuilder::new()
        .name(DEADLINE)
        .parameter_in(ParameterIn::Header)
        .description(Some(description))
        .schema(Some(u64::schema()))
        .build()
}

fn describe_errors(operation: &mut Operation) {
    let body = ContentBuilder::new().schema(Some(Ref::from_schema_name(Problem::name()))).build();
    let other = ResponseBuilder::new().description("Any other error").build();
    let responses = &mut operation.responses.responses;
    responses.insert("default".into(), RefOr::T(other));
    for (status, response) in responses {
        if let RefOr::T(response) = response
            && (status == "default" || status.starts_with(['4', '5']))
        {
            response.content.insert(PROBLEM_JSON.into(), RefOr::T(body.clone()));
            if status == "503" {
                let retry = HeaderBuilder::new().schema(Some(u64::schema())).description(Some("Seconds")).build();
                response.headers.insert("Retry-After".into(), RefOr::T(retry));
            }
        }
    }
}

/// HEAD is GET without a body and without ranges.
fn describe_head(head: &mut Operation) {
    head.operation_id = head.operation_id.take().map(|id| id.replacen("get_", "head_", 1));
    let responses = &mut head.responses.responses;
    responses.retain(|status, _| status != "206" && status != "416");
    for response in responses.values_mut() {
        if let RefOr::T(response) = response {
            response.content.clear();
        }
    }
}
