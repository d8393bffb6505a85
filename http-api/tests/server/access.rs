//! Who may ask what, at every door.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use herring_blob::BlobId;
use herring_http_api::access::{Digest, Grant, Resource, Scope, Token, Tokens};
use herring_http_api::client::{ApiClient, ClientError, PeerConfig};
use herring_http_api::server::{Backends, Door, DoorBody, Limits, ServerConfig, router};
use herring_http_api::tls::{ClientTls, ServerTls};
use herring_http_api::types::JobCreated;
use http::{Method, Request, StatusCode, Uri};
use http_body_util::Full;
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower::{ServiceExt, service_fn};

use crate::Answer;
use crate::authority::Authority;
use crate::fake::{Fake, Object};
use crate::sockets::{Running, read_to_end};

/// A node that knows some tokens: each is its own name.
pub struct Guarded {
    pub fake: Fake,
    tokens: watch::Sender<Arc<Tokens>>,
    pub router: axum::Router,
}

fn grant(name: &str, scope: Scope, only: &[&str], expires: Option<SystemTime>) -> Grant {
    let only = only.iter().map(|prefix| prefix.parse().unwrap()).collect();
    Grant::new(name, Digest::of(name), scope, only, expires).unwrap()
}

fn all() -> Tokens {
    let past = SystemTime::now() - Duration::from_secs(1);
    Tokens::new([
        grant("read", Scope::Read, &[], None),
        grant("write", Scope::Write, &[], None),
        grant("admin", Scope::Admin, &[], None),
        grant("expired", Scope::Admin, &[], Some(past)),
        grant("team-a", Scope::Write, &["names/team-a/", "origins/a/"], None),
        grant("team-b", Scope::Read, &["names/team-b/", "origins/b/", "blobs/"], None),
        grant("names", Scope::Write, &["names/", "blobs/"], None),
        grant("one", Scope::Write, &["names/one", "origins/a/dir/key"], None),
    ])
}

/// Says which path it was asked for.
async fn echo(request: Request<DoorBody>) -> Result<http::Response<Full<Bytes>>, Infallible> {
    Ok(http::Response::new(Full::from(request.uri().path().to_owned())))
}

/// A door whose paths are `/ORIGIN/KEY`.
fn door() -> Door {
    let asks = |method: &Method, uri: &Uri| {
        let (origin, key) = uri.path().strip_prefix('/')?.split_once('/')?;
        (method == Method::GET).then(|| Resource::object(origin, key))
    };
    let refuses = |status: StatusCode, why: &str| {
        http::Response::builder().status(status).header("x-door", "s3").body(Full::from(why.to_owned())).unwrap()
    };
    Door::new("/s3", service_fn(echo)).asking(asks).refusing(refuses)
}

fn backends(fake: &Fake, tokens: &watch::Sender<Arc<Tokens>>) -> Backends {
    let doors = vec![door(), Door::new("/hf", service_fn(echo))];
    Backends { doors, tokens: Some(tokens.subscribe()), ..fake.backends() }
}

pub fn guarded() -> Guarded {
    let (fake, tokens) = (Fake::default(), watch::Sender::new(Arc::new(all())));
    for key in ["a/dir/key", "a/dirty", "b/dir/key"] {
        let object = Object { bytes: Bytes::from(key), version: "v1", modified_ms: 0 };
        fake.objects.lock().unwrap().insert(key.to_owned(), object);
    }
    for (name, target) in [("team-a/x", "a"), ("team-ab/x", "ab"), ("team-b/x", "b"), ("one", "1")] {
        fake.names.lock().unwrap().insert(name.to_owned(), (1, Some(fake.keep(Bytes::from(target)))));
    }
    let router = router(backends(&fake, &tokens), Limits::default(), CancellationToken::new());
    Guarded { fake, tokens, router }
}

impl Guarded {
    async fn ask(&self, token: &str, method: &str, uri: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(uri);
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let response: Response = self.router.clone().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
        Answer::of(response).await
    }

    pub async fn status(&self, token: &str, method: &str, uri: &str) -> u16 {
        self.ask(token, method, uri, &[], "").await.status.as_u16()
    }

