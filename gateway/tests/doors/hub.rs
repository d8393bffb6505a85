use std::fs;
use std::path::Path;

use bytes::Bytes;
use herring_gateway::Body;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use tempfile::TempDir;
use tower::ServiceExt;

use crate::node::{Node, breaking, have, script};
use crate::stand_in::StandIn;

const LARGE: usize = 5_000_000;

fn pattern(len: usize) -> Vec<u8> {
    (0..=u8::MAX).cycle().zip(0u64..).map(|(byte, at)| byte.wrapping_mul(31) ^ (at >> 8).to_le_bytes()[0]).take(len).collect()
}

/// A hub with a model in it, and a node that has it as an origin of which nothing is believed for longer than it takes to ask.
async fn start(options: &[&str]) -> Option<(StandIn, Node)> {
    if !have("hubclient", "huggingface_hub").await {
        return None;
    }
    let hub = StandIn::start(options)?;
    hub.write("models/org/tiny/main/model.safetensors", &pattern(LARGE));
    hub.write("models/org/tiny/main/config.json", b"{}");
    hub.write("models/org/tiny/main/sub/a b#1%.txt", b"odd");
    hub.write("models/org/tiny/main/empty", b"");
    let node = Node::start(&[format!("hub=hf://?ttl=0&endpoint={}", hub.endpoint())]).await;
    Some((hub, node))
}

async fn client(endpoint: &str, home: &TempDir, args: &[&str]) -> String {
    let endpoint = format!("{endpoint}/hf");
    let environment = [
        ("HF_ENDPOINT", endpoint.as_str()),
        ("HF_HOME", home.path().to_str().unwrap()),
        ("HF_HUB_DISABLE_TELEMETRY", "1"),
        ("HF_HUB_DISABLE_PROGRESS_BARS", "1"),
    ];
    script("hub_client.py", args, &environment).await
}

fn assert_tiny(snapshot: &str) {
    let read = |path: &str| fs::read(Path::new(snapshot).join(path)).unwrap();
    assert!(read("model.safetensors") == pattern(LARGE));
    assert_eq!((read("config.json"), read("sub/a b#1%.txt"), read("empty")), (b"{}".to_vec(), b"odd".to_vec(), vec![]));
}

