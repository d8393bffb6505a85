use bytes::Bytes;
use herring_blob::ByteRange;
use herring_swarm::{OpenError, Swarm};
use http::{Method, Request, Response, StatusCode, header};
use serde::Deserialize;
use serde_json::Value;

use super::answer::{Wanted, about, condition, content_range, json, with};
use super::refusal::Refusal;
use super::route::{Repository, encode};
use crate::Body;
use crate::object::{Object, Verdict};

/// The hub that is an origin of this swarm's.
pub(super) struct Hub {
    pub swarm: Swarm,
    pub origin: String,
}

/// What is needed of the hub's description of a revision.
#[derive(Deserialize)]
struct Revision {
    sha: String,
}

impl Hub {
    pub async fn info(&self, repository: &Repository, revision: Option<&str>, query: &str) -> Result<Response<Body>, Refusal> {
        let revision = revision.map_or_else(String::new, |revision| format!("/revision/{}", encode(revision)));
        let path = format!("{}{revision}{query}", repository.api());
        match self.swarm.document(&self.origin, &path).await {
            Ok(text) => Ok(json(text)),
            Err(error) => Err(self.missing(repository, error).await),
        }
    }

    /// All of a tree at once, whatever its size: the pages were put together when it came from the hub.
    pub async fn tree(&self, repository: &Repository, revision: &str, path: &str, query: &str) -> Result<Response<Body>, Refusal> {
        let path: String = path.split('/').filter(|segment| !segment.is_empty()).map(|segment| format!("/{}", encode(segment))).collect();
        let tree = format!("{}/tree/{}{path}{query}", repository.api(), encode(revision));
        match self.swarm.document(&self.origin, &tree).await {
            Ok(text) => Ok(json(plain_tree(&tree, &text)?)),
            Err(error @ OpenError::NotFound { .. }) => {
                let commit = self.commit(repository, revision).await?;
                Err(Refusal::no_entry(error.to_string()).at(&commit))
            }
            Err(error) => Err(error.into()),
        }
    }

    pub async fn file(
        &self,
        repository: &Repository,
        revision: &str,
        path: &str,
        request: &Request<()>,
    ) -> Result<Response<Body>, Refusal> {
        let commit = match is_commit(revision) {
            true => revision.to_owned(),
            false => self.commit(repository, revision).await?,
        };
        let object = match Object::open(&self.swarm, &self.origin, &repository.key(&commit, path)).await {
            Ok(object) => object,
            Err(error @ (OpenError::NotFound { .. } | OpenError::InvalidKey { .. })) => {
                self.commit(repository, revision).await?;
                return Err(Refusal::no_entry(error.to_string()).at(&commit));
            }
            Err(error) => return Err(error.into()),
        };
        self.give(&object, &commit, request).await
    }

    async fn give(&self, object: &Object, commit: &str, request: &Request<()>) -> Result<Response<Body>, Refusal> {
        let (size, headers) = (object.content.size(), request.headers());
        let (if_match, if_none_match) = (condition(headers, header::IF_MATCH), condition(headers, header::IF_NONE_MATCH));
        match object.judge(if_match.as_ref(), if_none_match.as_ref()) {
            Verdict::Failed => return Err(Refusal::precondition()),
            Verdict::NotModified => return Ok(about(object, commit, StatusCode::NOT_MODIFIED)),
            Verdict::Proceed => {}
        }
        let (status, range) = match Wanted::of(headers, size) {
            Wanted::Whole => (StatusCode::OK, ByteRange::new(0, size)),
            Wanted::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
            Wanted::Unsatisfiable => {
                let mut response = with(about(object, commit, StatusCode::RANGE_NOT_SATISFIABLE), 0, None);
                content_range(&mut response, &format!("bytes */{size}"));
                return Ok(response);
            }
        };
        let pieces = match *request.method() == Method::HEAD {
            true => None,
            false => Some(object.read(&self.swarm, range).await?),
        };
        let mut response = with(about(object, commit, status), range.len(), pieces);
        if status == StatusCode::PARTIAL_CONTENT {
            content_range(&mut response, &format!("bytes {}-{}/{size}", range.start, range.end - 1));
        }
        Ok(response)
    }

    /// The commit that a revision is now.
    async fn commit(&self, repository: &Repository, revision: &str) -> Result<String, Refusal> {
        let path = format!("{}/revision/{}", repository.api(), encode(revision));
        match self.swarm.document(&self.origin, &path).await {
            Ok(text) => match serde_json::from_slice::<Revision>(&text) {
                Ok(revision) if is_commit(&revision.sha) => Ok(revision.sha),
                Ok(revision) => Err(Refusal::malformed(&path, format!("{:?} is no commit", revision.sha))),
                Err(error) => Err(Refusal::malformed(&path, error)),
            },
            Err(error) => Err(self.missing(repository, error).await),
        }
    }

    /// Of a revision that is not there: whether it is the repository that is missing.
    async fn missing(&self, repository: &Repository, error: OpenError) -> Refusal {
        if !matches!(error, OpenError::NotFound { .. }) {
            return error.into();
        }
        match self.swarm.document(&self.origin, &repository.api()).await {
            Ok(_) => Refusal::no_revision(error.to_string()),
            Err(OpenError::NotFound { .. }) => Refusal::no_repository(error.to_string()),
            Err(error) => error.into(),
        }
    }
}

fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The tree without what leads around this node: clients that find a `xetHash` in it fetch that file from the hub's own stores, by
/// a protocol of their own.
fn plain_tree(path: &str, text: &Bytes) -> Result<Bytes, Refusal> {
    let mut entries: Vec<serde_json::Map<String, Value>> =
        serde_json::from_slice(text).map_err(|error| Refusal::malformed(path, error))?;
    for entry in &mut entries {
        entry.remove("xetHash");
    }
    let text = serde_json::to_vec(&entries).map_err(|error| Refusal::malformed(path, error))?;
    Ok(text.into())
}
