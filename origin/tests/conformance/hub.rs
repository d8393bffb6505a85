//! What a hub promises on top of what every origin does: commits that stay, few requests, and a token that goes to nobody else.

use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use futures_util::future::try_join_all;
use herring_blob::{ByteRange, ObjectRef};
use herring_origin::{Lifetime, Listed, Origin, OriginError, OriginSpec, Origins};

use crate::promises::conforms;
use crate::stand_in::StandIn;
use crate::truth::{Index, Shown, Truth};

/// A weight's worth: more than one part of a body.
const LARGE: usize = 3_000_000;

fn open(url: &str, hub: &StandIn) -> Origin {
    open_at(&format!("{url}?"), &hub.endpoint())
}

/// The URL up to its next option.
fn open_at(url: &str, endpoint: &str) -> Origin {
    let spec: OriginSpec = format!("truth={url}endpoint={endpoint}&ttl=0").parse().unwrap();
    Origins::new([spec]).unwrap().get("truth").unwrap().clone()
}

fn pattern(len: usize) -> Vec<u8> {
    (0..=u8::MAX).cycle().zip(0u64..).map(|(byte, at)| byte.wrapping_mul(31) ^ (at >> 8).to_le_bytes()[0]).take(len).collect()
}

async fn object(origin: &Origin, key: &str) -> ObjectRef {
    origin.head(key).await.unwrap().object
}

async fn read(origin: &Origin, object: &ObjectRef, range: ByteRange) -> Result<Bytes, OriginError> {
    let parts = origin.read(object, range).await?;
    let whole = parts.try_fold(Vec::new(), |mut whole, part| async move {
        whole.extend_from_slice(&part);
        Ok(whole)
    });
    whole.await.map(Bytes::from)
}

async fn whole(origin: &Origin, key: &str) -> Result<Bytes, OriginError> {
    let object = origin.head(key).await?.object;
    read(origin, &object, ByteRange::new(0, object.size)).await
}

/// All pages.
async fn list(origin: &Origin, prefix: &str) -> Result<Vec<Listed>, OriginError> {
    let (mut listed, mut token) = (Vec::new(), None);
    loop {
        let page = origin.list(prefix, token.as_deref()).await?;
        listed.extend(page.entries);
        token = page.next;
        if token.is_none() {
            return Ok(listed);
        }
    }
}