    pub async fn get(&self, token: &str, uri: &str) -> u16 {
        self.status(token, "GET", uri).await
    }
}

/// Every route that there is, the peers' aside.
fn routes() -> Vec<(&'static str, String, Scope)> {
    let id = BlobId::of(b"a");
    let path = |path: &str| path.replace("ID", &id.to_string());
    let reads = [
        "/metrics",
        "/docs",
        "/docs/",
        "/docs/index.css",
        "/openapi.json",
        "/v1/cluster",
        "/v1/ring/owners/ID",
        "/v1/blobs/ID",
        "/v1/blobs/ID/manifest",
        "/v1/blobs/ID/explain",
        "/v1/origins/a",
        "/v1/origins/a/",
        "/v1/origins/a/dir/key",
        "/v1/names",
        "/v1/names/one",
        "/v1/jobs",
        "/v1/jobs/67e55044-10b1-426f-9247-bb680e5fe0c8",
        "/v1/pins",
        "/v1/drain",
        "/s3/a/dir/key",
    ];
    let writes = [
        ("POST", "/v1/blobs"),
        ("PUT", "/v1/blobs/ID"),
        ("DELETE", "/v1/blobs/ID"),
        ("PUT", "/v1/names/one"),
        ("DELETE", "/v1/names/one"),
        ("PUT", "/v1/pins/one"),
        ("DELETE", "/v1/pins/one"),
    ];
    let admins = [
        ("POST", "/v1/drain"),
        ("DELETE", "/v1/drain"),
        ("GET", "/"),
        ("GET", "/v1"),
        ("GET", "/nothing"),
        ("OPTIONS", "/v1/blobs"),
        ("TRACE", "/v1/cluster"),
        ("PATCH", "/v1/names/one"),
        ("POST", "/healthz"),
        ("GET", "//v1/cluster"),
        ("GET", "/v1/../v1/cluster"),
        ("GET", "/peer/v2/x"),
        ("GET", "/peer/v1/nothing"),
        ("GET", "/peer/v1/../../v1/cluster"),
        ("GET", "/v1/%63luster"),
        ("PATCH", "/s3/a/x"),
        ("GET", "/peer"),
        ("PUT", "/s3/a/dir/key"),
        ("GET", "/hf/a/dir/key"),
        ("DELETE", "/v1/blobs"),
    ];
    let reads = reads.into_iter().flat_map(|at| [("GET", path(at), Scope::Read), ("HEAD", path(at), Scope::Read)]);
    let reads = reads.filter(|(method, at, _)| *method == "GET" || !at.starts_with("/s3"));
    let writes = writes.into_iter().map(|(method, at)| (method, path(at), Scope::Write));
    let admins = admins.into_iter().map(|(method, at)| (method, path(at), Scope::Admin));
    let jobs = [("POST", "/v1/prefetch"), ("DELETE", "/v1/jobs/67e55044-10b1-426f-9247-bb680e5fe0c8")];
    let jobs = jobs.into_iter().map(|(method, at)| (method, path(at), Scope::Read));
    reads.chain(jobs).chain(writes).chain(admins).collect()
}

#[tokio::test]
async fn nobody_is_let_in_without_a_token_and_each_scope_opens_its_routes() {
    for (method, path, needed) in routes() {
        let node = guarded();
        let stranger = node.ask("", method, &path, &[("if-none-match", "*"), ("range", "bytes=0-0")], "").await;
        assert_eq!(stranger.status, 401, "{method} {path}");
        let ways: Vec<_> = stranger.headers.get_all("www-authenticate").iter().map(|way| way.to_str().unwrap()).collect();
        assert!(ways.len() == 2 && ways[0].starts_with("Bearer ") && ways[1].starts_with("Basic "), "{ways:?}");
        for (token, scope) in [("read", Scope::Read), ("write", Scope::Write), ("admin", Scope::Admin)] {
            let status = node.status(token, method, &path).await;
            assert_eq!(status == 403, scope < needed, "{token} {method} {path}: {status}");
            assert_ne!(status, 401, "{token} {method} {path}");
        }
    }
}

