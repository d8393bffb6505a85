use herring_blob::BlobId;
use http::header::{IF_MATCH, IF_NONE_MATCH};
use http::{HeaderName, HeaderValue, Method, Request};
use url::Url;

use super::api::{empty, with};
use super::link::SentBody;
use super::{ApiClient, ClientError};
use crate::types::{Condition, NameInfo, NameList, NameTarget};

impl ApiClient {
    /// What a name points at.
    pub async fn name(&self, name: &str) -> Result<NameInfo, ClientError> {
        self.json(self.name_url(name)?).await
    }

    /// Points a name at a blob or a tree. [`ClientError::Problem`] of status 412 where the condition does not hold.
    pub async fn put_name(&self, name: &str, target: BlobId, condition: Condition) -> Result<NameInfo, ClientError> {
        let request = self.json_request(Method::PUT, &self.name_url(name)?, &NameTarget { target })?;
        self.parse(self.exchange(on(condition, request)).await?).await
    }

    /// Lets a name point at nothing; what it pointed at stays.
    pub async fn delete_name(&self, name: &str, condition: Condition) -> Result<(), ClientError> {
        let request = self.request(Method::DELETE, &self.name_url(name)?, empty())?;
        self.exchange(on(condition, request)).await.map(drop)
    }

    /// At most `limit` names that begin with `prefix` and come after `after`; the node gives 1000 at a time.
    pub async fn names(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<NameList, ClientError> {
        let (url, limit) = (self.url(["v1", "names"])?, limit.to_string());
        self.json(with(url, [("prefix", Some(prefix)), ("after", after), ("limit", Some(&limit))])).await
    }

    fn name_url(&self, name: &str) -> Result<Url, ClientError> {
        self.url(["v1", "names"].into_iter().chain(name.split('/')))
    }
}

fn on(condition: Condition, mut request: Request<SentBody>) -> Request<SentBody> {
    let (header, tag): (HeaderName, HeaderValue) = match condition {
        Condition::Always => return request,
        Condition::Exists => (IF_MATCH, HeaderValue::from_static("*")),
        Condition::Absent => (IF_NONE_MATCH, HeaderValue::from_static("*")),
        Condition::Version(version) => {
            (IF_MATCH, HeaderValue::from_str(&format!("\"{version}\"")).expect("digits in quotes are valid in a header"))
        }
    };
    request.headers_mut().insert(header, tag);
    request
}
