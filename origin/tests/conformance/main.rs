//! What every kind of origin promises, held against each kind there is.

mod directories;
mod faults;
mod hub;
mod odd_keys;
mod promises;
mod servers;
mod stand_in;
mod truth;

use std::fs;
use std::path::Path;

use herring_origin::{ConfigError, Origin, OriginSpec, Origins};
use reqwest::Client;
use s3s::auth::SimpleAuth;
use tempfile::TempDir;

use promises::conforms;
use servers::{Server, bucket_server, serve};
use truth::{Index, Shown, Truth};

fn open(spec: &str) -> Result<Origin, ConfigError> {
    let spec: OriginSpec = spec.parse()?;
    let name = spec.name().to_owned();
    Ok(Origins::new([spec])?.get(&name).expect("it was just named").clone())
}

fn directory(path: &Path) -> Origin {
    open(&format!("truth=file://{}", path.display())).unwrap()
}

fn bucket(path: &str, endpoint: &str) -> Origin {
    open(&format!("truth=s3://{path}?endpoint={endpoint}&anonymous=true&region=us-east-1&path_style=true")).unwrap()
}

fn cloud_bucket(name: &str, endpoint: &str) -> Origin {
    open(&format!("truth=gs://{name}?endpoint={endpoint}&anonymous=true")).unwrap()
}

fn container(endpoint: &str) -> Origin {
    open(&format!("truth=az://models?account=account&endpoint={endpoint}&anonymous=true")).unwrap()
}

fn site(url: &str) -> Origin {
    open(&format!("truth={url}")).unwrap()
}

#[tokio::test]
async fn a_directory_conforms() {
    let root = TempDir::new().unwrap();
    conforms(&Shown::new(directory(root.path()), Truth::directory(root.path()), Index::Whole)).await;
}

#[tokio::test]
async fn a_bucket_conforms() {
    let root = TempDir::new().unwrap();
    let truth = root.path().join("models");
    fs::create_dir(&truth).unwrap();
    let endpoint = serve(bucket_server(root.path()).build()).await;
    let shown = Shown::new(bucket("models", &endpoint), Truth::directory(truth), Index::Whole);
    conforms(&shown).await;
}

#[tokio::test]
async fn a_prefix_of_a_bucket_conforms() {
    let root = TempDir::new().unwrap();
    let truth = root.path().join("models/some where/v1");
    fs::create_dir_all(&truth).unwrap();
    Truth::directory(root.path()).write("models/some where/v10/neighbour", b"").await;
    let endpoint = serve(bucket_server(root.path()).build()).await;
    let shown = Shown::new(bucket("models/some%20where/v1/", &endpoint), Truth::directory(truth), Index::Whole);
    conforms(&shown).await;
}

/// Google's XML API is S3's, but for signatures.
#[tokio::test]
async fn a_cloud_bucket_conforms() {
    let root = TempDir::new().unwrap();
    let truth = root.path().join("models");
    fs::create_dir(&truth).unwrap();
    let endpoint = serve(bucket_server(root.path()).build()).await;
    let shown = Shown::new(cloud_bucket("models", &endpoint), Truth::directory(truth), Index::Whole);
    conforms(&shown).await;
}

#[tokio::test]
async fn another_servers_bucket_conforms() {
    let Some(moto) = Server::moto().await else { return };
    let truth = Truth::Bucket(format!("{}/models", moto.url).parse().unwrap(), Client::new());
    conforms(&Shown::new(bucket("models", &moto.url), truth, Index::Whole)).await;
}

#[tokio::test]
async fn a_container_conforms() {
    let Some((azurite, container)) = Server::azurite().await else { return };
    let origin = open(&format!("truth=az://models?emulator=true&endpoint={}", azurite.url)).unwrap();
    conforms(&Shown::new(origin, Truth::Container(container, Client::new()), Index::Whole)).await;
}

#[tokio::test]
async fn a_web_server_conforms_in_each_of_its_ways_to_list() {
    let ways = [
        ("autoindex on; autoindex_format json;", Index::WithoutDots),
        ("autoindex on;", Index::WithoutDots),
        ("autoindex off;", Index::None),
    ];
    for (directives, index) in ways {
        let root = TempDir::new().unwrap();
        let Some(nginx) = Server::nginx(root.path(), directives).await else { return };
        let origin = site(&nginx.url);
        conforms(&Shown::new(origin, Truth::directory(root.path()), index)).await;
    }
}

#[tokio::test]
async fn a_part_of_a_web_server_conforms() {
    let root = TempDir::new().unwrap();
    let truth = root.path().join("some where");
    fs::create_dir(&truth).unwrap();
    let Some(nginx) = Server::nginx(root.path(), "autoindex on; autoindex_format json;").await else { return };
    let origin = site(&format!("{}/some%20where", nginx.url));
    conforms(&Shown::new(origin, Truth::directory(truth), Index::WithoutDots)).await;
}

#[tokio::test]
async fn a_bucket_that_refuses_is_denied() {
    let root = TempDir::new().unwrap();
    Truth::directory(root.path()).write("models/file", b"x").await;
    let mut server = bucket_server(root.path());
    server.set_auth(SimpleAuth::from_single("key", "secret"));
    let origin = bucket("models", &serve(server.build()).await);
    let errors = [origin.head("file").await.unwrap_err(), origin.list("", None).await.unwrap_err()];
    assert!(errors.iter().all(|error| error.kind() == "denied"), "{errors:?}");
}

#[tokio::test]
async fn a_bucket_that_does_not_exist_is_told_of_as_such() {
    let root = TempDir::new().unwrap();
    let origin = bucket("none", &serve(bucket_server(root.path()).build()).await);
    for error in [origin.list("", None).await.unwrap_err(), origin.is_directory("a").await.unwrap_err()] {
        assert!(error.kind() == "denied" && error.to_string().contains("no such bucket"), "{error}");
    }
}

#[test]
fn what_cannot_be_an_origin_says_why() {
    let root = TempDir::new().unwrap();
    let file = root.path().join("file");
    fs::write(&file, "").unwrap();
    let refused = |spec: String| open(&spec).unwrap_err().to_string();
    for (spec, says) in [
        ("m=ftp://host/".to_owned(), "file://, s3://, gs://, az://, https://, http://"),
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
        ("m=s3://bucket?profile=".to_owned(), "profile=NAME"),
        ("m=s3://bucket?profile=nobody-has-it".to_owned(), "aws_access_key_id"),
        ("m=gs:///prefix".to_owned(), "gs://BUCKET"),
        ("m=gs://bucket?region=x".to_owned(), "endpoint=URL"),
        ("m=gs://bucket?endpoint=ftp://host".to_owned(), "http or https"),
        ("m=az://container?account=a&emulator=maybe".to_owned(), "emulator=true|false"),
        ("m=az://container?account=a&endpoint=http://user:hush@host".to_owned(), "remove it"),
        ("m=https://user:hush@host/".to_owned(), "remove it"),
        ("m=https://host/?token=hush".to_owned(), "ttl=SECONDS"),
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
