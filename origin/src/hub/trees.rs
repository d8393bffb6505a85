use std::sync::Arc;
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;
use serde::Deserialize;

use super::NO_TIME;
use super::api::{Api, malformed, with_cursor};
use super::place::{Place, is_commit};
use crate::error::Fault;
use crate::key::is_name;
use crate::{Listed, Page};

/// Of up to 1,000 entries each, some 150 KiB: 10 MiB in all.
const PAGES: usize = 64;

/// The pages of trees that were asked for lately; who asks for one at the same time waits for the same answer.
pub(super) struct Trees {
    pages: Cache<String, Arc<Leaf>>,
    /// How long the pages of what is no commit are believed.
    fresh: Duration,
}

/// A page of a directory.
pub(super) struct Leaf {
    /// Sorted by name.
    pub entries: Vec<Listed>,
    pub next: Option<String>,
    at: Instant,
}

/// An entry as the hub tells it.
#[derive(Deserialize)]
struct Entry {
    r#type: String,
    path: String,
    oid: String,
    #[serde(default)]
    size: u64,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    oid: String,
    size: u64,
}

impl Trees {
    pub fn new(fresh: Duration) -> Self {
        Self { pages: Cache::new(PAGES), fresh }
    }

    pub async fn page(&self, api: &Api, directory: &Place, cursor: Option<&str>) -> Result<Arc<Leaf>, Fault> {
        let path = directory.tree_path();
        let path = cursor.map_or_else(|| path.clone(), |cursor| with_cursor(&path, cursor));
        let stale = |leaf: &Arc<Leaf>| !is_commit(&directory.revision) && leaf.at.elapsed() >= self.fresh;
        if self.pages.get(&path).as_ref().is_some_and(stale) {
            self.pages.remove(&path);
        }
        self.pages.get_or_insert_async(&path, Leaf::ask(api, &path)).await
    }
}

impl Leaf {
    async fn ask(api: &Api, path: &str) -> Result<Arc<Self>, Fault> {
        let (text, next) = api.page(path).await?;
        let told: Vec<Entry> = serde_json::from_slice(&text).map_err(malformed)?;
        let mut entries: Vec<Listed> = told.into_iter().filter_map(Entry::listed).collect();
        entries.sort_unstable_by(|a, b| a.name().cmp(b.name()));
        Ok(Arc::new(Self { entries, next, at: Instant::now() }))
    }

    pub fn page(&self) -> Page {
        Page { entries: self.entries.clone(), next: self.next.clone() }
    }
}

impl Entry {
    /// A submodule is nothing that the hub has bytes of.
    fn listed(self) -> Option<Listed> {
        let name = self.path.rsplit('/').next().filter(|name| is_name(name))?.to_owned();
        let (version, size) = match self.lfs {
            Some(lfs) => (lfs.oid, lfs.size),
            None => (self.oid, self.size),
        };
        match self.r#type.as_str() {
            "directory" => Some(Listed::Directory { name }),
            "file" => Some(Listed::Object { name, size, modified: NO_TIME, version: Some(version) }),
            _ => None,
        }
    }
}
