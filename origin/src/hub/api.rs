use bytes::{Bytes, BytesMut};
use herring_blob::ByteRange;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, LINK, LOCATION, RANGE};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Response, StatusCode};
use serde::Deserialize;
use serde::de::IgnoredAny;
use url::Url;

use super::place::{Place, is_commit};
use crate::error::Fault;
use crate::web::{self, CONNECT, SILENCE};

/// Bytes of one document, all pages of it together: the tree of some 150,000 files.
const MOST: usize = 32 << 20;

/// A hub leads from an old name to a new one, and from a file to where it keeps it.
const HOPS: usize = 5;

/// The hub's own answers, asked for with the token. The token goes to the hub only, never to where it sends us.
pub(super) struct Api {
    client: Client,
    endpoint: Url,
    token: Option<HeaderValue>,
}

/// The end of a chain of redirects, and what the hub said on the way.
pub(super) struct Trail {
    /// `X-Linked-Etag`, `X-Linked-Size` and the like, of the first answer that has them.
    pub said: HeaderMap,
    pub end: End,
}

pub(super) enum End {
    Here(Response),
    /// On another host, which was not asked.
    There(Url),
}

#[derive(Deserialize)]
struct Revision {
    sha: String,
}

impl Api {
    pub fn new(endpoint: &str, http: bool, token: Option<HeaderValue>) -> Result<Self, String> {
        // It was parsed before; a path without a slash at its end would lose its last segment when it is joined.
        let endpoint = Url::parse(&format!("{}/", endpoint.trim_end_matches('/'))).map_err(|error| error.to_string())?;
        let client = Client::builder()
            .user_agent(concat!("herring/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            .http1_only()
            .https_only(!http)
            .redirect(Policy::none())
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self { client, endpoint, token })
    }

    /// The commit that a place's revision means now; a commit means itself.
    pub async fn commit(&self, place: &Place) -> Result<String, Fault> {
        if is_commit(&place.revision) {
            return Ok(place.revision.clone());
        }
        let text = self.document(&place.revision_path()).await?;
        let Revision { sha } = serde_json::from_slice(&text).map_err(malformed)?;
        if is_commit(&sha) { Ok(sha) } else { Err(Fault::Unusable("the hub told a commit that is none".to_owned())) }
    }

    /// What the API says at a path below `api/`, which may have a query; the pages of a list as one list.
    pub async fn document(&self, path: &str) -> Result<Bytes, Fault> {
        let (mut whole, mut next) = (BytesMut::new(), Some(path.to_owned()));
        while let Some(path) = next.take() {
            let (page, cursor) = self.page(&path).await?;
            if cursor.is_none() && whole.is_empty() {
                return Ok(page);
            }
            append(&mut whole, &page)?;
            next = cursor.map(|cursor| with_cursor(&path, &cursor));
        }
        whole.extend_from_slice(b"]");
        Ok(whole.freeze())
    }

    /// One page of a document, and the cursor of the next.
    pub async fn page(&self, path: &str) -> Result<(Bytes, Option<String>), Fault> {
        let url = self.url("api/", path)?;
        let Trail { end: End::Here(answer), .. } = self.follow(Method::GET, url, None).await? else {
            return Err(Fault::Unusable("the hub's API leads to another host".to_owned()));
        };
        let cursor = answer.headers().get(LINK).and_then(|link| next_cursor(link.to_str().ok()?));
        Ok((whole(answer).await?, cursor))
    }

    /// Asks, and goes where the hub's own redirects lead. `range` is not empty.
    pub async fn follow(&self, method: Method, mut url: Url, range: Option<ByteRange>) -> Result<Trail, Fault> {
        let mut said = HeaderMap::new();
        for _ in 0..HOPS {
            let answer = self.ask(method.clone(), url.clone(), range).await?;
            if said.is_empty() && answer.headers().contains_key("x-linked-etag") {
                said = answer.headers().clone();
            }
            if !answer.status().is_redirection() {
                check(answer.status(), answer.headers())?;
                return Ok(Trail { said, end: End::Here(answer) });
            }
            let target = answer.headers().get(LOCATION).and_then(|target| url.join(target.to_str().ok()?).ok());
            url = target.ok_or_else(|| Fault::Unusable("the hub leads nowhere".to_owned()))?;
            if !self.is_ours(&url) {
                return Ok(Trail { said, end: End::There(url) });
            }
        }
        Err(Fault::Unusable(format!("the hub leads on and on, {HOPS} times")))
    }

    /// Asks one time; redirects are answers.
    pub async fn ask(&self, method: Method, url: Url, range: Option<ByteRange>) -> Result<Response, Fault> {
        let token = self.token.as_ref().filter(|_| self.is_ours(&url));
        let mut request = self.client.request(method, url);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, token);
        }
        if let Some(range) = range {
            request = request.header(RANGE, format!("bytes={}-{}", range.start, range.end - 1));
        }
        Ok(request.send().await?)
    }

    /// Exactly this path below `above` of the endpoint, which is empty or ends with a slash: a path that a URL means otherwise than it is
    /// written, such as one with dots, could lead to anything that our token opens.
    pub fn url(&self, above: &str, path: &str) -> Result<Url, Fault> {
        let url = self.endpoint.join(&format!("{above}{path}")).map_err(|error| Fault::Unusable(error.to_string()))?;
        let plain = path.split('?').next().unwrap_or_default();
        let as_written = url.path() == format!("{}{above}{plain}", self.endpoint.path());
        if as_written && self.is_ours(&url) { Ok(url) } else { Err(Fault::NotFound) }
    }

    fn is_ours(&self, url: &Url) -> bool {
        url.origin() == self.endpoint.origin()
    }
}

