//! What every kind of origin promises, held against each kind there is.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use futures_util::future::try_join_all;
use herring_blob::{ByteRange, MAX_CHUNK_SIZE, ObjectRef};
use herring_origin::{ConfigError, Listed, Origin, OriginError, OriginSpec, Origins};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

fn open(spec: &str) -> Result<Origin, ConfigError> {
    let spec: OriginSpec = spec.parse()?;
    let name = spec.name().to_owned();
    Ok(Origins::new([spec])?.get(&name).expect("it was just named").clone())
}

fn directory(path: &Path) -> Origin {
    open(&format!("truth=file://{}", path.display())).unwrap()
}

/// A real S3 server over `root`, where every directory is a bucket. It ends with the test's runtime.
async fn serve(service: S3Service) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let service = service.clone();
            tokio::spawn(async move { Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await });
        }
    });
    endpoint
}

fn bucket_server(root: &Path) -> S3ServiceBuilder {
    S3ServiceBuilder::new(s3s_fs::FileSystem::new(root).unwrap())
}

fn bucket(path: &str, endpoint: &str) -> Origin {
    open(&format!("truth=s3://{path}?endpoint={endpoint}&anonymous=true&region=us-east-1&path_style=true")).unwrap()
}

fn write(truth: &Path, key: &str, bytes: &[u8]) {
    let path = truth.join(key);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn pattern(len: usize) -> Vec<u8> {
    (0..=u8::MAX).cycle().map(|byte| byte.wrapping_mul(31)).take(len).collect()
}

async fn head(origin: &Origin, key: &str) -> ObjectRef {
    origin.head(key).await.unwrap().object
}

/// All of it at once.
async fn read(origin: &Origin, object: &ObjectRef, range: ByteRange) -> Result<Bytes, OriginError> {
    let whole = origin.read(object, range).await?.try_fold(Vec::new(), |mut whole, part| async move {
        whole.extend_from_slice(&part);
        Ok(whole)
    });
    whole.await.map(Bytes::from)
}

fn names(listed: &[Listed]) -> Vec<String> {
    listed
        .iter()
        .map(|entry| format!("{}{}", entry.name(), if matches!(entry, Listed::Directory { .. }) { "/" } else { "" }))
        .collect()
}

/// The promises. `truth` is the directory that the origin shows, and is empty.
async fn conforms(origin: &Origin, truth: &Path) {
    an_empty_root_is_an_empty_list(origin).await;
    heads_name_versions(origin, truth).await;
    ranges_are_exact(origin, truth).await;
    any_legal_key_works(origin, truth).await;
    hostile_keys_are_refused(origin).await;
    another_version_is_never_given(origin, truth).await;
    what_is_missing_is_not_found(origin).await;
    lists_are_one_level(origin, truth).await;
    lists_are_whole(origin, truth).await;
    ranges_may_be_read_at_once(origin, truth).await;
}

async fn an_empty_root_is_an_empty_list(origin: &Origin) {
    assert_eq!(origin.list("").await, Ok(vec![]));
}

async fn heads_name_versions(origin: &Origin, truth: &Path) {
    write(truth, "models/one.bin", b"one");
    let info = origin.head("models/one.bin").await.unwrap();
    assert_eq!((info.object.origin.as_str(), info.object.key.as_str(), info.object.size), ("truth", "models/one.bin", 3));
    assert!(!info.object.version.is_empty());
    let written = fs::metadata(truth.join("models/one.bin")).unwrap().modified().unwrap();
    // HTTP's dates have whole seconds.
    assert!(written.duration_since(info.modified).unwrap() < Duration::from_secs(1));
    assert_eq!(origin.head("models/one.bin").await.unwrap(), info);
}

async fn ranges_are_exact(origin: &Origin, truth: &Path) {
    let bytes = pattern(100_003);
    write(truth, "ranges", &bytes);
    let object = head(origin, "ranges").await;
    for (start, end) in [(0, 1), (100_002, 100_003), (0, 100_003), (4095, 70_001), (5, 5), (100_003, 100_003)] {
        let part = read(origin, &object, ByteRange::new(start, end)).await.unwrap();
        assert_eq!(part, bytes[usize::try_from(start).unwrap()..usize::try_from(end).unwrap()], "{start}..{end}");
    }
    for (start, end) in [(100_002, 100_004), (100_004, 100_004), (0, u64::MAX)] {
        let error = read(origin, &object, ByteRange::new(start, end)).await.unwrap_err();
        assert_eq!(error.kind(), "out_of_range", "{error}");
    }
    let huge = ObjectRef { size: u64::MAX, ..object };
    let error = read(origin, &huge, ByteRange::at(0, u64::from(MAX_CHUNK_SIZE) + 1)).await.unwrap_err();
    assert_eq!(error.kind(), "out_of_range", "one read holds no more than a chunk in memory");

    write(truth, "empty", b"");
    let empty = head(origin, "empty").await;
    assert_eq!(empty.size, 0);
    assert_eq!(read(origin, &empty, ByteRange::new(0, 0)).await.unwrap(), "");
}

async fn any_legal_key_works(origin: &Origin, truth: &Path) {
    let keys = ["with space", "ünïcode 鯡", "100%", "%2e%2e", "a+b&c=d?e", "~`'\"<>[]{}^\\", "part#1", "...", "-f"];
    for key in keys.map(|name| format!("odd/{name}")) {
        write(truth, &key, key.as_bytes());
        let object = head(origin, &key).await;
        assert_eq!(read(origin, &object, ByteRange::new(0, object.size)).await.unwrap(), key.as_bytes());
    }
    let listed = origin.list("odd").await.unwrap();
    let mut expected = keys.map(str::to_owned);
    expected.sort();
    assert_eq!(names(&listed), expected);
}

async fn hostile_keys_are_refused(origin: &Origin) {
    for key in ["/etc/passwd", "../secret", "a/../../secret", "a/./b", "a//b", "a/", "nul\0", "new\nline"] {
        let object = ObjectRef { origin: "truth".into(), key: key.into(), version: "v".into(), size: 1 };
        let errors = [
            origin.head(key).await.unwrap_err(),
            read(origin, &object, ByteRange::new(0, 1)).await.unwrap_err(),
            origin.list(key).await.unwrap_err(),
        ];
        assert!(errors.iter().all(|error| error.kind() == "invalid_key"), "{errors:?}");
    }
    assert_eq!(origin.head("").await.unwrap_err().kind(), "invalid_key");
}

async fn another_version_is_never_given(origin: &Origin, truth: &Path) {
    write(truth, "changing", b"first");
    let first = head(origin, "changing").await;
    let lies = [
        ObjectRef { version: "\"other\"".into(), ..first.clone() },
        ObjectRef { version: "other".into(), ..first.clone() },
        ObjectRef { size: 4, version: "\"other\"".into(), ..first.clone() },
        ObjectRef { size: 50, version: "\"other\"".into(), ..first.clone() },
    ];
    for lie in lies {
        expect_changed(origin, &lie, ByteRange::new(0, 1)).await;
        expect_changed(origin, &lie, ByteRange::new(2, lie.size)).await;
        expect_changed(origin, &lie, ByteRange::new(1, 1)).await;
    }
    expect_changed(origin, &ObjectRef { size: 50, ..first.clone() }, ByteRange::new(10, 20)).await;

    write(truth, "changing", b"second");
    expect_changed(origin, &first, ByteRange::new(0, 5)).await;
    let second = head(origin, "changing").await;
    assert_ne!(first.id(), second.id());
    assert_eq!(read(origin, &second, ByteRange::new(0, 6)).await.unwrap(), "second");
}

async fn expect_changed(origin: &Origin, object: &ObjectRef, range: ByteRange) {
    let (key, version) = (object.key.clone(), object.version.clone());
    let changed = OriginError::Changed { origin: "truth".into(), key, version };
    assert_eq!(read(origin, object, range).await, Err(changed), "{range} of {object:?}");
}

async fn what_is_missing_is_not_found(origin: &Origin) {
    let missing = |key: &str| OriginError::NotFound { origin: "truth".into(), key: key.into() };
    let object = ObjectRef { origin: "truth".into(), key: "no".into(), version: "\"v\"".into(), size: 9 };
    assert_eq!(origin.head("no/such").await, Err(missing("no/such")));
    assert_eq!(origin.head("ranges/below-an-object").await, Err(missing("ranges/below-an-object")));
    assert_eq!(read(origin, &object, ByteRange::new(0, 9)).await, Err(missing("no")));
    assert_eq!(read(origin, &object, ByteRange::new(0, 0)).await, Err(missing("no")));
    assert_eq!(origin.list("no/such").await, Err(missing("no/such")));
    assert_eq!(origin.list("range").await, Err(missing("range")), "part of a name is no directory");
    assert_eq!(origin.list("ranges").await, Err(missing("ranges")), "an object is no directory");
}

async fn lists_are_one_level(origin: &Origin, truth: &Path) {
    for key in ["list/b", "list/sub/one", "list/sub/deep/two", "list/suburb", "listing/other", "list/z/y"] {
        write(truth, key, key.as_bytes());
    }
    let listed = origin.list("list").await.unwrap();
    assert_eq!(names(&listed), ["b", "sub/", "suburb", "z/"]);
    assert_eq!(names(&origin.list("list/sub").await.unwrap()), ["deep/", "one"]);
    assert!(names(&origin.list("").await.unwrap()).contains(&"listing/".to_owned()));
    let info = origin.head("list/b").await.unwrap();
    let Listed::Object { size, version, .. } = &listed[0] else { panic!("{listed:?}") };
    assert_eq!(*size, info.object.size);
    assert!(version.as_ref().is_none_or(|version| *version == info.object.version), "{version:?}");
}

/// 1,200 are more than a page of S3's, which holds 1,000.
async fn lists_are_whole(origin: &Origin, truth: &Path) {
    let expected: Vec<String> = (1000..2200).map(|n| n.to_string()).collect();
    fs::create_dir(truth.join("many")).unwrap();
    for name in &expected {
        fs::write(truth.join("many").join(name), b"").unwrap();
    }
    assert_eq!(names(&origin.list("many").await.unwrap()), expected);
}

async fn ranges_may_be_read_at_once(origin: &Origin, truth: &Path) {
    let bytes = pattern(16 * 10_000);
    write(truth, "wide", &bytes);
    let object = head(origin, "wide").await;
    let reads = (0..16).map(|n| read(origin, &object, ByteRange::at(n * 10_000, 10_000)));
    assert_eq!(try_join_all(reads).await.unwrap().concat(), bytes);
}

#[tokio::test]
async fn a_directory_conforms() {
    let root = TempDir::new().unwrap();
    conforms(&directory(root.path()), root.path()).await;
}

#[tokio::test]
async fn a_bucket_conforms() {
    let root = TempDir::new().unwrap();
    let truth = root.path().join("models");
    fs::create_dir(&truth).unwrap();
    let endpoint = serve(bucket_server(root.path()).build()).await;
    conforms(&bucket("models", &endpoint), &truth).await;
}

#[tokio::test]
async fn a_prefix_of_a_bucket_conforms() {
    let root = TempDir::new().unwrap();
    let truth = root.path().join("models/some where/v1");
    fs::create_dir_all(&truth).unwrap();
    write(root.path(), "models/some where/v10/neighbour", b"");
    let endpoint = serve(bucket_server(root.path()).build()).await;
    conforms(&bucket("models/some%20where/v1/", &endpoint), &truth).await;
}

#[tokio::test]
async fn links_stay_inside_the_directory() {
    let (root, outside) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    write(outside.path(), "secret", b"secret");
    write(root.path(), "blobs/abc", b"inside");
    symlink("../blobs/abc", root.path().join("blobs/relative")).unwrap();
    symlink(root.path().join("blobs/abc"), root.path().join("absolute")).unwrap();
    symlink(outside.path().join("secret"), root.path().join("out")).unwrap();
    symlink(outside.path(), root.path().join("outdir")).unwrap();
    let origin = directory(root.path());

    for key in ["absolute", "blobs/relative"] {
        let object = head(&origin, key).await;
        assert_eq!(read(&origin, &object, ByteRange::new(0, 6)).await.unwrap(), "inside");
    }
    for key in ["out", "outdir/secret"] {
        assert_eq!(origin.head(key).await.unwrap_err().kind(), "denied");
    }
    assert_eq!(origin.list("outdir").await.unwrap_err().kind(), "denied");
    assert_eq!(names(&origin.list("").await.unwrap()), ["absolute", "blobs/"]);
}

#[tokio::test]
async fn a_file_that_was_touched_is_another_version() {
    let root = TempDir::new().unwrap();
    let origin = directory(root.path());
    let path = root.path().join("file");
    let whole = ByteRange::new(0, 4);

    fs::write(&path, "1234").unwrap();
    let object = head(&origin, "file").await;
    fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"5").unwrap();
    expect_changed(&origin, &object, whole).await;

    let object = head(&origin, "file").await;
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(root.path().join("new"), "abcde").unwrap();
    fs::File::open(root.path().join("new")).unwrap().set_modified(modified).unwrap();
    fs::rename(root.path().join("new"), &path).unwrap();
    expect_changed(&origin, &object, whole).await;

    let object = head(&origin, "file").await;
    fs::File::open(&path).unwrap().set_modified(modified + Duration::from_nanos(1)).unwrap();
    expect_changed(&origin, &object, whole).await;
}

