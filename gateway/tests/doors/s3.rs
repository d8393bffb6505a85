use std::fs;
use std::path::Path;

use http::{Request, StatusCode};
use http_body_util::BodyExt;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tower::ServiceExt;

use crate::node::{Node, have, script};

fn write(root: &Path, key: &str, bytes: &[u8]) {
    let path = root.join(key);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Names beside which a directory sorts otherwise than by its own name, odd ones, and more than one level of them.
fn plant(root: &Path) {
    for key in ["a/b/c/d", "a/b/c-d", "a/b-c/d", "a/b.c", "a/bc", "a-b/x", "a.b", "ab", "zz/y/x/w/v/u", "B", "é/1"] {
        write(root, key, key.as_bytes());
    }
    for n in 0..40 {
        write(root, &format!("list/{n:02}"), b"12");
        write(root, &format!("list/dir{}/{n:02}", n % 3), b"123");
    }
    for name in ["with space", "100%", "a+b&c=d?e", "part#1", "<x>&\"'", "ünïcode"] {
        write(root, &format!("odd/{name}"), name.as_bytes());
    }
    write(root, "odd/nothing", b"");
    fs::create_dir_all(root.join("zz/nothing/below")).unwrap();
    let large: Vec<u8> = (0u32..5_000_000).map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    write(root, "large.bin", &large);
}

#[tokio::test(flavor = "multi_thread")]
async fn boto3_reads_an_origin_as_a_bucket() {
    if !have("boto3", "boto3").await {
        return;
    }
    let (root, work) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    plant(root.path());
    let origin = |name: &str| format!("{name}=file://{}", root.path().display());
    let node = Node::start(&[origin("data"), origin("m_1")]).await;
    let (root, work) = (root.path().to_str().unwrap(), work.path().to_str().unwrap());
    script("s3_client.py", &[&format!("{}/s3", node.url), root, work], &[]).await;
    // Large downloads are fetched in parts.
    assert!(node.asked().iter().any(|asked| asked.contains("GET /s3/data/large.bin bytes=")));
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_asked_is_answered() {
    let node = Node::start(&[]).await;
    for (method, path, status) in [
        ("GET", "/", StatusCode::OK),
        ("GET", "/none", StatusCode::NOT_FOUND),
        ("GET", "/none?list-type=2", StatusCode::NOT_FOUND),
        ("GET", "/none/key?versionId=1", StatusCode::NOT_FOUND),
        ("GET", "/%FF/key", StatusCode::BAD_REQUEST),
        ("PATCH", "/none/key", StatusCode::METHOD_NOT_ALLOWED),
    ] {
        let request = Request::builder().method(method).uri(path).body(()).unwrap();
        let Ok(answer) = node.s3.clone().oneshot(request).await;
        assert_eq!(answer.status(), status, "{method} {path}");
    }
}

/// Whoever names no version is not told that this node believed in an old one.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_replaced_is_read_as_it_is_now() {
    let root = TempDir::new().unwrap();
    write(root.path(), "beside", b"the new one");
    write(root.path(), "k", b"old");
    let node = Node::start(&[format!("data=file://{}?ttl=3600", root.path().display())]).await;
    let ask = async |method: &str| {
        let request = Request::builder().method(method).uri("/data/k").body(()).unwrap();
        let Ok(answer) = node.s3.clone().oneshot(request).await;
        (answer.status(), answer.into_body().collect().await.unwrap().to_bytes())
    };
    assert_eq!(ask("HEAD").await.0, StatusCode::OK);
    fs::rename(root.path().join("beside"), root.path().join("k")).unwrap();
    assert_eq!(ask("GET").await, (StatusCode::OK, "the new one".into()));
}

/// Who goes on with what it has would have two versions in one.
#[tokio::test(flavor = "multi_thread")]
async fn a_part_is_given_of_the_version_that_is_named() {
    let root = TempDir::new().unwrap();
    write(root.path(), "k", b"0123456789");
    let node = Node::start(&[format!("data=file://{}?ttl=3600", root.path().display())]).await;
    let ask = async |if_range: &str| {
        let request = Request::builder().uri("/data/k").header("range", "bytes=0-2").header("if-range", if_range);
        let Ok(answer) = node.s3.clone().oneshot(request.body(()).unwrap()).await;
        let (status, headers) = (answer.status(), answer.headers().clone());
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes().len(), if status == 206 { 3 } else { 10 });
        (status, headers)
    };
    let (other, headers) = ask("\"other\"").await;
    assert_eq!(other, StatusCode::OK);
    for same in ["etag", "last-modified"] {
        assert_eq!(ask(headers[same].to_str().unwrap()).await.0, StatusCode::PARTIAL_CONTENT, "{same}");
    }
    assert_eq!(ask("Thu, 01 Jan 1970 00:00:00 GMT").await.0, StatusCode::OK);
}

/// What the listing says of a key is true of the key.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_has_a_tag_where_its_origin_lists_none() {
    let page = "<ListBucketResult><Contents><Key>k</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><Size>LEN</Size></Contents></ListBucketResult>";
    // The listing is also what is at the key.
    let page = page.replace("LEN", &page.len().to_string());
    let said = "200 OK\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\nETag: \"own\"";
    let node = Node::start(&[bucket(answer(said, &page)).await]).await;
    let Ok(listing) = node.s3.clone().oneshot(Request::builder().uri("/data?list-type=2").body(()).unwrap()).await;
    let text = String::from_utf8(listing.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap();
    let tag = text.split("<ETag>").nth(1).unwrap().split("</ETag>").next().unwrap().replace("&quot;", "\"");
    assert_eq!(tag, format!("\"6955b900-{:x}\"", page.len()));
    for known in [tag.as_str(), "\"own\""] {
        for (name, status) in [("if-match", 200), ("if-none-match", 304)] {
            let request = Request::builder().method("HEAD").uri("/data/k").header(name, known).body(()).unwrap();
            let Ok(answer) = node.s3.clone().oneshot(request).await;
            assert_eq!(answer.status(), status, "{name} {known}");
        }
    }
}

