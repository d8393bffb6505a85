use futures_util::TryStreamExt;
use herring_blob::{ByteRange, ObjectRef};
use herring_origin::*;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn rss(key: &str) -> u64 {
    let s = std::fs::read_to_string("/proc/self/status").unwrap();
    s.lines().find(|l| l.starts_with(key)).unwrap().split_whitespace().nth(1).unwrap().parse().unwrap()
}
fn open(spec: &str) -> Origin {
    let spec: OriginSpec = spec.parse().unwrap();
    let n = spec.name().to_owned();
    Origins::new([spec]).unwrap().get(&n).unwrap().clone()
}
async fn server(f: fn(&str) -> Vec<u8>) -> String {
    let l = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", l.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut s, _)) = l.accept().await {
            s.set_nodelay(true).unwrap();
            tokio::spawn(async move {
                let mut buf = Vec::new();
                loop {
                    let mut b = [0u8; 4096];
                    let n = s.read(&mut b).await.unwrap_or(0);
                    if n == 0 {
                        return;
                    }
                    buf.extend_from_slice(&b[..n]);
                    if buf.ends_with(b"\r\n\r\n") {
                        let out = f(std::str::from_utf8(&buf).unwrap());
                        buf.clear();
                        if s.write_all(&out).await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    url
}
fn object(req: &str) -> Vec<u8> {
    let common = "ETag: \"v1\"\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n";
    if req.starts_with("HEAD") {
        return format!("HTTP/1.1 200 OK\r\n{common}Content-Length: 4096\r\n\r\n").into_bytes();
    }
    let mut out =
        format!("HTTP/1.1 206 Partial Content\r\n{common}Content-Length: 4096\r\nContent-Range: bytes 0-4095/4096\r\n\r\n")
            .into_bytes();
    out.extend_from_slice(&[7; 4096]);
    out
}
fn listing(req: &str) -> Vec<u8> {
    let at: usize = req.split("continuation-token=").nth(1).map_or(0, |t| t.split(['&', ' ']).next().unwrap().parse().unwrap());
    let mut x = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult>");
    for n in at..(at + 1000).min(1_000_000) {
        x += &format!(
            "<Contents><Key>big/sample-{n:09}.bin</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>\"d41d8cd98f00b204e9800998ecf8427e\"</ETag><Size>123456</Size><StorageClass>STANDARD</StorageClass></Contents>"
        );
    }
    if at + 1000 < 1_000_000 {
        x += &format!("<IsTruncated>true</IsTruncated><NextContinuationToken>{}</NextContinuationToken>", at + 1000);
    } else {
        x += "<IsTruncated>false</IsTruncated>";
    }
    x += "</ListBucketResult>";
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n\r\n{x}", x.len()).into_bytes()
}
async fn median<F: Future<Output = ()>>(name: &str, mut f: impl FnMut() -> F) {
    for _ in 0..300 {
        f().await
    }
    let mut all = Vec::new();
    for _ in 0..4000 {
        let t = Instant::now();
        f().await;
        all.push(t.elapsed());
    }
    all.sort();
    println!("{name:28} p50 {:?} p99 {:?}", all[2000], all[3960]);
}
async fn list_all(o: &Origin, prefix: &str) {
    let (before, t) = (rss("VmRSS"), Instant::now());
    let (mut token, mut count, mut pages, mut slowest) = (None, 0, 0, Duration::ZERO);
    loop {
        let t = Instant::now();
        let p = o.list(prefix, token.as_deref()).await.unwrap();
        slowest = slowest.max(t.elapsed());
        count += p.entries.len();
        pages += 1;
        if pages == 1 {
            println!("first page {:?}", t.elapsed());
        }
        token = p.next;
        if token.is_none() {
            break;
        }
    }
    println!(
        "{count} entries {pages} pages {:?} slowest {slowest:?}; rss {before} -> {} kB, peak {} kB",
        t.elapsed(),
        rss("VmRSS"),
        rss("VmHWM")
    );
}
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let what = std::env::args().nth(1).unwrap();
    match what.as_str() {
        "one" => {
            let url = server(object).await;
            let raw = reqwest::Client::builder().http1_only().build().unwrap();
            let s3 = open(&format!("t=s3://b?endpoint={url}&anonymous=true&region=us-east-1"));
            let web = open(&format!("t={url}"));
            let o = ObjectRef { origin: "t".into(), key: "k".into(), version: "\"v1\"".into(), size: 4096 };
            let r = ByteRange::new(0, 4096);
            for _ in 0..2 {
                median("reqwest head", || async {
                    raw.head(format!("{url}/k")).send().await.unwrap();
                })
                .await;
                median("http head", || async {
                    web.head("k").await.unwrap();
                })
                .await;
                median("s3 head", || async {
                    s3.head("k").await.unwrap();
                })
                .await;
                median("reqwest get", || async {
                    raw.get(format!("{url}/k")).header("range", "bytes=0-4095").send().await.unwrap().bytes().await.unwrap();
                })
                .await;
                median("http read", || async {
                    web.read(&o, r).await.unwrap().try_for_each(|_| async { Ok(()) }).await.unwrap();
                })
                .await;
                median("s3 read", || async {
                    s3.read(&o, r).await.unwrap().try_for_each(|_| async { Ok(()) }).await.unwrap();
                })
                .await;
            }
        }
        "s3" => {
            let url = server(listing).await;
            let s3 = open(&format!("t=s3://b?endpoint={url}&anonymous=true&region=us-east-1"));
            list_all(&s3, "big").await;
        }
        dir => list_all(&open(&format!("t=file://{dir}")), "").await,
    }
}