#[tokio::test]
async fn what_is_refused_is_told_with_what_to_do() {
    let node = guarded();
    let answer = node.ask("", "GET", "/v1/cluster", &[], "").await;
    assert_eq!(answer.kind(), "unauthorized");
    assert!(answer.problem().detail.contains("HERRING_TOKEN"));
    assert_eq!(
        node.ask("expired", "GET", "/v1/cluster", &[], "").await.problem().detail,
        "the token that was shown has expired; ask for a new one (herring token new)"
    );
    let answer = node.ask("read", "POST", "/v1/drain", &[], "").await;
    assert_eq!(answer.kind(), "forbidden");
    assert_eq!(answer.problem().detail, "the token \"read\" has the scope read, and this needs admin: show one that has it");
    let answer = node.ask("team-a", "GET", "/v1/cluster", &[], "").await;
    assert!(answer.problem().detail.contains("for names/team-a/, origins/a/ alone"), "{answer:?}");
    let answer = node.ask("team-a", "GET", "/s3/b/dir/key", &[], "").await;
    assert_eq!((answer.status.as_u16(), answer.header("x-door")), (403, "s3"), "in the door's own words");
    let answer = node.ask("", "GET", "/s3/b/dir/key", &[], "").await;
    assert_eq!((answer.status.as_u16(), answer.headers.get_all("www-authenticate").iter().count()), (401, 2));
}

#[tokio::test]
async fn tokens_are_shown_as_each_client_does() {
    let node = guarded();
    let status = async |shown: &str, uri: &str| node.ask("", "GET", uri, &[("authorization", shown)], "").await.status.as_u16();
    // me:read
    for shown in [
        "Bearer read",
        "Basic bWU6cmVhZA==",
        "AWS4-HMAC-SHA256 Credential=read/20260101/x/s3/aws4_request, SignedHeaders=host, Signature=0",
    ] {
        assert_eq!((status(shown, "/v1/cluster").await, status(shown, "/s3/a/dir/key").await), (200, 200), "{shown}");
    }
    for shown in ["read", "Bearer reader", "Bearer rea", "Basic bWU6", "Digest read", "Bearer read write"] {
        assert_eq!(status(shown, "/v1/cluster").await, 401, "{shown}");
    }
    for uri in [
        "/v1/cluster?token=read",
        "/v1/cluster?access_token=read",
        "/s3/a/dir/key?X-Amz-Credential=read/20260101/x/s3/aws4_request",
    ] {
        assert_eq!(node.get("", uri).await, 401, "no secret is taken from a URL: {uri}");
    }
}

#[tokio::test]
async fn a_limited_token_is_for_what_is_below_its_prefixes() {
    let node = guarded();
    let id = BlobId::of(b"a");
    for uri in [
        "/v1/names/team-a/x",
        "/v1/names/team%2Da/x",
        "/v1/names?prefix=team-a/",
        "/v1/names?prefix=team-a%2Fx",
        "/v1/origins/a/dir/key",
        "/v1/origins/a/",
        "/v1/origins/a",
        "/v1/origins/a/dir/",
        "/v1/origins/a/dir?list",
        "/s3/a/dir/key",
    ] {
        assert_eq!(node.get("team-a", uri).await, 200, "{uri}");
    }
    let blob = format!("/v1/blobs/{id}");
    for uri in [
        "/v1/names/team-b/x",
        "/v1/names/team-ab/x",
        "/v1/names/team-a",
        "/v1/names/nothing",
        "/v1/names/team-a/../team-b/x",
        "/v1/names/team-a/%2e%2e/team-b/x",
        "/v1/names/team-a%2F..%2Fteam-b%2Fx",
        "/v1/names/team-a//x",
        "/v1/names//team-a/x",
        "/v1/names/team-a%2F%2Fx",
        "/v1/names/team-a/%00",
        "/v1/names/team-a/%ff",
        "/v1/names",
        "/v1/names?prefix=team-a",
        "/v1/names?prefix=",
        "/v1/names?prefix=team-a/../",
        "/v1/names?after=team-a/",
        "/v1/origins/b/dir/key",
        "/v1/origins/b/",
        "/v1/origins/b/nothing",
        "/v1/origins/a/../b/dir/key",
        "/v1/origins/a%2F..%2Fb/dir/key",
        "/v1/origins/a/%2e%2e/b/dir/key",
        "/v1/origins/b",
        "/v1/origins/nothing/x",
        "/s3/b/dir/key",
        "/s3/a/../b/dir/key",
        &blob,
        "/v1/jobs",
        "/v1/pins",
        "/v1/cluster",
        "/metrics",
        "/docs/",
        "/openapi.json",
        "/v1/drain",
        "/v1/ring/owners/x",
        "/nothing",
        "/hf/a/dir/key",
    ] {
        assert_eq!(node.get("team-a", uri).await, 403, "{uri}");
    }
    assert_eq!(node.get("team-b", &blob).await, 200, "ids are no secret to who may read blobs");
    assert_eq!(node.get("team-b", &format!("{blob}/explain")).await, 403, "it tells of nodes");
}

