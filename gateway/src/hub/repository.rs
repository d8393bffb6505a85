use std::collections::{BTreeMap, BTreeSet};

use herring_blob::ByteRange;
use herring_swarm::{OpenError, Swarm};
use http::request::Parts;
use http::{Method, Response, StatusCode, header};
use serde::Deserialize;

use super::answer::{Wanted, about, condition, content_range, json, with};
use super::refusal::Refusal;
use super::route::{Repository, encode, has_dots};
use super::tree::{self, Entries};
use crate::Body;
use crate::object::{Object, Verdict};

/// The hub that is an origin of this swarm's.
pub(super) struct Hub {
    pub swarm: Swarm,
    pub origin: String,
}

/// Directories that one form may name: each is a question to the hub.
const MAX_DIRECTORIES: usize = 1000;

/// What is needed of the hub's description of a revision.
#[derive(Deserialize)]
struct Revision {
    sha: String,
}

impl Hub {
    pub async fn info(&self, repository: &Repository, revision: Option<&str>, query: &str) -> Result<Response<Body>, Refusal> {
        let at = |revision: &str| format!("/revision/{}{query}", encode(revision));
        let Some(revision) = revision else {
            return match self.told(repository, query).await {
                // A hub says the same of the default branch, which it calls so: that may be known here where the hub is away.
                Err(refusal) if refusal.is_passing() => self.told(repository, &at("main")).await.map_err(|_| refusal),
                told => told,
            };
        };
        self.told(repository, &at(revision)).await
    }

    /// What the hub's API says behind a repository's path.
    pub async fn told(&self, repository: &Repository, below: &str) -> Result<Response<Body>, Refusal> {
        match self.swarm.document(&self.origin, &format!("{}{below}", repository.api())).await {
            Ok(text) => Ok(json(text)),
            Err(error) => Err(self.missing(repository, error).await),
        }
    }

    /// All of a tree at once, whatever its size: the pages were put together when it came from the hub.
    pub async fn tree(
        &self,
        repository: &Repository,
        revision: &str,
        path: &str,
        query: &str,
    ) -> Result<Response<Body>, Refusal> {
        match self.entries(repository, revision, path, query, None).await? {
            Ok(entries) => Ok(json(tree::whole(&entries))),
            Err(missing) => {
                let commit = self.commit(repository, revision).await?;
                Err(Refusal::no_entry(missing.to_string()).at(&commit))
            }
        }
    }

    /// Of the paths that a form names, those that are there: looked up in the directories that they are in.
    pub async fn paths(
        &self,
        repository: &Repository,
        revision: &str,
        form: Vec<(String, String)>,
    ) -> Result<Response<Body>, Refusal> {
        let expand = form.iter().any(|(name, value)| name == "expand" && value.eq_ignore_ascii_case("true"));
        let mut wanted: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for (_, path) in form.iter().filter(|(name, _)| name == "paths") {
            let path = path.trim_matches('/');
            if has_dots(path) {
                return Err(Refusal::form(format_args!("{path:?} has a segment . or ..")));
            }
            let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
            wanted.entry(directory).or_default().insert(path.to_owned());
        }
        if wanted.len() > MAX_DIRECTORIES {
            return Err(Refusal::form(format_args!(
                "its paths are in {} directories; {MAX_DIRECTORIES} can be asked for at once",
                wanted.len()
            )));
        }
        let mut found = Vec::new();
        for (directory, paths) in wanted {
            let query = if expand { "?expand=true" } else { "" };
            if let Ok(entries) = self.entries(repository, revision, directory, query, Some(paths)).await? {
                found.extend(entries);
            }
        }
        if found.is_empty() {
            self.commit(repository, revision).await?;
        }
        Ok(json(tree::whole(&found)))
    }

    /// What is below a directory, or only `these` paths of it. The inner error: there is no such directory, or nothing that could have one.
    async fn entries(
        &self,
        repository: &Repository,
        revision: &str,
        path: &str,
        query: &str,
        these: Option<BTreeSet<String>>,
    ) -> Result<Result<Entries, OpenError>, Refusal> {
        let path: String = path.split('/').filter(|name| !name.is_empty()).map(|name| format!("/{}", encode(name))).collect();
        let tree = format!("{}/tree/{}{path}{query}", repository.api(), encode(revision));
        let told = match self.swarm.document(&self.origin, &tree).await {
            Ok(told) => told,
            Err(missing @ OpenError::NotFound { .. }) => return Ok(Err(missing)),
            Err(error) => return Err(error.into()),
        };
        tree::entries(&tree, told, these).await.map(Ok)
    }

    pub async fn file(
        &self,
        repository: &Repository,
        revision: &str,
        path: &str,
        request: &Parts,
    ) -> Result<Response<Body>, Refusal> {
        let commit = match is_commit(revision) {
            true => revision.to_owned(),
            false => self.commit(repository, revision).await?,
        };
        let object = match Object::open(&self.swarm, &self.origin, &repository.key(&commit, path), 0).await {
            Ok(object) => object,
            Err(error @ (OpenError::NotFound { .. } | OpenError::InvalidKey { .. })) => {
                self.commit(repository, revision).await?;
                return Err(Refusal::no_entry(error.to_string()).at(&commit));
            }
            Err(error) => return Err(error.into()),
        };
        self.give(&object, &commit, request).await
    }

    async fn give(&self, object: &Object, commit: &str, request: &Parts) -> Result<Response<Body>, Refusal> {
        let (size, headers) = (object.content.size(), &request.headers);
        let (if_match, if_none_match) = (condition(headers, header::IF_MATCH), condition(headers, header::IF_NONE_MATCH));
        match object.judge(if_match.as_ref(), if_none_match.as_ref()) {
            Verdict::Failed => return Err(Refusal::precondition()),
            Verdict::NotModified => return Ok(about(object, commit, StatusCode::NOT_MODIFIED)),
            Verdict::Proceed => {}
        }
        let (status, range) = match Wanted::of(headers, object) {
            Wanted::Whole => (StatusCode::OK, ByteRange::new(0, size)),
            Wanted::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
            Wanted::Unsatisfiable => {
                let mut response = with(about(object, commit, StatusCode::RANGE_NOT_SATISFIABLE), 0, None);
                content_range(&mut response, &format!("bytes */{size}"));
                return Ok(response);
            }
        };
        let pieces = match request.method == Method::HEAD {
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
