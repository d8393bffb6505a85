//! Origins as directories.

use herring_http_api::client::{ApiClient, ClientError};
use herring_http_api::types::{OriginEntry, OriginPage};
use serde_json::{Value, json};

use crate::fake::{Fake, Object};
use crate::sockets::Running;
use crate::{ask, get};

fn bucket() -> Fake {
    let fake = Fake::default();
    for key in ["hub/a b/1", "hub/a b/2", "hub/a b/3", "hub/top", "hub/x/y/z", "hub/list"] {
        let object = Object { bytes: "herring".into(), version: "v", modified_ms: 5 };
        fake.objects.lock().unwrap().insert(key.into(), object);
    }
    fake
}

#[tokio::test]
async fn a_slash_or_a_word_lists() {
    let fake = bucket();
    let list = async |uri: &str| -> Value {
        let answer = get(&fake, uri, &[]).await;
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "application/json"), "{uri}");
        serde_json::from_slice(&answer.body).unwrap()
    };
    let object = |name: &str| json!({"kind": "object", "name": name, "size": 7, "version": "v", "modified_ms": 5});
    let root = json!({"entries": [{"kind": "directory", "name": "a b"}, object("list")], "next": "list"});
    for uri in ["/v1/origins/hub/", "/v1/origins/hub", "/v1/origins/hub/?list", "/v1/origins/hub?list=1"] {
        assert_eq!(list(uri).await, root, "{uri}");
    }
    let rest = json!({"entries": [object("top"), {"kind": "directory", "name": "x"}]});
    assert_eq!(list("/v1/origins/hub/?token=list").await, rest);
    for uri in ["/v1/origins/hub/a%20b/", "/v1/origins/hub/a%20b?list", "/v1/origins/hub/a%20b/?list"] {
        assert_eq!(list(uri).await, json!({"entries": [object("1"), object("2")], "next": "2"}), "{uri}");
    }
    assert_eq!(list("/v1/origins/hub/a%20b/?token=2").await, json!({"entries": [object("3")]}));
    assert_eq!(get(&fake, "/v1/origins/hub/list", &[]).await.body, "herring", "a key of that name is none the less an object");
    let head = ask(&fake, "HEAD", "/v1/origins/hub/", &[], "").await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    assert_eq!(get(&fake, "/v1/origins/hub/none/", &[]).await.kind(), "not-found");
    let unlisted = get(&fake, "/v1/origins/unlisted/", &[]).await;
    assert_eq!((unlisted.status.as_u16(), unlisted.kind().as_str()), (501, "unlisted"));
}

#[tokio::test]
async fn our_client_lists_to_the_end() {
    let fake = bucket();
    let server = Running::of(&fake).await;
    let client = ApiClient::new(&format!("http://{}", server.addr)).unwrap();
    let names = |page: &OriginPage| {
        let name = |entry: &OriginEntry| match entry {
            OriginEntry::Directory { name } => format!("{name}/"),
            OriginEntry::Object { name, .. } => name.clone(),
        };
        page.entries.iter().map(name).collect::<Vec<_>>()
    };
    let (mut all, mut token) = (Vec::new(), None);
    loop {
        let page = client.list("hub", "", token.as_deref()).await.unwrap();
        all.extend(names(&page));
        token = page.next;
        if token.is_none() {
            break;
        }
    }
    assert_eq!(all, ["a b/", "list", "top", "x/"]);
    assert_eq!(names(&client.list("hub", "x/y", None).await.unwrap()), ["z"]);
    assert_eq!(names(&client.list("hub", "a b", Some("2")).await.unwrap()), ["3"]);
    let error = client.list("unlisted", "", None).await.unwrap_err();
    assert!(matches!(&error, ClientError::Problem(problem) if problem.status == 501), "{error:?}");
}