#[tokio::test]
async fn a_prefix_without_a_slash_is_that_one_thing() {
    let node = guarded();
    assert_eq!((node.get("one", "/v1/names/one").await, node.get("one", "/v1/origins/a/dir/key").await), (200, 200));
    for uri in [
        "/v1/names/one/x",
        "/v1/names/onee",
        "/v1/names?prefix=one",
        "/v1/origins/a/dir/key/",
        "/v1/origins/a/dir/key?list",
        "/v1/origins/a/dir/key?%6cist=1",
        "/v1/origins/a/dir/",
    ] {
        assert_eq!(node.get("one", uri).await, 403, "{uri}");
    }
}

/// Not by its status, nor by how it is asked: nothing is looked up for who may not have it.
#[tokio::test]
async fn what_is_there_cannot_be_told_from_what_is_not() {
    let node = guarded();
    for (there, not) in [
        ("/v1/names/team-b/x", "/v1/names/team-b/none"),
        ("/v1/origins/b/dir/key", "/v1/origins/c/none"),
        ("/s3/b/dir/key", "/s3/c/none"),
    ] {
        for method in ["GET", "HEAD"] {
            for headers in [&[][..], &[("if-none-match", "\"v1\"")], &[("if-match", "\"x\"")], &[("range", "bytes=9999-")]] {
                let [one, other] = [there, not].map(|uri| node.ask("team-a", method, uri, headers, ""));
                let (one, other) = (one.await, other.await);
                if method == "HEAD" && there.starts_with("/s3") {
                    continue;
                }
                assert_eq!(
                    (one.status.as_u16(), one.status, one.body),
                    (403, other.status, other.body),
                    "{method} {there} {headers:?}"
                );
            }
        }
    }
}

