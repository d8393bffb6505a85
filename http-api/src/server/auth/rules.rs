//! The table of routes, and what each needs. What it does not know is for admins alone.

use axum::extract::{FromRequestParts, RawPathParams};
use http::Method;
use http::request::Parts;
use url::form_urlencoded;

use crate::access::{Resource, Scope};
use crate::server::door::Guide;

/// What a request needs to be let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    Nothing,
    /// To come from a node, where nodes show who they are.
    Member,
    Scope(Scope),
}

/// What a request is about, as far as prefixes can tell.
#[derive(Debug, Clone, Copy)]
enum About {
    Everything,
    /// The handler asks for each thing that is in the body, or what is asked for is known by a random id alone.
    Nothing,
    Blob,
    Blobs,
    Name,
    Names,
    Directory,
    Object,
    Pin,
}

const OPEN: Need = Need::Nothing;
const READ: Need = Need::Scope(Scope::Read);
const WRITE: Need = Need::Scope(Scope::Write);
const ADMIN: Need = Need::Scope(Scope::Admin);

/// What routes of peers are below.
const PEERS: &str = "/peer/v1/";

/// What a node asks another that is told of each time: it takes away what the other keeps. The rest would be a line for each chunk of a
/// put, and each change of people's was told where it was asked.
const TOLD: (Method, &str) = (Method::DELETE, "/peer/v1/blobs/{id}");

/// GET is HEAD as well. Doors know themselves what they are asked; peers' routes are not among these.
const RULES: &[(&str, &str, Need, About)] = &[
    ("GET", "/healthz", OPEN, About::Everything),
    ("GET", "/readyz", OPEN, About::Everything),
    ("GET", "/metrics", READ, About::Everything),
    ("GET", "/docs", READ, About::Everything),
    ("GET", "/docs/", READ, About::Everything),
    ("GET", "/docs/{*rest}", READ, About::Everything),
    ("GET", "/openapi.json", READ, About::Everything),
    ("GET", "/v1/cluster", READ, About::Everything),
    ("GET", "/v1/ring/owners/{id}", READ, About::Everything),
    ("POST", "/v1/blobs", WRITE, About::Blobs),
    ("GET", "/v1/blobs/{id}", READ, About::Blob),
    ("PUT", "/v1/blobs/{id}", WRITE, About::Blob),
    // Others may need it, whatever it is named.
    ("DELETE", "/v1/blobs/{id}", WRITE, About::Everything),
    ("GET", "/v1/blobs/{id}/manifest", READ, About::Blob),
    // It tells of all nodes.
    ("GET", "/v1/blobs/{id}/explain", READ, About::Everything),
    ("GET", "/v1/origins/{origin}", READ, About::Directory),
    ("GET", "/v1/origins/{origin}/", READ, About::Directory),
    ("GET", "/v1/origins/{origin}/{*key}", READ, About::Object),
    ("GET", "/v1/names", READ, About::Names),
    ("GET", "/v1/names/", READ, About::Everything),
    ("GET", "/v1/names/{*name}", READ, About::Name),
    ("PUT", "/v1/names/", WRITE, About::Everything),
    ("PUT", "/v1/names/{*name}", WRITE, About::Name),
    ("DELETE", "/v1/names/", WRITE, About::Everything),
    ("DELETE", "/v1/names/{*name}", WRITE, About::Name),
    ("POST", "/v1/prefetch", READ, About::Nothing),
    ("GET", "/v1/jobs", READ, About::Everything),
    ("GET", "/v1/jobs/{job}", READ, About::Nothing),
    ("DELETE", "/v1/jobs/{job}", READ, About::Nothing),
    ("GET", "/v1/pins", READ, About::Everything),
    ("PUT", "/v1/pins/{*target}", WRITE, About::Pin),
    ("DELETE", "/v1/pins/{*target}", WRITE, About::Pin),
    ("GET", "/v1/drain", READ, About::Everything),
    ("POST", "/v1/drain", ADMIN, About::Everything),
    ("DELETE", "/v1/drain", ADMIN, About::Everything),
];

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub need: Need,
    pub resource: Resource,
    /// Whether it may change something.
    pub changes: bool,
}

impl Asked {
    fn new(need: Need, resource: Resource) -> Self {
        Self { need, resource, changes: matches!(need, Need::Scope(Scope::Write | Scope::Admin)) }
    }

    fn of_a_peer(method: &Method, pattern: &str) -> Self {
        Self { changes: (method, pattern) == (&TOLD.0, TOLD.1), ..Self::new(Need::Member, Resource::Nothing) }
    }