/// A part of a listing: its keys, and where it goes on.
async fn part(node: &Node, token: Option<&str>) -> (Vec<String>, Option<String>) {
    let token = token.map(|token| format!("&continuation-token={}", utf8_percent_encode(token, NON_ALPHANUMERIC)));
    let uri = format!("/data?list-type=2{}", token.unwrap_or_default());
    let Ok(answer) = node.s3.clone().oneshot(Request::builder().uri(uri).body(()).unwrap()).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let text = String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap();
    let all = |tag: &str| {
        let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
        let inner = text.split(&open).skip(1).map(|rest| rest.split(&close).next().unwrap().replace("&quot;", "\""));
        inner.collect::<Vec<_>>()
    };
    (all("Key"), all("NextContinuationToken").pop())
}

/// An answer asks for at most a hundred directories, those counted that it goes through to where the one before ended.
#[tokio::test(flavor = "multi_thread")]
async fn directories_that_are_gone_through_again_are_counted() {
    let root = TempDir::new().unwrap();
    let deep = vec!["d"; 60].join("/");
    (0..100).for_each(|n| fs::create_dir_all(root.path().join(&deep).join(format!("{n:03}"))).unwrap());
    write(root.path(), &format!("{deep}/last"), b"");
    let node = Node::start(&[format!("data=file://{}", root.path().display())]).await;
    let (mut keys, mut token, mut answers) = (Vec::new(), None, 0);
    loop {
        let (more, next) = part(&node, token.as_deref()).await;
        keys.extend(more);
        answers += 1;
        token = next;
        if token.is_none() {
            break;
        }
    }
    let empty = (0..100).map(|n| format!("{deep}/{n:03}/"));
    assert_eq!(keys, empty.chain([format!("{deep}/last")]).collect::<Vec<_>>());
    assert_eq!(answers, 3, "61 directories to go through, and 39 of the hundred at a time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_deeper_than_an_answer_may_go_is_listed_to_its_end() {
    let root = TempDir::new().unwrap();
    let deep = vec!["d"; 130].join("/");
    write(root.path(), &format!("{deep}/key"), b"");
    write(root.path(), "z", b"");
    let node = Node::start(&[format!("data=file://{}", root.path().display())]).await;
    let (mut keys, mut token) = (Vec::new(), None);
    for _ in 0..100 {
        let (more, next) = part(&node, token.as_deref()).await;
        keys.extend(more);
        token = next;
        if token.is_none() {
            break;
        }
    }
    assert_eq!(keys, [format!("{deep}/key"), "z".to_owned()]);
}

/// Says the same to whoever asks, until the test's runtime ends.
async fn bucket(answer: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(socket.read_u8().await.unwrap());
            }
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    format!("data=s3://bucket?endpoint={endpoint}&anonymous=true&region=r&path_style=true")
}

fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_fails_is_no_empty_one() {
    let node = Node::start(&[bucket(answer("400 Bad Request", "")).await]).await;
    for (query, status) in [("", StatusCode::NOT_FOUND), ("&prefix=a/", StatusCode::NOT_FOUND), ("&prefix=a//", StatusCode::OK)] {
        let request = Request::builder().uri(format!("/data?list-type=2{query}")).body(()).unwrap();
        let Ok(answer) = node.s3.clone().oneshot(request).await;
        assert_eq!(answer.status(), status, "{query}");
    }
}

/// Of one that has bytes they cannot be given, and none are made up.
#[tokio::test(flavor = "multi_thread")]
async fn only_a_key_without_bytes_marks_an_empty_directory() {
    for (size, status) in [(0, StatusCode::OK), (5, StatusCode::NOT_FOUND)] {
        let page = format!(
            "<ListBucketResult><Contents><Key>d/</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><Size>{size}</Size></Contents></ListBucketResult>"
        );
        let node = Node::start(&[bucket(answer("200 OK", &page)).await]).await;
        for method in ["HEAD", "GET"] {
            let Ok(answer) = node.s3.clone().oneshot(Request::builder().method(method).uri("/data/d/").body(()).unwrap()).await;
            assert_eq!(answer.status(), status, "{method} {size}");
        }
        let Ok(listing) = node.s3.clone().oneshot(Request::builder().uri("/data?list-type=2&prefix=d/").body(()).unwrap()).await;
        let text = String::from_utf8(listing.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap();
        assert_eq!(text.contains("<Key>d/</Key>"), size == 0, "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_no_path_can_spell_hide_no_others() {
    let entry = |key: &str| {
        format!("<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><Size>1</Size></Contents>")
    };
    let page = format!("<ListBucketResult>{}</ListBucketResult>", ["1", ".", "a&#10;b", "2"].map(entry).concat());
    let node = Node::start(&[bucket(answer("200 OK", &page)).await]).await;
    assert_eq!(part(&node, None).await, (vec!["1".to_owned(), "2".to_owned()], None));
}