#[tokio::test]
async fn a_file_is_shown_part_by_part_and_nothing_of_its_next_version() {
    let (size, size_in_bytes) = (1 << 20, 1 << 20);
    let root = TempDir::new().unwrap();
    let origin = directory(root.path());
    let path = root.path().join("file");
    let overwritten = || fs::write(&path, vec![b'b'; size]).unwrap();
    let replaced = || {
        fs::write(root.path().join("new"), vec![b'b'; size]).unwrap();
        fs::rename(root.path().join("new"), &path).unwrap();
    };
    let cut = || fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(300_000).unwrap();
    let changes: [&dyn Fn(); 3] = [&overwritten, &replaced, &cut];
    for change in changes {
        fs::write(&path, vec![b'a'; size]).unwrap();
        let object = head(&origin, "file").await;
        let mut parts = origin.read(&object, ByteRange::new(0, size_in_bytes)).await.unwrap();
        for _ in 0..2 {
            assert_eq!(parts.try_next().await.unwrap().unwrap(), vec![b'a'; 256 << 10]);
        }
        change();
        assert_eq!(parts.try_next().await.unwrap_err().kind(), "changed");
        assert_eq!(parts.try_next().await, Ok(None), "an error is the end");
    }
}

/// A server of one object, which it gives in answers that are written out. It ends with the test's runtime.
struct Scripted {
    listener: TcpListener,
    origin: Origin,
}