    /// Nothing answers it.
    fn unknown() -> Self {
        Self { changes: false, ..Self::new(ADMIN, Resource::Everything) }
    }
}

/// `pattern`: the route that the router found; empty where it found none. `door`: where it is a door's.
pub(super) async fn asked(pattern: &str, head: &mut Parts, door: Option<&Guide>) -> Asked {
    if let Some(door) = door {
        return door.asked(&head.method, &head.uri).map_or_else(Asked::unknown, |resource| Asked::new(READ, resource));
    }
    if pattern.starts_with(PEERS) {
        return Asked::of_a_peer(&head.method, pattern);
    }
    let Some((need, about)) = rule(&head.method, pattern) else { return Asked::unknown() };
    // What cannot be read is refused by its handler: it is nothing that a prefix could cover.
    Asked::new(need, resource(about, head).await.unwrap_or(Resource::Everything))
}

fn rule(method: &Method, pattern: &str) -> Option<(Need, About)> {
    let method = if method == Method::HEAD { "GET" } else { method.as_str() };
    RULES.iter().find(|(of, at, ..)| *of == method && *at == pattern).map(|(_, _, need, about)| (*need, *about))
}

/// From the same decoded parameters that the handler gets.
async fn resource(about: About, head: &mut Parts) -> Option<Resource> {
    let unlimited = match about {
        About::Everything => Some(Resource::Everything),
        About::Nothing => Some(Resource::Nothing),
        About::Blobs => Some(Resource::blobs()),
        About::Names => Some(Resource::names(&parameter(head, "prefix").unwrap_or_default())),
        _ => None,
    };
    if unlimited.is_some() {
        return unlimited;
    }
    let params = RawPathParams::from_request_parts(head, &()).await.ok()?;
    let values: Vec<&str> = params.iter().map(|(_, value)| value).collect();
    Some(match (about, &values[..]) {
        (About::Blob, [id]) => Resource::blob(id),
        (About::Name, [name]) => Resource::name(name),
        (About::Pin, [target]) => Resource::target(target),
        (About::Directory, [origin]) => Resource::directory(origin, ""),
        (About::Object, [origin, key]) => match key.strip_suffix('/') {
            Some(directory) => Resource::directory(origin, directory),
            None if parameter(head, "list").is_some() => Resource::directory(origin, key),
            None => Resource::object(origin, key),
        },
        _ => return None,
    })
}

/// Handlers refuse a parameter that is there twice.
fn parameter(head: &Parts, name: &str) -> Option<String> {
    let query = head.uri.query().unwrap_or_default();
    form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use utoipa::openapi::path::PathItem;

    use super::*;
    use crate::server::{blobs, cluster, drain, jobs, names, node, origins, pins};

    fn methods(item: &PathItem) -> Vec<Method> {
        let all = [
            (&item.get, Method::GET),
            (&item.head, Method::HEAD),
            (&item.put, Method::PUT),
            (&item.post, Method::POST),
            (&item.delete, Method::DELETE),
            (&item.options, Method::OPTIONS),
            (&item.patch, Method::PATCH),
            (&item.trace, Method::TRACE),
        ];
        all.into_iter().filter(|(operation, _)| operation.is_some()).map(|(_, method)| method).collect()
    }

    /// A route that was added and forgotten here would be for admins alone.
    #[test]
    fn every_operation_of_the_api_is_in_the_table() {
        let apis = [
            blobs::routes().into_openapi(),
            origins::routes().into_openapi(),
            names::routes().into_openapi(),
            cluster::routes().into_openapi(),
            drain::routes().into_openapi(),
            node::routes().into_openapi(),
            jobs::routes().into_openapi(),
            pins::routes().into_openapi(),
        ];
        let mut count = 0;
        for (path, item) in apis.iter().flat_map(|api| &api.paths.paths) {
            for method in methods(item) {
                assert!(rule(&method, path).is_some(), "{method} {path}");
                count += 1;
            }
        }
        assert!(count > 25, "{count}");
    }

    #[test]
    fn what_changes_something_needs_more_than_read() {
        for (method, path, need, _) in RULES {
            let reads = *method == "GET" || matches!(*path, "/v1/prefetch" | "/v1/jobs/{job}");
            assert_eq!(reads, matches!(need, Need::Nothing | Need::Scope(Scope::Read)), "{method} {path}");
        }
        for method in [Method::OPTIONS, Method::TRACE, Method::CONNECT, Method::PATCH] {
            assert!(RULES.iter().all(|(_, path, ..)| rule(&method, path).is_none()), "{method}");
        }
        assert!(rule(&Method::GET, "").is_none() && rule(&Method::GET, "/v1/new").is_none());
    }
}