/// What the swarm names for itself tells what is read at all origins.
#[tokio::test]
async fn the_swarms_own_names_are_for_no_limited_token_and_nobody_gives_them() {
    let node = guarded();
    node.fake.names.lock().unwrap().insert(".profiles/x".to_owned(), (1, Some(node.fake.keep(Bytes::from("keys of origins")))));
    let target = format!(r#"{{"target":"{}"}}"#, BlobId::of(b"a"));
    let status = async |token: &str, method: &str, uri: &str| {
        let body = if uri.starts_with("/v1/pins/") { "" } else { &target };
        node.ask(token, method, uri, &[], body).await.status.as_u16()
    };
    for (method, uri, limited, unlimited) in [
        ("GET", "/v1/names?prefix=.profiles/", 403, 200),
        ("GET", "/v1/names?prefix=.", 403, 200),
        ("GET", "/v1/names/.profiles/x", 403, 200),
        ("PUT", "/v1/names/.profiles/x", 403, 400),
        ("PUT", "/v1/names/%2eprofiles/y", 403, 400),
        ("PUT", "/v1/pins/.profiles/x", 403, 200),
        ("DELETE", "/v1/names/.profiles/x", 403, 204),
    ] {
        assert_eq!(
            (status("names", method, uri).await, status("write", method, uri).await),
            (limited, unlimited),
            "{method} {uri}"
        );
    }
    assert_eq!(status("names", "PUT", "/v1/names/a/.b").await, 201);
    let prefetch = r#"{"names":[".profiles/x"]}"#;
    assert_eq!(node.ask("names", "POST", "/v1/prefetch", &[], prefetch).await.status.as_u16(), 403);
}

#[tokio::test]
async fn what_is_in_a_body_is_asked_for_too() {
    let node = guarded();
    let id = BlobId::of(b"b");
    let prefetch = async |token: &str, body: String| node.ask(token, "POST", "/v1/prefetch", &[], &body).await.status.as_u16();
    for (body, a, b) in [
        (r#"{"names":["team-a/x"]}"#.to_owned(), 202, 403),
        (r#"{"names":["team-a/x","team-b/x"]}"#.to_owned(), 403, 403),
        (format!(r#"{{"blobs":["{id}"]}}"#), 403, 202),
        (r#"{"origins":[{"origin":"a","path":"dir"}]}"#.to_owned(), 202, 403),
        (r#"{"origins":[{"origin":"a","path":""}]}"#.to_owned(), 202, 403),
        (r#"{"origins":[{"origin":"a","path":"../b"}]}"#.to_owned(), 403, 403),
        (r#"{"origins":[{"origin":"b","path":"/dir/"}]}"#.to_owned(), 403, 202),
    ] {
        assert_eq!((prefetch("team-a", body.clone()).await, prefetch("team-b", body.clone()).await), (a, b), "{body}");
        assert_eq!(prefetch("read", body).await, 202);
    }
}

#[tokio::test]
async fn a_job_is_cancelled_by_who_may_begin_it() {
    let node = guarded();
    let answer = node.ask("team-a", "POST", "/v1/prefetch", &[], r#"{"names":["team-a/x"]}"#).await;
    let JobCreated { job } = serde_json::from_slice(&answer.body).unwrap();
    let job = format!("/v1/jobs/{job}");
    assert_eq!((answer.status.as_u16(), node.status("team-b", "DELETE", &job).await), (202, 403));
    assert_eq!(node.status("team-a", "DELETE", &job).await, 204);
}

/// A job that may walk directories is for who may read all that is below them.
#[tokio::test]
async fn who_may_have_one_object_has_no_directory_walked() {
    let node = guarded();
    let walks = async |token: &str, path: &str, said: &str| {
        let body = format!(r#"{{"origins":[{{"origin":"a","path":"{path}"{said}}}]}}"#);
        let answer = node.ask(token, "POST", "/v1/prefetch", &[], &body).await;
        let JobCreated { job } = serde_json::from_slice(&answer.body).unwrap();
        !node.fake.jobs.lock().unwrap()[&job].borrow().wanted.origins[0].object_only
    };
    assert!(walks("team-a", "dir", "").await && walks("read", "dir/key", "").await);
    assert!(!walks("one", "dir/key", "").await && !walks("one", "/dir/key/", "").await);
    assert!(!walks("one", "dir/key", r#","object_only":false"#).await, "it is not theirs to say");
    assert!(!walks("read", "dir/key", r#","object_only":true"#).await);
}

#[tokio::test]
async fn writes_keep_to_the_prefixes_and_blobs_are_deleted_by_nobody_limited() {
    let node = guarded();
    let (id, target) = (BlobId::of(b"a"), format!(r#"{{"target":"{}"}}"#, BlobId::of(b"a")));
    let put = async |token: &str, uri: &str| node.ask(token, "PUT", uri, &[], &target).await.status.as_u16();
    assert_eq!((put("team-a", "/v1/names/team-a/new").await, put("team-a", "/v1/names/team-b/new").await), (201, 403));
    assert_eq!(put("team-b", "/v1/names/team-b/new").await, 403, "it only reads");
    assert_eq!(node.status("team-a", "DELETE", "/v1/names/team-b/x").await, 403);
    assert_eq!(node.status("team-a", "DELETE", "/v1/names/team-a/x").await, 204);
    assert_eq!(
        (node.status("team-a", "POST", "/v1/blobs").await, node.status("team-a", "PUT", &format!("/v1/blobs/{id}")).await),
        (403, 403)
    );
    assert_eq!(
        (node.status("team-a", "PUT", "/v1/pins/team-b/x").await, node.status("team-a", "PUT", &format!("/v1/pins/{id}")).await),
        (403, 403)
    );
    node.tokens.send_replace(Arc::new(Tokens::new([grant("w", Scope::Write, &["names/", "blobs/", "origins/"], None)])));
    assert_eq!(node.status("w", "DELETE", &format!("/v1/blobs/{id}")).await, 403, "others may need it");
    assert_eq!(node.status("w", "POST", "/v1/blobs").await, 201);
    assert!(node.fake.blobs.lock().unwrap().contains_key(&id));
}

#[tokio::test]
async fn a_token_that_is_taken_away_opens_nothing_more() {
    let node = guarded();
    assert_eq!(node.get("read", "/v1/cluster").await, 200);
    node.tokens.send_replace(Arc::new(Tokens::default()));
    assert_eq!(node.get("read", "/v1/cluster").await, 401);
}

#[tokio::test]
async fn health_is_for_all_and_names_nobody() {
    let node = guarded();
    *node.fake.lacks.lock().unwrap() = "missing n3".into();
    let ready = async |token: &str| node.ask(token, "GET", "/readyz", &[], "").await;
    for token in ["", "nonsense", "team-a"] {
        assert_eq!(node.get(token, "/healthz").await, 200);
        assert_eq!(ready(token).await.body, "ready\n", "{token}");
    }
    assert_eq!(ready("read").await.body, "ready: missing n3\n");
    *node.fake.waits_for.lock().unwrap() = Some("n7 does not answer".into());
    assert_eq!(ready("").await.problem().detail, "this node is not ready");
    assert_eq!(ready("read").await.problem().detail, "n7 does not answer");
}

#[tokio::test]
async fn who_guesses_is_put_off_and_who_knows_is_not() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _counted = metrics::set_default_local_recorder(&recorder);
    let node = guarded();
    for n in 0..10 {
        assert_eq!(node.get(&format!("guess-{n}"), "/v1/cluster").await, 401);
    }
    let answer = node.ask("guess", "GET", "/v1/cluster", &[], "").await;
    assert_eq!((answer.status.as_u16(), answer.kind().as_str()), (429, "too-many-failures"));
    assert!((1..=60).contains(&answer.header("retry-after").parse::<u64>().unwrap()));
    assert_eq!(node.get("guess", "/s3/a/dir/key").await, 429);
    assert_eq!(
        (node.get("read", "/v1/cluster").await, node.get("", "/v1/cluster").await, node.get("", "/healthz").await),
        (200, 401, 200)
    );
    let text = recorder.handle().render();
    for (reason, count) in [("unknown", 12), ("missing", 1)] {
        let line = format!("herring_http_auth_failures_total{{reason=\"{reason}\"}} {count}\n");
        assert!(text.contains(&line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn a_page_elsewhere_changes_nothing_with_what_a_browser_remembers() {
    let node = guarded();
    // me:admin
    let shown = ("authorization", "Basic bWU6YWRtaW4=");
    let drain = async |site| node.ask("", "POST", "/v1/drain", &[shown, ("sec-fetch-site", site)], "").await.status.as_u16();
    assert_eq!((drain("cross-site").await, drain("same-origin").await), (403, 202));
    let drain = async |shown, origin| {
        let headers = [shown, ("origin", origin), ("host", "node.example")];
        node.ask("", "POST", "/v1/drain", &headers, "").await.status.as_u16()
    };
    assert_eq!((drain(shown, "https://evil.example").await, drain(shown, "https://node.example").await), (403, 202));
    let bearer = ("authorization", "Bearer admin");
    assert_eq!(drain(bearer, "https://evil.example").await, 202, "no browser shows it by itself");
}

/// No tokens: what a page could make the browser of this machine's user ask.
#[tokio::test]
async fn where_nobody_is_asked_for_a_token_pages_change_nothing() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _counted = metrics::set_default_local_recorder(&recorder);
    let (fake, id) = Fake::with("bytes");
    let server = Running::of(&fake).await;
    let port = server.addr.port();
    let asked = async |method: &str, path: &str, headers: &str| {
        let request = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: 0\r\n{headers}\r\n");
        let text = read_to_end(server.raw(request.as_bytes()).await).await;
        text["HTTP/1.1 ".len()..][..3].parse::<u16>().unwrap()
    };
    let (blob, peers) = (format!("/v1/blobs/{id}"), format!("/peer/v1/blobs/{id}"));
    let own = format!("host: 127.0.0.1:{port}\r\n");
    for page in ["sec-fetch-site: cross-site\r\n", "origin: http://evil.example\r\n", "origin: null\r\n"] {
        for (method, path) in [("POST", "/v1/blobs"), ("DELETE", &blob), ("DELETE", &peers)] {
            assert_eq!(asked(method, path, &format!("{own}herring-hop: 1\r\n{page}")).await, 403, "{method} {path} {page}");
        }
        assert_eq!(asked("GET", &blob, &format!("{own}{page}")).await, 200, "{page}");
    }
    for (method, path) in [("GET", &blob[..]), ("DELETE", &blob), ("GET", "/metrics"), ("DELETE", &peers)] {
        let page = format!("host: evil.example:{port}\r\nsec-fetch-site: same-origin\r\nherring-hop: 1\r\n");
        assert_eq!(asked(method, path, &page).await, 403, "its name leads here: {method} {path}");
    }
    assert!(fake.blobs.lock().unwrap().contains_key(&id));
    for host in [&own[..], "host: localhost\r\n", "host: swarm.localhost:7070\r\n", "host: [::1]:7070\r\n"] {
        assert_eq!(asked("GET", &blob, host).await, 200, "{host}");
    }
    let page = format!("{own}origin: http://127.0.0.1:{port}\r\n");
    assert_eq!(asked("POST", "/v1/blobs", &page).await, 201);
    server.stop().await;
    let text = recorder.handle().render();
    for (reason, count) in [("site", 9), ("host", 4)] {
        let line = format!("herring_http_auth_failures_total{{reason=\"{reason}\"}} {count}\n");
        assert!(text.contains(&line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn nodes_are_admins_by_their_certificates_and_ask_what_peers_ask() {
    let (fake, tokens) = (Fake::default(), watch::Sender::new(Arc::new(all())));
    let authority = Authority::new();
    let own = authority.issue("n1");
    let tls = ServerTls::load(&own.cert, &own.key, Some(&authority.ca())).unwrap();
    let server = Running::start(backends(&fake, &tokens), ServerConfig { tls: Some(tls), ..ServerConfig::default() }).await;
    let client = |own: Option<(&std::path::Path, &std::path::Path)>, token: Option<&str>| {
        let tls = Some(ClientTls::load(&authority.ca(), own).unwrap());
        let token = token.map(|token| token.parse::<Token>().unwrap());
        ApiClient::with_config(&format!("https://{}", server.addr), &PeerConfig { tls, token, ..PeerConfig::patient() }).unwrap()
    };
    let refused = |error: ClientError| match error {
        ClientError::Problem(problem) => problem.status,
        other => panic!("{other}"),
    };
    assert_eq!(client(None, None).cluster().await.map_err(refused).unwrap_err(), 401);
    assert_eq!(client(None, Some("wrong")).cluster().await.map_err(refused).unwrap_err(), 401);
    assert_eq!(client(None, Some("team-a")).cluster().await.map_err(refused).unwrap_err(), 403);
    assert!(client(None, Some("read")).cluster().await.is_ok());
    assert!(client(Some((&own.cert, &own.key)), None).drain().await.is_ok());
}

#[test]
fn a_token_goes_to_nobody_in_clear() {
    let client = |url: &str| {
        let token = Some(Token::generate().unwrap());
        ApiClient::with_config(url, &PeerConfig { token, ..PeerConfig::patient() }).map(drop).map_err(|error| error.to_string())
    };
    for url in [
        "http://10.0.0.1:7070",
        "http://node.example:7070",
        "http://[fd00::1]:7070",
        "http://127.0.0.1.example:7070",
        "http://localhost.example",
    ] {
        let told = client(url).unwrap_err();
        assert!(told.contains("https://") && !told.contains("herring_"), "{told}");
    }
    for url in ["http://127.0.0.1:7070", "http://localhost:7070", "http://[::1]:7070"] {
        assert_eq!(client(url), Ok(()), "{url}");
    }
    assert!(!format!("{:?}", PeerConfig { token: Some("secret".parse().unwrap()), ..PeerConfig::patient() }).contains("secret"));
}
