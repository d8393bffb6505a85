//! Names, and the fake that keeps them.

use async_trait::async_trait;
use axum::body::Body;
use herring_blob::BlobId;
use herring_http_api::client::{ApiClient, ClientError};
use herring_http_api::server::{ApiError, ErrorKind, NamePut, NamesBackend};
use herring_http_api::types::{Condition, NameInfo, NameList};

use crate::fake::{Fake, not_found};
use crate::sockets::Running;
use crate::{Answer, ask, get};

fn info(name: &str, version: u64, target: BlobId) -> NameInfo {
    NameInfo { name: name.into(), target, version, modified_ms: 0 }
}

impl Fake {
    /// Changes a name, if that may be; tells its new version and whether it pointed at something before.
    fn change(&self, name: &str, target: Option<BlobId>, condition: Condition) -> Result<(u64, bool), ApiError> {
        let mut names = self.names.lock().unwrap();
        let (version, old) = names.get(name).copied().unwrap_or_default();
        let holds = match condition {
            Condition::Always => true,
            Condition::Version(wanted) => old.is_some() && version == wanted,
            Condition::Exists => old.is_some(),
            Condition::Absent => old.is_none(),
        };
        if !holds {
            return Err(ApiError::new(ErrorKind::PreconditionFailed, format!("{name} is at version {version}")));
        }
        names.insert(name.into(), (version + 1, target));
        Ok((version + 1, old.is_some()))
    }
}

#[async_trait]
impl NamesBackend for Fake {
    async fn name(&self, name: &str) -> Result<NameInfo, ApiError> {
        match self.names.lock().unwrap().get(name) {
            Some((version, Some(target))) => Ok(info(name, *version, *target)),
            _ => Err(not_found("such name")),
        }
    }

    async fn put_name(&self, name: &str, target: BlobId, condition: Condition) -> Result<NamePut, ApiError> {
        let (version, existed) = self.change(name, Some(target), condition)?;
        Ok(NamePut { info: info(name, version, target), created: !existed })
    }

    async fn delete_name(&self, name: &str, condition: Condition) -> Result<(), ApiError> {
        match self.name(name).await {
            Err(error) if condition == Condition::Always => Err(error),
            _ => self.change(name, None, condition).map(drop),
        }
    }

