use std::fs;
use std::path::Path;

use http::{Request, StatusCode};
use tempfile::TempDir;
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
        ("GET", "/none", StatusCode::NOT_IMPLEMENTED),
        ("GET", "/none?list-type=2", StatusCode::NOT_FOUND),
        ("GET", "/none/key?versionId=1", StatusCode::NOT_FOUND),
        ("GET", "/%FF/key", StatusCode::BAD_REQUEST),
        ("PATCH", "/none/key", StatusCode::NOT_IMPLEMENTED),
    ] {
        let request = Request::builder().method(method).uri(path).body(()).unwrap();
        let Ok(answer) = node.s3.clone().oneshot(request).await;
        assert_eq!(answer.status(), status, "{method} {path}");
    }
}
