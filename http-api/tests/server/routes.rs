use herring_blob::{BlobId, Manifest};
use herring_http_api::types::{Cluster, Explain, Owners};
use serde_json::Value;

use crate::fake::Fake;
use crate::{ask, get};

#[tokio::test]
async fn questions_about_a_blob() {
    let (fake, id) = Fake::with("bytes");
    let manifest: Manifest = serde_json::from_slice(&get(&fake, &format!("/v1/blobs/{id}/manifest"), &[]).await.body).unwrap();
    assert_eq!((manifest.id(), manifest.chunks().len()), (id, 1));
    let explain: Explain =
        serde_json::from_slice(&get(&fake, &format!("/v1/blobs/{id}/explain?chunk=7"), &[]).await.body).unwrap();
    assert_eq!(explain.epoch, "7");
    let explain: Explain = serde_json::from_slice(&get(&fake, &format!("/v1/blobs/{id}/explain"), &[]).await.body).unwrap();
    assert_eq!(explain.epoch, "all");
    let owners: Owners = serde_json::from_slice(&get(&fake, &format!("/v1/ring/owners/{id}?chunk=3"), &[]).await.body).unwrap();
    assert_eq!((owners.id, owners.chunk), (id, Some(3)));
    let cluster: Cluster = serde_json::from_slice(&get(&fake, "/v1/cluster", &[]).await.body).unwrap();
    assert_eq!(cluster.node, "n1");
}

#[tokio::test]
async fn what_a_node_says_of_itself() {
    let fake = Fake::default();
    assert_eq!(get(&fake, "/healthz", &[]).await.status.as_u16(), 200);
    let ready = get(&fake, "/readyz", &[]).await;
    assert_eq!((ready.status.as_u16(), &ready.body[..]), (200, &b"ready\n"[..]));
    *fake.lacks.lock().unwrap() = "missing n3".into();
    let ready = get(&fake, "/readyz", &[]).await;
    assert_eq!((ready.status.as_u16(), &ready.body[..]), (200, &b"ready: missing n3\n"[..]));
    *fake.waits_for.lock().unwrap() = Some("waiting for a seed to answer".into());
    assert_eq!(get(&fake, "/healthz", &[]).await.status.as_u16(), 200);
    let answer = get(&fake, "/readyz", &[]).await;
    assert_eq!((answer.status.as_u16(), answer.problem().detail.as_str()), (503, "waiting for a seed to answer"));
    let answer = get(&fake, "/metrics", &[]).await;
    assert_eq!(
        (answer.header("content-type"), &answer.body[..]),
        ("text/plain; version=0.0.4; charset=utf-8", &b"herring_up 1\n"[..])
    );
}

#[tokio::test]
async fn every_refusal_is_a_problem() {
    let fake = Fake::default();
    let absent = BlobId::of(b"absent");
    for (method, uri, status, kind) in [
        ("GET", "/".to_owned(), 404, "not-found"),
        ("GET", "/v1/names/a".to_owned(), 404, "not-found"),
        ("GET", "/peer/v1/nothing".to_owned(), 404, "not-found"),
        ("GET", "/v1/blobs/xyz".to_owned(), 400, "bad-request"),
        ("GET", "/v1/blobs/%FF".to_owned(), 400, "bad-request"),
        ("GET", format!("/v1/blobs/{absent}"), 404, "not-found"),
        ("GET", format!("/v1/blobs/{absent}/manifest"), 404, "not-found"),
        ("GET", format!("/v1/ring/owners/{absent}?chunk=x"), 400, "bad-request"),
        ("GET", format!("/v1/ring/owners/{absent}?chunk=-1"), 400, "bad-request"),
        ("PATCH", format!("/v1/blobs/{absent}"), 405, "method-not-allowed"),
        ("GET", "/v1/origins/panics/key".to_owned(), 500, "internal"),
    ] {
        let answer = ask(&fake, method, &uri, &[], "").await;
        assert_eq!((answer.status.as_u16(), answer.kind().as_str()), (status, kind), "{method} {uri}");
    }
    let detail = get(&fake, "/v1/blobs/xyz", &[]).await.problem().detail;
    assert!(detail.contains("64 hexadecimal digits"), "{detail}");
}

#[tokio::test]
async fn a_wrong_method_learns_the_right_ones() {
    let fake = Fake::default();
    let answer = ask(&fake, "PATCH", &format!("/v1/blobs/{}", BlobId::of(b"")), &[], "").await;
    let mut allowed: Vec<_> = answer.header("allow").split(',').map(str::trim).collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["DELETE", "GET", "HEAD", "PUT"]);
    assert_eq!(ask(&fake, "DELETE", "/v1/cluster", &[], "").await.header("allow"), "GET,HEAD");
}

