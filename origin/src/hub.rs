//! A Hugging Face hub, or one repository of one at one commit.
//!
//! A hub counts requests, so little is asked of it: a page of a tree tells of up to 1,000 files what a HEAD tells of one, and where a
//! large file's bytes are is remembered as long as it is true.

mod api;
mod files;
mod place;
mod token;
mod trees;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use herring_blob::ByteRange;
use quick_cache::sync::Cache;
use tokio::sync::OnceCell;

use crate::backend::{Backend, Body, Found};
use crate::cloud::{allows_http, bad_option, rejected};
use crate::error::Fault;
use crate::{ConfigError, Listed, OriginSpec, Page};
use api::Api;
use files::Files;
use place::{Place, is_commit};
use trees::Trees;

const OPTIONS: &str = "endpoint=URL, pinned=true|false, ttl=SECONDS";

/// What is listed of a revision that can move is believed for so long at most here: the swarm believes it for its own time on top.
const FRESH: Duration = Duration::from_secs(1);

/// Of which it is remembered how they are looked up.
const REPOSITORIES: usize = 1024;

/// Git keeps no times. A hub could be asked for each file's last commit, 50 files a request.
pub(crate) const NO_TIME: SystemTime = SystemTime::UNIX_EPOCH;

pub(crate) struct Hub {
    api: Api,
    scope: Scope,
    trees: Trees,
    files: Files,
    /// By repository and revision.
    trusted: Cache<String, bool>,
}

/// What the keys are below.
enum Scope {
    /// `ORG/NAME@REVISION/PATH`, and the same below `datasets/`.
    Whole,
    /// A place in a repository at one commit, once that is known.
    Pinned { place: Place, commit: RwLock<Arc<OnceCell<String>>> },
    /// A place in a repository, wherever its revision moves.
    Followed(Place),
}

impl OriginSpec {
    /// Whether it is a whole hub, `hf://`, of which every repository is a directory.
    pub fn is_whole_hub(&self) -> bool {
        self.url().scheme() == "hf" && below_scheme(self.text()).is_empty()
    }
}

impl Hub {
    /// The hub of `hf://?endpoint=URL`, or of `hf://ORG/NAME@REVISION/PATH?pinned=BOOL` a place in it. What the URL does not say is taken
    /// from the environment: `HF_ENDPOINT`, `HF_TOKEN`.
    pub(crate) fn open(spec: &OriginSpec) -> Result<Self, ConfigError> {
        let mut endpoint = std::env::var("HF_ENDPOINT").ok().filter(|endpoint| !endpoint.is_empty());
        let mut pinned = true;
        for (option, value) in spec.options() {
            match (&*option, value.parse()) {
                ("endpoint", _) => endpoint = Some(value.into_owned()),
                ("pinned", Ok(value)) => pinned = value,
                _ => return Err(bad_option(spec, &option, OPTIONS)),
            }
        }
        let endpoint = endpoint.unwrap_or_else(|| "https://huggingface.co".to_owned());
        let http = allows_http(spec, &endpoint)?;
        let token = token::find(|name| std::env::var(name).ok()).map_err(|why| rejected(spec, why))?;
        let api = Api::new(&endpoint, http, token).map_err(|why| rejected(spec, why))?;
        Ok(Self {
            api,
            scope: scope(spec, pinned)?,
            trees: Trees::new(spec.ttl().min(FRESH)),
            files: Files::new(),
            trusted: Cache::new(REPOSITORIES),
        })
    }

    /// Where a key is; `None` above all repositories.
    async fn place(&self, key: &str) -> Result<Option<Place>, Fault> {
        match &self.scope {
            Scope::Whole => Place::of_key(key).ok_or(Fault::NotFound),
            Scope::Followed(place) => Ok(Some(place.below(key))),
            Scope::Pinned { place, commit } => {
                let commit = now(commit);
                let commit = commit.get_or_try_init(|| self.api.commit(place)).await?;
                Ok(Some(place.below(key).at(commit)))
            }
        }
    }

    /// Whether the tree says of this revision's files what a HEAD says. The first file that is looked up is asked for by itself: a
    /// gated repository shows its trees to everyone, and a mirror may have other ETags.
    async fn trusts_tree(&self, place: &Place, told: &Found) -> Result<bool, Fault> {
        let ask = async { self.files.head(&self.api, place).await.map(|found| found == *told) };
        let revision = format!("{}@{}", place.repository(), place.revision);
        let trusted = self.trusted.get_or_insert_async(&revision, ask).await?;
        if !trusted && !is_commit(&place.revision) {
            // It may only have moved between the two questions.
            self.trusted.remove(&revision);
        }
        Ok(trusted)
    }