/// Bytes of the scripted object.
const SCRIPTED: usize = 200_000;

impl Scripted {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = bucket("models", &format!("http://{}", listener.local_addr().unwrap()));
        Self { listener, origin }
    }

    fn object() -> ObjectRef {
        ObjectRef { origin: "truth".into(), key: "file".into(), version: "\"v1\"".into(), size: SCRIPTED as u64 }
    }

    /// Begins to read all of it.
    fn read(&self) -> impl Future<Output = Result<herring_origin::Parts, OriginError>> + use<> {
        let origin = self.origin.clone();
        async move { origin.read(&Self::object(), ByteRange::new(0, SCRIPTED as u64)).await }
    }

    /// The next connection, its request read.
    async fn asked(&self) -> TcpStream {
        let (mut socket, _) = self.listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await.unwrap());
        }
        socket
    }
}

/// The head of an answer that gives this version from `start` on.
fn partial(version: &str, start: usize) -> String {
    let (length, last) = (SCRIPTED - start, SCRIPTED - 1);
    format!(
        "HTTP/1.1 206 Partial Content\r\nETag: \"{version}\"\r\nContent-Length: {length}\r\n\
         Content-Range: bytes {start}-{last}/{SCRIPTED}\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n\r\n"
    )
}

#[tokio::test]
async fn a_buckets_bytes_are_shown_as_they_come() {
    let server = Scripted::start().await;
    let (shown, go_on) = oneshot::channel();
    let give = async {
        let mut socket = server.asked().await;
        socket.write_all(partial("v1", 0).as_bytes()).await.unwrap();
        socket.write_all(&[b'a'; SCRIPTED / 2]).await.unwrap();
        go_on.await.unwrap();
        socket.write_all(&[b'a'; SCRIPTED / 2]).await.unwrap();
        socket
    };
    let take = async {
        let mut parts = server.read().await.unwrap();
        let first = parts.try_next().await.unwrap().unwrap();
        shown.send(()).unwrap();
        parts.try_fold(first.len(), |all, part| async move { Ok(all + part.len()) }).await
    };
    assert_eq!(tokio::join!(take, give).0, Ok(SCRIPTED));
}