    async fn names(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<NameList, ApiError> {
        let names = self.names.lock().unwrap();
        let fits = |name: &str| name.starts_with(prefix) && after.is_none_or(|after| name > after);
        let mut all = names
            .iter()
            .filter(|(name, _)| fits(name))
            .filter_map(|(name, (version, target))| Some(info(name, *version, (*target)?)));
        let page: Vec<_> = all.by_ref().take(limit).collect();
        let next = all.next().and(page.last()).map(|last| last.name.clone());
        Ok(NameList { names: page, next })
    }
}

fn target(of: &str) -> (BlobId, Body) {
    let id = BlobId::of(of.as_bytes());
    (id, Body::from(format!(r#"{{"target":"{id}"}}"#)))
}

async fn put(fake: &Fake, name: &str, headers: &[(&str, &str)], of: &str) -> Answer {
    ask(fake, "PUT", &format!("/v1/names/{name}"), headers, target(of).1).await
}

#[tokio::test]
async fn a_name_is_set_read_and_deleted() {
    let fake = Fake::default();
    let uri = "/v1/names/models/l%C3%A4ma%203";
    assert_eq!(get(&fake, uri, &[]).await.kind(), "not-found");
    let answer = put(&fake, "models/l%C3%A4ma%203", &[], "a").await;
    assert_eq!((answer.status.as_u16(), answer.header("etag")), (201, "\"1\""));
    let answer = put(&fake, "models/l%C3%A4ma%203", &[], "b").await;
    assert_eq!((answer.status.as_u16(), answer.header("etag")), (200, "\"2\""));
    let answer = get(&fake, uri, &[]).await;
    assert_eq!((answer.status.as_u16(), answer.header("etag"), answer.header("cache-control")), (200, "\"2\"", "no-cache"));
    let said: NameInfo = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(said, info("models/läma 3", 2, target("b").0));
    let head = ask(&fake, "HEAD", uri, &[], "").await;
    assert_eq!((head.status.as_u16(), head.header("etag"), head.body.len()), (200, "\"2\"", 0));
    assert_eq!(head.header("content-length"), answer.body.len().to_string());
    assert_eq!(ask(&fake, "DELETE", uri, &[], "").await.status.as_u16(), 204);
    assert_eq!(ask(&fake, "DELETE", uri, &[], "").await.kind(), "not-found");
    assert_eq!(get(&fake, uri, &[]).await.kind(), "not-found");
    let again = put(&fake, "models/l%C3%A4ma%203", &[], "a").await;
    assert_eq!((again.status.as_u16(), again.header("etag")), (201, "\"4\""), "deletions count");
}

#[tokio::test]
async fn what_a_client_knows_already_is_304() {
    let fake = Fake::default();
    put(&fake, "n", &[], "a").await;
    for (header, value, status) in [
        ("if-none-match", "\"1\"", 304),
        ("if-none-match", "\"9\", W/\"1\"", 304),
        ("if-none-match", "*", 304),
        ("if-none-match", "\"2\"", 200),
        ("if-match", "\"2\", \"1\"", 200),
        ("if-match", "\"2\"", 412),
        ("if-match", "W/\"1\"", 412),
    ] {
        let answer = get(&fake, "/v1/names/n", &[(header, value)]).await;
        assert_eq!(answer.status.as_u16(), status, "{header}: {value}");
        assert!(status == 412 || answer.header("etag") == "\"1\"", "{header}: {value}");
        assert!(status != 304 || answer.body.is_empty(), "{header}: {value}");
    }
}

/// At version 3, and not there at all: which conditions let a change through.
#[tokio::test]
async fn conditions_of_changes() {
    for (conditions, at_three, absent) in [
        (vec![], true, true),
        (vec![("if-match", "*")], true, false),
        (vec![("if-match", "\"3\"")], true, false),
        (vec![("if-match", "\"2\"")], false, false),
        (vec![("if-match", "\"03\"")], false, false),
        (vec![("if-match", "W/\"3\"")], false, false),
        (vec![("if-match", "3")], false, false),
        (vec![("if-match", "")], false, false),
        (vec![("if-match", "\"2\", \"3\"")], true, false),
        (vec![("if-match", "\"2\""), ("if-match", "\"3\"")], true, false),
        (vec![("if-match", "\"2\",\"4\"")], false, false),
        (vec![("if-none-match", "*")], false, true),
        (vec![("if-none-match", "\"3\"")], false, true),
        (vec![("if-none-match", "\"2\"")], true, true),
        (vec![("if-match", "\"3\""), ("if-none-match", "\"2\"")], true, false),
        (vec![("if-match", "\"3\""), ("if-none-match", "*")], false, false),
    ] {
        let fake = Fake::default();
        for of in ["a", "b", "c"] {
            put(&fake, "n", &[], of).await;
        }
        let status = |passes, well| if passes { well } else { 412 };
        let answer = put(&fake, "n", &conditions, "d").await;
        assert_eq!(answer.status.as_u16(), status(at_three, 200), "{conditions:?}");
        assert_eq!(fake.names.lock().unwrap()["n"].0, if at_three { 4 } else { 3 });
        assert!(at_three || answer.kind() == "precondition-failed");
        let answer = put(&fake, "new", &conditions, "d").await;
        assert_eq!(answer.status.as_u16(), status(absent, 201), "{conditions:?}");
        fake.names.lock().unwrap().insert("n".into(), (3, Some(target("c").0)));
        let answer = ask(&fake, "DELETE", "/v1/names/n", &conditions, "").await;
        assert_eq!(answer.status.as_u16(), status(at_three, 204), "{conditions:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_a_name_or_a_target_is_refused() {
    let fake = Fake::default();
    let (long, segment) = (vec!["x".repeat(200); 3].join("/"), "x".repeat(256));
    for name in ["", "a//b", "a/", "/a", "a/%2e/b", "%2e%2e", "a%0Ab", "a%FFb", "%00", &long, &segment] {
        for method in ["GET", "PUT", "DELETE"] {
            let answer = ask(&fake, method, &format!("/v1/names/{name}"), &[], target("a").1).await;
            assert_eq!((answer.status.as_u16(), answer.kind().as_str()), (400, "bad-request"), "{method} {name}");
        }
    }
    for body in ["", "{}", "{\"target\":\"abc\"}", "[]"] {
        assert_eq!(ask(&fake, "PUT", "/v1/names/n", &[], body).await.kind(), "bad-request", "{body}");
    }
    assert_eq!(ask(&fake, "PUT", "/v1/names/n", &[], " ".repeat(5000)).await.kind(), "too-large");
    assert!(fake.names.lock().unwrap().is_empty());
}

#[tokio::test]
async fn names_are_listed_by_prefix_page_by_page() {
    let fake = Fake::default();
    for number in 0..1005 {
        fake.names.lock().unwrap().insert(format!("a/{number:04}"), (1, Some(target("a").0)));
    }
    fake.names.lock().unwrap().insert("b ü".into(), (1, Some(target("b").0)));
    let list = async |query: &str| -> NameList { serde_json::from_slice(&get(&fake, query, &[]).await.body).unwrap() };
    let first = list("/v1/names?limit=5000").await;
    assert_eq!((first.names.len(), first.next.as_deref()), (1000, Some("a/0999")));
    let rest = list("/v1/names?after=a/0999").await;
    assert_eq!((rest.names.len(), rest.next), (6, None));
    assert_eq!(list("/v1/names?prefix=b%20%C3%BC").await.names.len(), 1);
    assert_eq!(list("/v1/names?prefix=a/&limit=2").await.next.as_deref(), Some("a/0001"));
    assert!(list("/v1/names?prefix=c").await.names.is_empty());
    for query in ["limit=0", "limit=x", "limit=-1", "prefix=%00", "after=%0A"] {
        assert_eq!(get(&fake, &format!("/v1/names?{query}"), &[]).await.status.as_u16(), 400, "{query}");
    }
}

#[tokio::test]
async fn our_client_speaks_of_names() {
    let fake = Fake::default();
    let server = Running::of(&fake).await;
    let client = ApiClient::new(&format!("http://{}", server.addr)).unwrap();
    let (a, b, name) = (target("a").0, target("b").0, "models/ä b/100%?#");
    let refused = |outcome: Result<NameInfo, ClientError>| match outcome {
        Err(ClientError::Problem(problem)) => problem.status,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(client.name(name).await), 404);
    assert_eq!(refused(client.put_name(name, a, Condition::Exists).await), 412);
    assert_eq!(client.put_name(name, a, Condition::Absent).await.unwrap(), info(name, 1, a));
    assert_eq!(refused(client.put_name(name, a, Condition::Absent).await), 412);
    assert_eq!(client.put_name(name, b, Condition::Version(1)).await.unwrap().version, 2);
    assert_eq!(refused(client.put_name(name, b, Condition::Version(1)).await), 412);
    assert_eq!(client.put_name(name, b, Condition::Exists).await.unwrap().version, 3);
    assert_eq!(client.put_name("z", b, Condition::Always).await.unwrap().version, 1);
    assert_eq!(client.name(name).await.unwrap(), info(name, 3, b));
    let page = client.names("", None, 1).await.unwrap();
    assert_eq!((page.names, page.next.as_deref()), (vec![info(name, 3, b)], Some(name)));
    assert_eq!(client.names("", Some(name), 1).await.unwrap().names, [info("z", 1, b)]);
    assert!(client.delete_name(name, Condition::Version(2)).await.is_err());
    client.delete_name(name, Condition::Version(3)).await.unwrap();
    assert_eq!(refused(client.name(name).await), 404);
    for wrong in ["a/../b", ".", "a\nb", "a\tb"] {
        assert!(matches!(client.name(wrong).await, Err(ClientError::BadUrl { .. })), "{wrong:?}");
    }
}