    /// What is at a place: looked up in the first page of its directory, which tells of its neighbours too; where that is not all of it,
    /// asked for by itself.
    async fn entry(&self, place: &Place) -> Result<Listed, Fault> {
        let Some((directory, name)) = place.split() else { return Err(Fault::NotFound) };
        let page = self.trees.page(&self.api, &directory, None).await?;
        if let Ok(at) = page.entries.binary_search_by(|entry| entry.name().cmp(name)) {
            return Ok(page.entries[at].clone());
        }
        if page.next.is_none() {
            return Err(Fault::NotFound);
        }
        let Found { version, size, modified } = self.files.head(&self.api, place).await?;
        Ok(Listed::Object { name: name.to_owned(), size, modified, version: Some(version) })
    }
}

#[async_trait]
impl Backend for Hub {
    async fn head(&self, key: &str) -> Result<Found, Fault> {
        let Some(place) = self.place(key).await? else { return Err(Fault::NotFound) };
        match self.entry(&place).await? {
            Listed::Object { size, modified, version: Some(version), .. } => {
                let told = Found { version, size, modified };
                match self.trusts_tree(&place, &told).await? {
                    true => Ok(told),
                    false => self.files.head(&self.api, &place).await,
                }
            }
            Listed::Object { .. } | Listed::Directory { .. } => Err(Fault::NotFound),
        }
    }

    async fn read(&self, key: &str, version: &str, size: u64, range: ByteRange) -> Result<Body, Fault> {
        let Some(place) = self.place(key).await? else { return Err(Fault::NotFound) };
        self.files.read(&self.api, &place, version, size, range).await
    }

    async fn list(&self, prefix: &str, token: Option<&str>) -> Result<Page, Fault> {
        let Some(place) = self.place(prefix).await? else { return Err(Fault::Unlisted) };
        Ok(self.trees.page(&self.api, &place, token).await?.page())
    }

    /// Above all repositories the answer is yes: a hub lists no organisations, and the way to a repository leads through them.
    async fn is_directory(&self, key: &str) -> Result<bool, Fault> {
        let place = match self.place(key).await {
            Ok(Some(place)) => place,
            Ok(None) => return Ok(true),
            Err(Fault::NotFound) => return Ok(false),
            Err(fault) => return Err(fault),
        };
        let found = match self.entry(&place).await {
            Ok(entry) => return Ok(matches!(entry, Listed::Directory { .. })),
            Err(Fault::NotFound) => self.trees.page(&self.api, &place, None).await,
            Err(fault) => Err(fault),
        };
        match found {
            Ok(_) => Ok(true),
            Err(Fault::NotFound) => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    fn is_immutable(&self, key: &str) -> bool {
        match &self.scope {
            Scope::Whole => {
                let pinned = |place: Place| is_commit(&place.revision);
                Place::of_key(key).flatten().is_some_and(pinned) || place::is_document_of_a_commit(key)
            }
            Scope::Followed(place) => is_commit(&place.revision),
            Scope::Pinned { .. } => true,
        }
    }

    async fn document(&self, path: &str) -> Result<Bytes, Fault> {
        match self.scope {
            // Of repositories only: the API also tells whose token it is asked with.
            Scope::Whole if place::is_of_a_repository(path) => self.api.document(path).await,
            Scope::Whole | Scope::Pinned { .. } | Scope::Followed(_) => Err(Fault::NotFound),
        }
    }

    fn pinned(&self) -> bool {
        match &self.scope {
            Scope::Whole | Scope::Followed(_) => true,
            Scope::Pinned { commit, .. } => now(commit).initialized(),
        }
    }

    async fn resolve(&self) -> Result<String, Fault> {
        match &self.scope {
            Scope::Whole | Scope::Followed(_) => Err(Fault::NotFound),
            Scope::Pinned { place, commit } => match now(commit).get() {
                Some(commit) => Ok(commit.clone()),
                None => self.api.commit(place).await,
            },
        }
    }

    fn pin(&self, to: &str) {
        if let Scope::Pinned { place, commit } = &self.scope
            && is_commit(to)
            && !is_commit(&place.revision)
        {
            // As a whole: who has begun to ask at the commit before ends there.
            *commit.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(OnceCell::new_with(Some(to.to_owned())));
        }
    }
}

fn scope(spec: &OriginSpec, pinned: bool) -> Result<Scope, ConfigError> {
    let below = below_scheme(spec.text());
    if below.is_empty() {
        return Ok(Scope::Whole);
    }
    let why = "write hf://ORG/NAME@REVISION, hf://datasets/ORG/NAME@REVISION, or hf:// for the whole hub".to_owned();
    let place = Place::of_url(below).ok_or(ConfigError::Url { name: spec.name().to_owned(), why })?;
    if !pinned {
        return Ok(Scope::Followed(place));
    }
    let known = is_commit(&place.revision).then(|| place.revision.clone());
    Ok(Scope::Pinned { place, commit: RwLock::new(Arc::new(OnceCell::new_with(known))) })
}

fn now(commit: &RwLock<Arc<OnceCell<String>>>) -> Arc<OnceCell<String>> {
    Arc::clone(&commit.read().unwrap_or_else(PoisonError::into_inner))
}

fn below_scheme(text: &str) -> &str {
    let plain = text.split(['?', '#']).next().unwrap_or_default();
    plain.split_once("://").map_or("", |(_, below)| below).trim_matches('/')
}