/// The connection breaks in the middle, and the object is another one when it is asked for the rest.
#[tokio::test]
async fn a_bucket_that_changes_in_the_middle_shows_nothing_of_the_next_version() {
    let refused = "HTTP/1.1 412 Precondition Failed\r\nContent-Length: 0\r\n\r\n".to_owned();
    let ignored = partial("v2", SCRIPTED / 2);
    for (answer, kind) in [(refused, "changed"), (ignored, "unavailable")] {
        let server = Scripted::start().await;
        let give = async {
            let mut socket = server.asked().await;
            socket.write_all(partial("v1", 0).as_bytes()).await.unwrap();
            socket.write_all(&[b'a'; SCRIPTED / 2]).await.unwrap();
            drop(socket);
            let mut socket = server.asked().await;
            socket.write_all(answer.as_bytes()).await.unwrap();
            // Whoever has read enough may be gone.
            let _ = socket.write_all(&[b'b'; SCRIPTED / 2]).await;
        };
        let take = async {
            let mut parts = server.read().await.unwrap();
            let mut shown = 0;
            let error = loop {
                match parts.try_next().await {
                    Ok(part) => {
                        let part = part.expect("this is not all of it");
                        assert!(part.iter().all(|byte| *byte == b'a'));
                        shown += part.len();
                    }
                    Err(error) => break error,
                }
            };
            (shown, error.kind())
        };
        assert_eq!(tokio::join!(take, give).0, (SCRIPTED / 2, kind));
    }
}

