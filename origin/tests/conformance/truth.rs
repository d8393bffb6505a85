use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use futures_util::{StreamExt, stream};
use herring_origin::Origin;
use reqwest::Client;
use url::Url;

/// An origin, and a way to change what it shows that does not go through it.
pub struct Shown {
    pub origin: Origin,
    pub truth: Truth,
    pub index: Index,
    /// Whether it knows when an object was made; git does not.
    pub has_times: bool,
}

impl Shown {
    pub fn new(origin: Origin, truth: Truth, index: Index) -> Self {
        Self { origin, truth, index, has_times: true }
    }
}

/// What an origin tells of its directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Index {
    Whole,
    /// nginx shows no names that begin with a dot.
    WithoutDots,
    None,
}

pub enum Truth {
    Directory(PathBuf),
    /// A bucket's URL, which can be written to without a signature.
    Bucket(Url, Client),
    /// A container's URL with a signature of its own.
    Container(Url, Client),
}

/// A signature that is not looked at, but without any a writer would be nobody.
const ANYBODY: &str = "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";

fn below(url: &Url, key: &str) -> Url {
    let mut url = url.clone();
    url.path_segments_mut().unwrap().extend(key.split('/'));
    url
}

impl Truth {
    pub fn directory(path: impl Into<PathBuf>) -> Self {
        Self::Directory(path.into())
    }

    pub async fn write(&self, key: &str, bytes: &[u8]) {
        match self {
            Self::Directory(root) => {
                let path = root.join(key);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, bytes).unwrap();
            }
            Self::Bucket(url, client) => {
                let request = client.put(below(url, key)).header("x-amz-acl", "public-read").header("authorization", ANYBODY);
                request.body(bytes.to_vec()).send().await.unwrap().error_for_status().unwrap();
            }
            Self::Container(url, client) => {
                let request =
                    client.put(below(url, key)).header("x-ms-blob-type", "BlockBlob").header("content-length", bytes.len());
                request.body(bytes.to_vec()).send().await.unwrap().error_for_status().unwrap();
            }
        }
    }

    /// When it was written, by the clock of who keeps it, in whole seconds: HTTP's dates have no others.
    pub async fn modified(&self, key: &str) -> SystemTime {
        let whole = |time: SystemTime| {
            SystemTime::UNIX_EPOCH + Duration::from_secs(time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs())
        };
        match self {
            Self::Directory(root) => whole(fs::metadata(root.join(key)).unwrap().modified().unwrap()),
            Self::Bucket(url, client) | Self::Container(url, client) => {
                let head = client.head(below(url, key)).send().await.unwrap().error_for_status().unwrap();
                httpdate::parse_http_date(head.headers()["last-modified"].to_str().unwrap()).unwrap()
            }
        }
    }

    pub async fn write_many(&self, keys: impl IntoIterator<Item = String>) {
        stream::iter(keys).for_each_concurrent(8, |key| async move { self.write(&key, b"").await }).await;
    }
}