/// The clock is paused: it jumps to the deadline once nothing else can happen.
#[tokio::test(start_paused = true)]
async fn a_node_that_does_not_answer_is_504() {
    let answer = get(&Fake::default(), "/v1/origins/hangs/key", &[]).await;
    assert_eq!((answer.status.as_u16(), answer.kind().as_str()), (504, "timed-out"));
}

async fn openapi() -> Value {
    serde_json::from_slice(&get(&Fake::default(), "/openapi.json", &[]).await.body).unwrap()
}

#[tokio::test]
async fn the_description_is_ours_and_lists_every_route() {
    let api = openapi().await;
    assert_eq!((&api["info"]["title"], &api["info"]["version"]), (&"Herring".into(), &env!("CARGO_PKG_VERSION").into()));
    assert_eq!(api["info"]["license"]["identifier"], "Apache-2.0");
    assert!(api["info"].get("contact").is_none());
    let listed: Vec<(String, Vec<String>)> = api["paths"].as_object().unwrap().iter().map(methods).collect();
    let expected = [
        ("/healthz", "get"),
        ("/metrics", "get"),
        ("/readyz", "get"),
        ("/v1/blobs", "post"),
        ("/v1/blobs/{id}", "delete get head put"),
        ("/v1/blobs/{id}/explain", "get"),
        ("/v1/blobs/{id}/manifest", "get"),
        ("/v1/cluster", "get"),
        ("/v1/drain", "delete get post"),
        ("/v1/jobs", "get"),
        ("/v1/jobs/{job}", "delete get"),
        ("/v1/names", "get"),
        ("/v1/names/{name}", "delete get head put"),
        ("/v1/origins/{origin}/", "get head"),
        ("/v1/origins/{origin}/{key}", "get head"),
        ("/v1/pins", "get"),
        ("/v1/pins/{target}", "delete put"),
        ("/v1/prefetch", "post"),
        ("/v1/ring/owners/{id}", "get"),
    ];
    let expected: Vec<_> =
        expected.map(|(path, methods)| (path.to_owned(), methods.split(' ').map(str::to_owned).collect())).into();
    assert_eq!(listed, expected);
}

fn methods((path, item): (&String, &Value)) -> (String, Vec<String>) {
    let mut methods: Vec<String> = item.as_object().unwrap().keys().cloned().collect();
    methods.sort_unstable();
    (path.clone(), methods)
}

fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(all) => all.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn the_description_holds_together() {
    let api = openapi().await;
    let mut found = Vec::new();
    references(&api, &mut found);
    assert!(found.contains(&"#/components/schemas/Problem".into()));
    for reference in found {
        assert!(api.pointer(&reference[1..]).is_some(), "{reference} leads nowhere");
    }
    let mut ids = Vec::new();
    for (path, item) in api["paths"].as_object().unwrap() {
        for operation in item.as_object().unwrap().values() {
            ids.push(operation["operationId"].as_str().unwrap().to_owned());
            let named: Vec<_> = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let described: Vec<_> =
                parameters.iter().filter(|p| p["in"] == "path").map(|p| p["name"].as_str().unwrap()).collect();
            assert_eq!(described, named, "{path}");
        }
    }
    let put = &api["paths"]["/v1/blobs"]["post"]["parameters"];
    let asked: Vec<_> = put.as_array().unwrap().iter().map(|p| (&p["name"], &p["in"], &p["schema"]["maximum"])).collect();
    let (query, most) = (Value::from("query"), Value::from(200));
    assert_eq!(asked, [(&"replicas".into(), &query, &most), (&"ack".into(), &query, &most)]);
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "operation ids are unique");
}

#[tokio::test]
async fn the_docs_page_needs_no_internet() {
    let fake = Fake::default();
    assert_eq!(get(&fake, "/docs", &[]).await.header("location"), "/docs/");
    let page = get(&fake, "/docs/", &[]).await;
    assert!(page.header("content-type").starts_with("text/html"));
    let start = get(&fake, "/docs/swagger-initializer.js", &[]).await;
    for text in [&page.body, &start.body] {
        assert!(!String::from_utf8_lossy(text).contains("https://"));
    }
    assert!(String::from_utf8_lossy(&start.body).contains("/openapi.json"));
    assert_eq!(get(&fake, "/docs/swagger-ui-bundle.js", &[]).await.status.as_u16(), 200);
}