#[tokio::test]
async fn what_is_no_file_is_not_found_and_not_waited_for() {
    let root = TempDir::new().unwrap();
    fs::create_dir(root.path().join("dir")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, root.path().join("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let origin = directory(root.path());
    for key in ["dir", "pipe"] {
        assert_eq!(origin.head(key).await.unwrap_err().kind(), "not_found");
    }
    assert_eq!(origin.list("dir").await, Ok(vec![]));
    assert_eq!(names(&origin.list("").await.unwrap()), ["dir/"]);
}

#[tokio::test]
async fn a_bucket_that_refuses_is_denied() {
    let root = TempDir::new().unwrap();
    write(root.path(), "models/file", b"x");
    let mut server = bucket_server(root.path());
    server.set_auth(SimpleAuth::from_single("key", "secret"));
    let origin = bucket("models", &serve(server.build()).await);
    let errors = [origin.head("file").await.unwrap_err(), origin.list("").await.unwrap_err()];
    assert!(errors.iter().all(|error| error.kind() == "denied"), "{errors:?}");
}

#[tokio::test]
async fn a_server_that_is_away_is_unavailable() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    let error = bucket("models", &endpoint).head("file").await.unwrap_err();
    assert_eq!(error.kind(), "unavailable");
    let text = error.to_string();
    assert!(text.contains("truth") && text.contains("file") && text.contains("refused"), "{text}");
}

#[test]
fn what_cannot_be_an_origin_says_why() {
    let root = TempDir::new().unwrap();
    let file = root.path().join("file");
    fs::write(&file, "").unwrap();
    let refused = |spec: String| open(&spec).unwrap_err().to_string();
    for (spec, says) in [
        ("m=ftp://host/".to_owned(), "file://, s3://"),
        (format!("m=file://{}/missing", root.path().display()), "create it"),
        (format!("m=file://{}", file.display()), "not a directory"),
        ("m=file://relative/path".to_owned(), "file:///path"),
        ("m=file:///tmp?region=x".to_owned(), "use ttl=SECONDS"),
        ("m=file:///tmp?ttl=soon".to_owned(), "whole seconds"),
        ("m=s3:///prefix".to_owned(), "s3://BUCKET"),
        ("m=s3://127.0.0.1:9000/bucket".to_owned(), "?endpoint="),
        ("m=s3://bucket/a/../../b?nonsense=1".to_owned(), "endpoint=URL"),
        ("m=s3://bucket?anonymous=maybe".to_owned(), "anonymous=true|false"),
        ("m=s3://bucket?endpoint=localhost".to_owned(), "endpoint"),
        ("m=s3://bucket?endpoint=http://user:hush@host".to_owned(), "AWS_ACCESS_KEY_ID"),
    ] {
        let text = refused(spec.clone());
        assert!(text.contains("\"m\"") && text.contains(says) && !text.contains("hush"), "{spec}: {text}");
    }
}

#[test]
fn names_are_unique_and_sorted() {
    let root = TempDir::new().unwrap();
    let spec = |name: &str| OriginSpec::new(name, &format!("file://{}", root.path().display())).unwrap();
    let origins = Origins::new([spec("b"), spec("a")]).unwrap();
    assert_eq!(origins.names().collect::<Vec<_>>(), ["a", "b"]);
    assert!(origins.get("c").is_none());
    assert_eq!(Origins::new([spec("a"), spec("a")]).unwrap_err(), ConfigError::Twice("a".into()));
}