/// Bytes of files that the hub and its CDN gave.
fn given(hub: &StandIn) -> u64 {
    hub.asked().iter().filter(|asked| asked.target.contains("resolve") || asked.side == "cdn").map(|asked| asked.bytes).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_downloaded_once_by_the_swarm_and_once_by_a_client() {
    let Some((hub, node)) = start(&[]).await else { return };
    let homes = [TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap()];
    assert_tiny(&client(&node.url, &homes[0], &["snapshot", "org/tiny"]).await);
    let unique = LARGE as u64 + 5;
    assert_eq!(given(&hub), unique);
    node.asked();

    assert_tiny(&client(&node.url, &homes[0], &["snapshot", "org/tiny"]).await);
    let again = node.asked();
    assert!(again.iter().all(|asked| !asked.contains("/resolve/")), "{again:#?}");

    assert_tiny(&client(&node.url, &homes[1], &["snapshot", "org/tiny"]).await);
    assert_eq!(given(&hub), unique, "the second client's bytes are the swarm's");
    let asked = node.asked();
    assert!(!asked.is_empty() && asked.iter().all(|asked| !asked.contains("xet")), "{asked:#?}");

    drop(hub);
    assert_tiny(&client(&node.url, &homes[2], &["snapshot", "org/tiny"]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_broke_goes_on() {
    let Some((hub, node)) = start(&[]).await else { return };
    // The client writes pieces of 10 MiB, and goes on behind the last one.
    let bytes = pattern(25_000_000);
    hub.write("models/org/big/main/model.safetensors", &bytes);
    let (home, way) = (TempDir::new().unwrap(), breaking(&node.url, 15_000_000).await);
    let path = client(&way, &home, &["file", "org/big", "model.safetensors"]).await;
    assert!(fs::read(path).unwrap() == bytes);
    let gets: Vec<String> =
        node.asked().into_iter().filter(|asked| asked.starts_with("GET") && asked.contains("resolve")).collect();
    assert_eq!(gets.len(), 2, "{gets:#?}");
    assert!(gets[1].ends_with("bytes=10485760- 206"), "{gets:#?}");
    assert_eq!(given(&hub), bytes.len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_that_moves_costs_what_changed() {
    let Some((hub, node)) = start(&[]).await else { return };
    let home = TempDir::new().unwrap();
    let before = client(&node.url, &home, &["snapshot", "org/tiny"]).await;
    hub.write("models/org/tiny/main/config.json", b"{\"a\":1}");
    node.asked();
    let after = client(&node.url, &home, &["snapshot", "org/tiny"]).await;
    assert_ne!(before, after);
    assert_eq!(fs::read(Path::new(&after).join("config.json")).unwrap(), b"{\"a\":1}");
    let gets: Vec<String> =
        node.asked().into_iter().filter(|asked| asked.starts_with("GET") && asked.contains("resolve")).collect();
    assert!(gets.len() == 1 && gets[0].contains("config.json"), "{gets:#?}");
    let old = Path::new(&before).file_name().unwrap().to_str().unwrap();
    assert_tiny(&client(&node.url, &TempDir::new().unwrap(), &["snapshot", "org/tiny", old]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn datasets_folders_and_other_revisions_are_found() {
    let Some((hub, node)) = start(&["--page", "3"]).await else { return };
    hub.write("datasets/org/ds/main/train/part.parquet", b"rows");
    hub.write("models/gpt2/main/config.json", b"old");
    hub.write("models/org/tiny/refs%2Fpr%2F1/config.json", b"request");
    for n in 0..20 {
        hub.write(&format!("models/org/many/main/{n:02}"), b"x");
    }
    let home = TempDir::new().unwrap();
    let file = async |args: &[&str]| fs::read_to_string(client(&node.url, &home, args).await).unwrap();
    assert_eq!(file(&["file", "org/ds", "part.parquet", "dataset", "main", "train"]).await, "rows");
    assert_eq!(file(&["file", "gpt2", "config.json"]).await, "old");
    assert_eq!(file(&["file", "org/tiny", "config.json", "model", "refs/pr/1"]).await, "request");
    assert_eq!(client(&node.url, &home, &["files", "org/many"]).await.lines().count(), 20);
    let snapshot = client(&node.url, &home, &["snapshot", "org/many"]).await;
    assert_eq!(fs::read_dir(snapshot).unwrap().count(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repositorys_branches_and_commits_are_told() {
    let Some((hub, node)) = start(&[]).await else { return };
    hub.write("models/org/tiny/v1/config.json", b"1");
    let said = client(&node.url, &TempDir::new().unwrap(), &["history", "org/tiny"]).await;
    assert_eq!(said, "main v1\nall of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_hub_its_default_branch_answers_for_a_repository() {
    let Some(hub) = StandIn::start(&[]) else { return };
    hub.write("models/org/tiny/main/config.json", b"{}");
    let node = Node::start(&[format!("hub=hf://?endpoint={}", hub.endpoint())]).await;
    let known = ask(&node, Method::GET, "/api/models/org/tiny/revision/main", &[]).await;
    assert_eq!(known.status(), StatusCode::OK);
    drop(hub);
    let told = ask(&node, Method::GET, "/api/models/org/tiny", &[]).await;
    assert_eq!((told.status(), bytes(told).await), (StatusCode::OK, bytes(known).await));
    assert_eq!(ask(&node, Method::GET, "/api/models/org/other", &[]).await.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clients_own_filesystem_reads_through_it() {
    let Some((_hub, node)) = start(&[]).await else { return };
    let large = pattern(LARGE);
    let said = client(&node.url, &TempDir::new().unwrap(), &["filesystem", "org/tiny", "model.safetensors", "4000000"]).await;
    assert_eq!(said.lines().next(), Some("a b#1%.txt config.json empty model.safetensors"));
    assert_eq!(
        said.lines().nth(1),
        Some(large[4_000_000..4_000_010].iter().map(|byte| format!("{byte:02x}")).collect::<String>().as_str())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_had_is_refused_in_the_hubs_words() {
    let Some((hub, node)) = start(&["--gated", "models/org/gated", "--token", "hf_secret"]).await else { return };
    hub.write("models/org/gated/main/config.json", b"x");
    let home = TempDir::new().unwrap();
    for args in [
        &["RepositoryNotFoundError", "org/none", "config.json"][..],
        &["RevisionNotFoundError", "org/tiny", "config.json", "none"],
        &["RevisionNotFoundError", "org/tiny", "config.json", "0123456789012345678901234567890123456789"],
        &["EntryNotFoundError", "org/tiny", "none"],
        &["EntryNotFoundError", "org/tiny", "sub"],
        &["GatedRepoError", "org/gated", "config.json"],
    ] {
        client(&node.url, &home, &[&["refused"], args].concat()).await;
    }
    let bare = Node::start(&[]).await;
    let said = client(&bare.url, &home, &["refused", "RepositoryNotFoundError", "org/tiny", "config.json"]).await;
    assert!(!said.is_empty());
    let answer = ask(&bare, Method::GET, "/org/tiny/resolve/main/config.json", &[]).await;
    assert!(answer.headers()["x-error-message"].to_str().unwrap().contains("--origin hub=hf://"));
}

async fn ask(node: &Node, method: Method, path: &str, headers: &[(header::HeaderName, &str)]) -> Response<Body> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    let Ok(answer) = node.hub.clone().oneshot(request.body(Empty::<Bytes>::new()).unwrap()).await;
    answer
}

async fn bytes(answer: Response<Body>) -> Vec<u8> {
    answer.into_body().collect().await.unwrap().to_bytes().to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_told_of_as_by_a_hub() {
    let Some((_hub, node)) = start(&[]).await else { return };
    let path = "/org/tiny/resolve/main/model.safetensors";
    let told = ask(&node, Method::HEAD, path, &[]).await;
    assert_eq!(told.status(), StatusCode::OK);
    let headers = told.headers();
    assert_eq!(headers[header::CONTENT_LENGTH], LARGE.to_string());
    assert_eq!(headers[header::ACCEPT_RANGES], "bytes");
    assert_eq!((headers["x-repo-commit"].len(), headers[header::ETAG].len()), (40, 66));
    assert!(!headers.contains_key(header::LOCATION) && headers.keys().all(|name| !name.as_str().starts_with("x-xet")));
    let etag = headers[header::ETAG].to_str().unwrap().to_owned();
    assert!(bytes(told).await.is_empty());

    let large = pattern(LARGE);
    for (range, status, part) in [
        ("bytes=0-9", StatusCode::PARTIAL_CONTENT, &large[..10]),
        ("bytes=1048570-1048590", StatusCode::PARTIAL_CONTENT, &large[1_048_570..1_048_591]),
        ("bytes=-7", StatusCode::PARTIAL_CONTENT, &large[LARGE - 7..]),
        ("bytes=4999999-", StatusCode::PARTIAL_CONTENT, &large[LARGE - 1..]),
        ("bytes=5000000-", StatusCode::RANGE_NOT_SATISFIABLE, &[]),
        ("bytes=5-2", StatusCode::OK, &large[..]),
        ("lines=0-9", StatusCode::OK, &large[..]),
    ] {
        let answer = ask(&node, Method::GET, path, &[(header::RANGE, range)]).await;
        assert_eq!(answer.status(), status, "{range}");
        assert!(bytes(answer).await == part, "{range}");
    }
    let status =
        async |method: Method, name: header::HeaderName, value: &str| ask(&node, method, path, &[(name, value)]).await.status();
    assert_eq!(status(Method::GET, header::IF_NONE_MATCH, &etag).await, StatusCode::NOT_MODIFIED);
    assert_eq!(status(Method::GET, header::IF_NONE_MATCH, "\"other\"").await, StatusCode::OK);
    assert_eq!(status(Method::GET, header::IF_MATCH, "\"other\"").await, StatusCode::PRECONDITION_FAILED);
    assert_eq!(status(Method::POST, header::ACCEPT, "*/*").await, StatusCode::METHOD_NOT_ALLOWED);
}

/// The hub is asked with this node's token.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_what_a_path_says_is_asked_of_the_hub() {
    let Some(hub) = StandIn::start(&[]) else { return };
    hub.write("models/org/tiny/main/config.json", b"{}");
    let node = Node::start(&[format!("hub=hf://?ttl=0&endpoint={}", hub.endpoint())]).await;
    for path in ["../../../../org/tiny/tree/main", "%2e%2e/%2E./whoami-v2", "a%2F..%2F..%2Fx"] {
        let answer = ask(&node, Method::GET, &format!("/api/models/org/tiny/tree/main/{path}"), &[]).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
    }
    for (path, status) in [("config.json", StatusCode::OK), ("../../../../../whoami-v2/x", StatusCode::BAD_REQUEST)] {
        let form = url::form_urlencoded::Serializer::new(String::new()).append_pair("paths", path).finish();
        let request = Request::post("/api/models/org/tiny/paths-info/main").body(http_body_util::Full::from(form));
        let Ok(answer) = node.hub.clone().oneshot(request.unwrap()).await;
        assert_eq!(answer.status(), status, "{path}");
    }
    let asked: Vec<String> = hub.asked().into_iter().map(|asked| asked.target).collect();
    assert_eq!(asked, ["/api/models/org/tiny/tree/main"]);
}