fn names(listed: &[Listed]) -> Vec<String> {
    let name = |entry: &Listed| match entry {
        Listed::Directory { name } => format!("{name}/"),
        Listed::Object { name, .. } => name.clone(),
    };
    let mut names: Vec<String> = listed.iter().map(name).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_revision_that_is_followed_conforms() {
    let Some(hub) = StandIn::start(&[]) else { return };
    let truth = hub.path("models/org/tiny/main");
    std::fs::create_dir_all(&truth).unwrap();
    let origin = open_at("hf://org/tiny@main?pinned=false&", &hub.endpoint());
    conforms(&Shown { has_times: false, ..Shown::new(origin, Truth::directory(truth), Index::Whole) }).await;
}

#[tokio::test]
async fn a_commit_is_read_as_it_is() {
    let Some(hub) = StandIn::start(&[]) else { return };
    let large = pattern(LARGE);
    let odd = ["a b", "ünï 鯡", "100%", "%2e%2e", "a+b&c=d?e", "part#1", "...", "~`'\"<>[]{}^\\", "-f", "a@b"];
    hub.write("models/org/tiny/main/model.safetensors", &large);
    hub.write("models/org/tiny/main/config.json", b"{}");
    hub.write("models/org/tiny/main/empty", b"");
    for name in odd {
        hub.write(&format!("models/org/tiny/main/odd/{name}"), name.as_bytes());
    }
    let origin = open("hf://org/tiny@main", &hub);

    let model = object(&origin, "model.safetensors").await;
    assert_eq!((model.size, model.version.len()), (large.len() as u64, 64), "the version of a large file is its SHA-256");
    assert_eq!(object(&origin, "config.json").await.version, "9e26dfeeb6e641a33dae4961196235bdb965b21b", "of others, git's own");
    for (start, end) in [(0, 1), (0, LARGE), (LARGE - 1, LARGE), (4095, 2_000_001), (7, 7)] {
        let part = read(&origin, &model, ByteRange::new(start as u64, end as u64)).await.unwrap();
        assert!(part == large[start..end], "{start}..{end}");
    }
    assert_eq!(whole(&origin, "config.json").await.unwrap(), "{}");
    assert_eq!(whole(&origin, "empty").await.unwrap(), "");
    for name in odd {
        assert_eq!(whole(&origin, &format!("odd/{name}")).await.unwrap(), name, "{name}");
    }
    assert_eq!(names(&list(&origin, "").await.unwrap()), ["config.json", "empty", "model.safetensors", "odd/"]);
    assert_eq!(list(&origin, "odd").await.unwrap().len(), odd.len());
    let below = open("hf://org/tiny@main/odd", &hub);
    assert_eq!(whole(&below, "part#1").await.unwrap(), "part#1");
    assert_eq!(list(&below, "").await.unwrap().len(), odd.len());
}

#[tokio::test]
async fn what_is_missing_is_not_found() {
    let Some(hub) = StandIn::start(&[]) else { return };
    hub.write("models/org/tiny/main/a/file", b"x");
    let origin = open("hf://org/tiny", &hub);
    for key in ["no", "a", "a/no", "no/no", "a/file/below"] {
        assert_eq!(origin.head(key).await.unwrap_err().kind(), "not_found", "{key}");
    }
    for key in ["no", "a/file", "a/fil"] {
        assert_eq!(origin.list(key, None).await.unwrap_err().kind(), "not_found", "{key}");
        assert_eq!(origin.is_directory(key).await, Ok(false), "{key}");
    }
    assert_eq!(origin.is_directory("a").await, Ok(true));
    for url in ["hf://org/none", "hf://org/tiny@none", "hf://datasets/org/tiny"] {
        let origin = open(url, &hub);
        assert_eq!(origin.head("a/file").await.unwrap_err().kind(), "not_found", "{url}");
        assert_eq!(origin.list("", None).await.unwrap_err().kind(), "not_found", "{url}");
    }
}

#[tokio::test]
async fn a_page_tells_of_all_its_files() {
    let Some(hub) = StandIn::start(&[]) else { return };
    let expected: Vec<String> = (1000..2200).map(|n| n.to_string()).collect();
    for name in &expected {
        hub.write(&format!("models/org/many/main/dir/{name}"), name.as_bytes());
    }
    let origin = open("hf://org/many", &hub);
    let listed = list(&origin, "dir").await.unwrap();
    assert_eq!(names(&listed), expected);
    for entry in &listed[..1000] {
        let Listed::Object { name, size, modified, version } = entry else { panic!("{entry:?}") };
        let info = origin.head(&format!("dir/{name}")).await.unwrap();
        assert_eq!((info.object.size, info.modified, Some(&info.object.version)), (*size, *modified, version.as_ref()));
    }
    assert_eq!(origin.is_directory("dir").await, Ok(true));
    let asked = hub.asked();
    // The revision, both pages, the root's, and of the first file a HEAD and where it leads.
    assert_eq!(asked.len(), 6, "{asked:#?}");
    // What the first page does not tell costs what it must.
    assert_eq!(origin.head("dir/2150").await.unwrap().object.size, 4);
    assert_eq!(hub.asked().len(), 8);
}

#[tokio::test]
async fn a_pull_requests_revision_is_one() {
    let Some(hub) = StandIn::start(&[]) else { return };
    hub.write("models/org/tiny/refs%2Fpr%2F1/dir/a", b"proposed");
    let (whole, one) = (open("hf://", &hub), open("hf://org/tiny@refs/pr/1/dir", &hub));
    for (origin, key) in [(&whole, "org/tiny@refs/pr/1/dir/a"), (&whole, "org/tiny@refs%2Fpr%2F1/dir/a"), (&one, "a")] {
        let object = object(origin, key).await;
        assert_eq!(read(origin, &object, ByteRange::new(0, 8)).await.unwrap(), "proposed");
    }
    for above in ["org/tiny@refs", "org/tiny@refs/pr", "org/tiny@refs/pr/1"] {
        assert_eq!(whole.is_directory(above).await, Ok(true), "{above}");
    }
}

#[tokio::test]
async fn the_hub_is_asked_once_where_a_file_is() {
    let Some(hub) = StandIn::start(&[]) else { return };
    let bytes = pattern(LARGE);
    hub.write("models/org/tiny/main/model.safetensors", &bytes);
    let origin = open("hf://org/tiny", &hub);
    let model = object(&origin, "model.safetensors").await;
    assert_eq!(read(&origin, &model, ByteRange::new(0, 10)).await.unwrap(), bytes[..10]);
    let before = hub.asked().len();
    let reads = (0..16).map(|n| read(&origin, &model, ByteRange::at(n * 100_000, 100_000)));
    assert!(try_join_all(reads).await.unwrap().concat() == bytes[..1_600_000]);
    let asked = hub.asked_since(before);
    assert!(asked.len() == 16 && asked.iter().all(|request| request.side == "cdn"), "{asked:#?}");

    hub.fault("expire");
    assert_eq!(read(&origin, &model, ByteRange::new(5, 10)).await.unwrap(), bytes[5..10]);
    let sides: Vec<(String, u16)> = hub.asked_since(before + 16).into_iter().map(|asked| (asked.side, asked.status)).collect();
    assert_eq!(sides, [("cdn".to_owned(), 403), ("hub".to_owned(), 302), ("cdn".to_owned(), 206)]);
}

#[tokio::test]
async fn another_version_is_never_given() {
    let Some(hub) = StandIn::start(&[]) else { return };
    let origin = open("hf://", &hub);
    for path in ["small", "large.bin"] {
        let (key, file) = (format!("org/tiny@main/{path}"), format!("models/org/tiny/main/{path}"));
        hub.write(&file, b"first");
        let first = object(&origin, &key).await;
        for known in [false, true] {
            let lies = [
                ObjectRef { version: "other".into(), ..first.clone() },
                ObjectRef { size: 4, ..first.clone() },
                ObjectRef { size: 50, ..first.clone() },
                ObjectRef { size: 50, version: "other".into(), ..first.clone() },
            ];
            for lie in lies {
                for range in [ByteRange::new(0, 1), ByteRange::new(1, 1), ByteRange::new(lie.size - 1, lie.size)] {
                    assert_eq!(read(&origin, &lie, range).await.unwrap_err().kind(), "changed", "{range} of {lie:?}");
                }
            }
            // From now on it is known where a large one is.
            if !known {
                assert_eq!(read(&origin, &first, ByteRange::new(0, 5)).await.unwrap(), "first");
            }
        }
        hub.write(&file, b"second");
        let second = object(&origin, &key).await;
        assert_ne!(first.version, second.version);
        assert_eq!(read(&origin, &second, ByteRange::new(0, 6)).await.unwrap(), "second");
        // The old bytes are where they were, if a reader still knows where; never the new ones.
        let old = read(&origin, &first, ByteRange::new(0, 5)).await;
        assert!(matches!(&old, Ok(bytes) if bytes == "first") || matches!(old, Err(OriginError::Changed { .. })), "{old:?}");
    }
}

#[tokio::test]
async fn a_revision_that_moves_is_trusted_again() {
    let Some(hub) = StandIn::start(&[]) else { return };
    for file in ["a", "b", "c", "d"] {
        hub.write(&format!("models/org/tiny/main/{file}"), b"first");
    }
    let spec = format!("truth=hf://org/tiny?pinned=false&endpoint={}&ttl=1", hub.endpoint());
    let origin = Origins::new([spec.parse().unwrap()]).unwrap().get("truth").unwrap().clone();
    let before = list(&origin, "").await.unwrap();
    hub.write("models/org/tiny/main/a", b"second");
    // As long as the page is fresh, it says what a HEAD does not.
    origin.head("a").await.unwrap();
    while list(&origin, "").await.unwrap() == before {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let asked = hub.asked().len();
    for file in ["b", "c", "d"] {
        origin.head(file).await.unwrap();
    }
    let heads = hub.asked_since(asked).into_iter().filter(|request| request.target.contains("/resolve/")).count();
    assert!(heads <= 1, "{heads} files were asked for by themselves");
}

#[tokio::test]
async fn a_pinned_commit_stays_when_its_revision_moves() {
    let Some(hub) = StandIn::start(&[]) else { return };
    hub.write("models/org/tiny/main/file", b"first");
    let origin = open("hf://org/tiny@main", &hub);
    assert!(!origin.pinned());
    let first = origin.resolve().await.unwrap();
    assert!(!origin.pinned(), "who resolves decides what is pinned");
    assert_eq!(whole(&origin, "file").await.unwrap(), "first");
    assert!(origin.pinned());
    assert_eq!(origin.lifetime("file"), Lifetime::Forever);

    hub.write("models/org/tiny/main/file", b"second");
    hub.write("models/org/tiny/main/new", b"new");
    assert_eq!(whole(&origin, "file").await.unwrap(), "first");
    assert_eq!(origin.head("new").await.unwrap_err().kind(), "not_found");
    assert_eq!(origin.resolve().await.as_ref(), Ok(&first), "what is pinned is what it means");
    let second = open("hf://org/tiny@main", &hub).resolve().await.unwrap();
    assert_ne!(first, second);
    assert_eq!(whole(&open("hf://org/tiny@main", &hub), "file").await.unwrap(), "second");

    let (told, before) = (open("hf://org/tiny@main", &hub), hub.asked().len());
    told.pin("no commit");
    assert!(!told.pinned());
    told.pin(&second);
    told.pin(&first);
    assert_eq!(whole(&told, "file").await.unwrap(), "first");
    let asked = hub.asked_since(before);
    assert!(asked.iter().all(|request| request.target.contains(&first)), "{asked:#?}");
    let named = open(&format!("hf://org/tiny@{second}"), &hub);
    assert!(named.pinned());
    named.pin(&first);
    assert_eq!(named.resolve().await, Ok(second));
}

#[tokio::test]
async fn a_whole_hub_is_a_directory_of_repositories() {
    let Some(hub) = StandIn::start(&[]) else { return };
    hub.write("models/org/tiny/main/sub/file", b"model");
    hub.write("models/org/tiny/refs%2Fpr%2F1/sub/file", b"request");
    hub.write("datasets/org/ds/main/data.parquet", b"data");
    let origin = open("hf://", &hub);
    assert!(origin.pinned() && origin.resolve().await.is_err());
    for (key, bytes) in [
        ("org/tiny@main/sub/file", "model"),
        ("org/tiny/sub/file", "model"),
        ("org/tiny@refs%2Fpr%2F1/sub/file", "request"),
        ("datasets/org/ds@main/data.parquet", "data"),
    ] {
        assert_eq!(whole(&origin, key).await.unwrap(), bytes, "{key}");
    }
    for key in ["org", "datasets", "datasets/org", "org/tiny", "org/tiny@main", "org/tiny@main/sub", "datasets/org/ds@main"] {
        assert_eq!(origin.is_directory(key).await, Ok(true), "{key}");
        assert_eq!(origin.head(key).await.unwrap_err().kind(), "not_found", "{key}");
    }
    for key in ["org/none", "org/tiny@none", "org/tiny@main/sub/file", "org/ti ny", "org/tiny@"] {
        assert_eq!(origin.is_directory(key).await, Ok(false), "{key}");
    }
    for key in ["", "org", "datasets"] {
        assert_eq!(origin.list(key, None).await.unwrap_err().kind(), "unlisted", "{key}");
    }
    assert_eq!(names(&list(&origin, "org/tiny").await.unwrap()), ["sub/"]);

    let told: Told = serde_json::from_slice(&origin.document("models/org/tiny/revision/main").await.unwrap()).unwrap();
    let key = format!("org/tiny@{}/sub/file", told.sha);
    hub.write("models/org/tiny/main/sub/file", b"moved");
    assert_eq!(whole(&origin, &key).await.unwrap(), "model");
    assert_eq!(whole(&origin, "org/tiny@main/sub/file").await.unwrap(), "moved");
    assert_eq!(origin.lifetime(&key), Lifetime::Forever);
    assert_eq!(origin.lifetime(&format!("models/org/tiny/tree/{}?recursive=true", told.sha)), Lifetime::Forever);
    for moving in ["org/tiny@main/sub/file", "models/org/tiny/revision/main"] {
        assert_eq!(origin.lifetime(moving), Lifetime::For(Duration::ZERO), "{moving}");
    }
}

#[derive(serde::Deserialize)]
struct Told {
    sha: String,
}

#[derive(serde::Deserialize)]
struct Entry {
    path: String,
}

#[tokio::test]
async fn the_pages_of_a_document_are_one() {
    let Some(hub) = StandIn::start(&["--page", "7"]) else { return };
    let expected: Vec<String> = (100..150).map(|n| format!("dir/{n}")).collect();
    for path in &expected {
        hub.write(&format!("models/org/tiny/main/{path}"), b"x");
    }
    let origin = open("hf://", &hub);
    let text = origin.document("models/org/tiny/tree/main/dir?recursive=true&expand=false").await.unwrap();
    let entries: Vec<Entry> = serde_json::from_slice(&text).unwrap();
    assert_eq!(entries.into_iter().map(|entry| entry.path).collect::<Vec<_>>(), expected);
    for path in ["models/org/none", "models/org/tiny/tree/none", "../org/tiny/resolve/main/dir/100"] {
        assert_eq!(origin.document(path).await.unwrap_err().kind(), "not_found", "{path}");
    }
    assert_eq!(open("hf://org/tiny", &hub).document("models/org/tiny").await.unwrap_err().kind(), "not_found");
}

#[tokio::test]
async fn what_broke_off_goes_on_where_it_broke() {
    let Some(hub) = StandIn::start(&[]) else { return };
    let bytes = pattern(LARGE);
    hub.write("models/org/tiny/main/model.safetensors", &bytes);
    let origin = open("hf://org/tiny", &hub);
    let model = object(&origin, "model.safetensors").await;
    hub.fault("break?bytes=1000000&times=2");
    assert!(read(&origin, &model, ByteRange::new(0, model.size)).await.unwrap() == bytes);
    let ranges: Vec<String> = hub.asked().into_iter().filter(|asked| asked.side == "cdn").map(|asked| asked.range).collect();
    let last = LARGE - 1;
    assert_eq!(ranges, [format!("bytes=0-{last}"), format!("bytes=1000000-{last}"), format!("bytes=2000000-{last}")]);
}

#[tokio::test]
async fn a_hub_that_has_too_many_requests_is_left_alone_and_asked_again() {
    let Some(hub) = StandIn::start(&[]) else { return };
    hub.write("models/org/tiny/main/file", b"x");
    let origin = open("hf://org/tiny", &hub);
    let mut held = origin.held();
    hub.fault("throttle?seconds=1&times=1");
    assert_eq!(whole(&origin, "file").await.unwrap(), "x");
    held.changed().await.unwrap();
}

/// The token comes from the environment, so the half that has one is this test in a process of its own.
#[tokio::test]
async fn a_token_opens_what_is_gated_and_goes_to_the_hub_only() {
    const HERE: &str = "HERRING_TEST_HUB";
    if let Ok(endpoint) = std::env::var(HERE) {
        let origin = open_at("hf://org/gated?", &endpoint);
        assert_eq!(whole(&origin, "small").await.unwrap(), "small");
        assert_eq!(whole(&origin, "large.bin").await.unwrap(), "large");
        return;
    }
    let Some(hub) = StandIn::start(&["--gated", "models/org/gated", "--token", "hf_hush"]) else { return };
    hub.write("models/org/gated/main/small", b"small");
    hub.write("models/org/gated/main/large.bin", b"large");
    let origin = open("hf://org/gated", &hub);
    let error = whole(&origin, "small").await.unwrap_err();
    assert!(error.kind() == "denied" && error.to_string().contains("HF_TOKEN"), "{error}");

    let before = hub.asked().len();
    let test = "a_token_opens_what_is_gated_and_goes_to_the_hub_only";
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args([test, "--nocapture"]).env("HF_TOKEN", "hf_hush").env(HERE, hub.endpoint());
    let child = child.output().unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
    assert!(String::from_utf8_lossy(&child.stdout).contains("1 passed"), "it was this test that ran");
    let asked = hub.asked_since(before);
    assert!(asked.iter().any(|request| request.side == "cdn"));
    assert!(asked.iter().all(|request| request.authorized == (request.side == "hub")), "{asked:#?}");
}

#[test]
fn what_cannot_be_a_hub_says_why() {
    let refused = |url: &str| {
        let spec = format!("m={url}").parse::<OriginSpec>();
        spec.and_then(|spec| Origins::new([spec])).unwrap_err().to_string()
    };
    for (url, says) in [
        ("hf://gpt2", "hf://ORG/NAME@REVISION"),
        ("hf://org/na me@main", "hf://ORG/NAME@REVISION"),
        ("hf://org/name@main/../x", "hf://ORG/NAME@REVISION"),
        ("hf://org/name@main?region=x", "endpoint=URL"),
        ("hf://org/name@main?pinned=maybe", "pinned=true|false"),
        ("hf://org/name@main?endpoint=localhost", "endpoint"),
        ("hf://org/name@main?endpoint=http://user:hush@host", "HF_TOKEN"),
    ] {
        let text = refused(url);
        assert!(text.contains("\"m\"") && text.contains(says) && !text.contains("hush"), "{url}: {text}");
    }
    let whole = |url: &str| format!("m={url}").parse::<OriginSpec>().unwrap().is_whole_hub();
    assert!(whole("hf://") && whole("hf://?endpoint=http://h") && whole("hf:///?ttl=1"));
    assert!(!whole("hf://org/name") && !whole("file:///"));
}