/// A hub says 401 to much that is simply not there, and tells by a code what it means. A range that it cannot satisfy lies within the size
/// that it told before: the file is another now.
pub(super) fn check(status: StatusCode, headers: &HeaderMap) -> Result<(), Fault> {
    match status {
        StatusCode::RANGE_NOT_SATISFIABLE => return Err(Fault::Changed),
        status if status.is_success() => return Ok(()),
        _ => {}
    }
    match headers.get("x-error-code").map(HeaderValue::as_bytes) {
        Some(b"RepoNotFound" | b"RevisionNotFound" | b"EntryNotFound") => Err(Fault::NotFound),
        Some(b"GatedRepo") => Err(Fault::Denied(
            "its repository is gated: accept its conditions at the hub, and give this node your token by HF_TOKEN".to_owned(),
        )),
        _ => web::check(status, headers),
    }
}

async fn whole(mut answer: Response) -> Result<Bytes, Fault> {
    let mut whole = BytesMut::new();
    while let Some(part) = answer.chunk().await? {
        bounded(whole.len() + part.len())?;
        whole.extend_from_slice(&part);
    }
    Ok(whole.freeze())
}

/// `[1,2` and `[3,4]` are `[1,2,3,4`.
fn append(whole: &mut BytesMut, page: &[u8]) -> Result<(), Fault> {
    let _: Vec<IgnoredAny> = serde_json::from_slice(page).map_err(malformed)?;
    let inner = page.trim_ascii();
    let inner = inner[1..inner.len() - 1].trim_ascii();
    bounded(whole.len() + inner.len() + 2)?;
    let between: &[u8] = match (whole.is_empty(), whole.len() == 1 || inner.is_empty()) {
        (true, _) => b"[",
        (false, true) => b"",
        (false, false) => b",",
    };
    whole.extend_from_slice(between);
    whole.extend_from_slice(inner);
    Ok(())
}

fn bounded(length: usize) -> Result<(), Fault> {
    if length <= MOST { Ok(()) } else { Err(Fault::Unusable(format!("the hub's answer has more than {} MiB", MOST >> 20))) }
}

pub(super) fn malformed(error: serde_json::Error) -> Fault {
    Fault::Unusable(format!("the hub's answer is not what a hub says: {error}"))
}

/// The cursor in the link to the next page. The rest of the link is what we asked for, and a mirror may have another host in it.
fn next_cursor(link: &str) -> Option<String> {
    let next = link.split(',').find(|link| link.contains("rel=\"next\""))?;
    let url = Url::parse(next.split_once('<')?.1.split_once('>')?.0).ok()?;
    url.query_pairs().find(|(name, _)| name == "cursor").map(|(_, cursor)| cursor.into_owned())
}

pub(super) fn with_cursor(path: &str, cursor: &str) -> String {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let mut query: Vec<&str> = query.split('&').filter(|part| !part.is_empty() && !part.starts_with("cursor=")).collect();
    let cursor: String = url::form_urlencoded::byte_serialize(cursor.as_bytes()).collect();
    let cursor = format!("cursor={cursor}");
    query.push(&cursor);
    format!("{path}?{}", query.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_become_one_list() {
        let mut whole = BytesMut::new();
        for page in ["[]", " [1, 2] ", "[ ]", "[{\"a\":[]}]\n"] {
            append(&mut whole, page.as_bytes()).unwrap();
        }
        assert_eq!(whole, "[1, 2,{\"a\":[]}");
        for page in ["{}", "[1", "", "[1]]"] {
            assert!(append(&mut whole, page.as_bytes()).is_err(), "{page}");
        }
    }

    #[test]
    fn the_next_page_is_asked_for_where_this_one_was() {
        let link = "<https://other.host/api/x?recursive=true&cursor=a%3D%26b>; rel=\"next\"";
        let cursor = next_cursor(link).unwrap();
        assert_eq!(cursor, "a=&b");
        assert_eq!(with_cursor("x?recursive=true&cursor=old", &cursor), "x?recursive=true&cursor=a%3D%26b");
        assert_eq!(with_cursor("x", "c"), "x?cursor=c");
        assert_eq!(next_cursor("<https://h/?cursor=a>; rel=\"prev\""), None);
    }

    #[test]
    fn nothing_outside_the_endpoint_is_asked_for() {
        let api = Api::new("http://127.0.0.1:9/hf", true, None).unwrap();
        assert_eq!(api.url("api/", "models/x").unwrap().as_str(), "http://127.0.0.1:9/hf/api/models/x");
        assert_eq!(api.url("", "x/resolve/a%20b?c=d/../e").unwrap().as_str(), "http://127.0.0.1:9/hf/x/resolve/a%20b?c=d/../e");
        for (above, path) in [
            ("", "../x"),
            ("", "/x"),
            ("", "http://other/hf/"),
            ("", "//other/hf/"),
            ("api/", "../x"),
            ("api/", "models/x/tree/main/../../../../whoami-v2"),
            ("api/", "models/%2E%2e/whoami-v2"),
            ("api/", "models/.\t./whoami-v2"),
            ("api/", "models/./x"),
            ("api/", "models\\x"),
        ] {
            assert!(matches!(api.url(above, path), Err(Fault::NotFound)), "{above}{path}");
        }
    }
}
