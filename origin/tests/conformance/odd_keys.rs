//! Buckets hold keys that no path can spell. Real servers over a filesystem do not, so that one answer stands in for each cloud's.

use herring_origin::Origin;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::promises::names;
use crate::{bucket, cloud_bucket, container};

/// An origin of a URL, and how its server writes a page of keys before a next one.
type Kind = (fn(&str) -> Origin, fn(&[&str], &str) -> String);

const KINDS: [Kind; 3] =
    [(|url| bucket("models", url), s3_page), (|url| cloud_bucket("models", url), s3_page), (container, azure_page)];

const ODD: [&str; 4] = ["g//", "g/.", "g/./", "g/new&#10;line"];

fn is_prefix(key: &str) -> bool {
    key.ends_with('/')
}

fn s3_page(keys: &[&str], next: &str) -> String {
    let entry = |key: &&str| match is_prefix(key) {
        true => format!("<CommonPrefixes><Prefix>{key}</Prefix></CommonPrefixes>"),
        false => format!(
            "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>\"e\"</ETag><Size>1</Size></Contents>"
        ),
    };
    let next = if next.is_empty() { String::new() } else { format!("<NextContinuationToken>{next}</NextContinuationToken>") };
    format!("<ListBucketResult><Name>models</Name>{}{next}</ListBucketResult>", keys.iter().map(entry).collect::<String>())
}

fn azure_page(keys: &[&str], next: &str) -> String {
    let entry = |key: &&str| match is_prefix(key) {
        true => format!("<BlobPrefix><Name>{key}</Name></BlobPrefix>"),
        false => format!(
            "<Blob><Name>{key}</Name><Properties><Last-Modified>Thu, 01 Jan 2026 00:00:00 GMT</Last-Modified><Etag>e</Etag>\
             <Content-Length>1</Content-Length><Content-Type>text/plain</Content-Type></Properties></Blob>"
        ),
    };
    let blobs: String = keys.iter().map(entry).collect();
    format!("<EnumerationResults><Blobs>{blobs}</Blobs><NextMarker>{next}</NextMarker></EnumerationResults>")
}

/// Says the same to whoever asks. It ends with the test's runtime.
async fn server(page: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            answer(socket, &page).await.unwrap();
        }
    });
    url
}

async fn answer(mut socket: TcpStream, page: &str) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await?);
    }
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", page.len());
    socket.write_all((head + page).as_bytes()).await
}

#[tokio::test]
async fn keys_that_no_path_can_spell_hide_no_others() {
    for (kind, page) in KINDS {
        let keys = [&["g/1", "g/2"], ODD.as_slice(), &["g/a&amp;b", "g/sub/"]].concat();
        let origin = kind(&server(page(&keys, "")).await);
        assert_eq!(names(&origin.list("g", None).await.unwrap()), ["1", "2", "a&b", "sub/"]);
        assert_eq!(origin.is_directory("g").await, Ok(true));
    }
}

#[tokio::test]
async fn a_directory_with_nothing_else_is_there() {
    for (kind, page) in KINDS {
        for next in ["", "more"] {
            let origin = kind(&server(page(&ODD, next)).await);
            let listed = origin.list("g", None).await.unwrap();
            assert_eq!((listed.entries.len(), listed.next.unwrap_or_default().as_str()), (0, next));
            assert_eq!(origin.is_directory("g").await, Ok(true));
        }
        let origin = kind(&server(page(&[], "")).await);
        assert_eq!(origin.list("g", None).await.unwrap_err().kind(), "not_found");
        assert_eq!(origin.is_directory("g").await, Ok(false));
    }
}
