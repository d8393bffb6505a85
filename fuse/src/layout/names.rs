//! Names as directories and files.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use herring_blob::BlobId;
use herring_swarm::{NameError, NameInfo, NameList};
use tokio::time::timeout;

use super::Layout;
use crate::error::FsError;
use crate::found::Found;
use crate::listing::{MAX_LISTED, Whole};
use crate::node::Node;
use crate::place::{Place, Slice};
use crate::trees::Root;

/// Names that are asked for at a time.
const PAGE: usize = 1000;
/// Names of a directory that are looked into before the first of them are shown: their trees say how they look.
const LOOKED_INTO: usize = 64;
const AT_ONCE: usize = 16;
/// How long the tree of one of them is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// Sorts after everything that a name can have: what is below a directory is skipped with it.
const LAST: char = char::MAX;

/// What a directory among names has: a name, or a directory with names in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    pub name: String,
    /// What a name points at, its full name included; of a directory, nothing.
    pub info: Option<NameInfo>,
}

impl Layout {
    /// There can be both `a` and `a/b`: then `a` is what it points at, and the mount does not show the other.
    pub(super) async fn find_name(&self, prefix: &str, segment: &str) -> Result<Found, FsError> {
        if is_hidden(prefix, segment) {
            return Err(FsError::NoEntry);
        }
        let name = Place::key(prefix, segment);
        match self.swarm.name_now(&name).await {
            Ok(info) => self.named(info).await,
            Err(NameError::Invalid { .. }) => Err(FsError::NoEntry),
            // A directory is there as long as anyone knows of a name in it, even where too few answer to be sure of one.
            Err(_) if self.is_above_names(&name).await => Ok(Found::Node(self.directory(Place::Names { prefix: name }))),
            Err(error) => Err(error.into()),
        }
    }

    async fn is_above_names(&self, name: &str) -> bool {
        self.swarm.names_now(&format!("{name}/"), None, 1).await.is_ok_and(|found| !found.names.is_empty())
    }

    /// What a name points at: the directory that is a tree, or a file.
    async fn named(&self, info: NameInfo) -> Result<Found, FsError> {
        let open = match self.trees.find(info.target) {
            Some(open) => Some(open),
            None => self.swarm.open_tree(info.target).await.map_err(super::gone)?,
        };
        match open {
            Some(open) => Ok(Found::Root(Root { name: info.name, open })),
            None => self.file(info.target, info.modified_ms).await.map(Found::Node),
        }
    }

    /// Its time is when the name was given, which is the same on all nodes.
    async fn file(&self, id: BlobId, modified_ms: u64) -> Result<Node, FsError> {
        let content = self.open_blob(id).await?;
        let modified_ns = i64::try_from(modified_ms).unwrap_or_default().saturating_mul(1_000_000);
        let node = Node::slice(Slice { id, offset: 0, size: content.size(), mode: 0o444, modified_ns });
        // Nobody else has the node yet.
        let _ = node.content.set(content);
        Ok(node)
    }

    /// One level of the names.
    pub(super) async fn list_names(&self, prefix: &str) -> Result<Vec<Segment>, FsError> {
        let within = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        let mut segments = BTreeMap::new();
        let mut after = None::<String>;
        loop {
            let NameList { names, next } = self.swarm.names_now(&within, after.as_deref(), PAGE).await?;
            let mut below = None;
            for info in names {
                below = add(&mut segments, &within, info);
            }
            if segments.len() > MAX_LISTED as usize {
                return Err(FsError::ListingsFull);
            }
            let Some(next) = next else { break };
            after = Some(below.map_or(next, |segment| format!("{within}{segment}/{LAST}")));
        }
        // No directory but the first is there without names in it: it was deleted, or it is a name that could not be looked into.
        if segments.is_empty() && !prefix.is_empty() {
            return Err(FsError::Gone);
        }
        let dots = [".", ".."].map(|name| Segment { name: name.to_owned(), info: None });
        let shown = segments.into_iter().filter(|(name, _)| !is_hidden(prefix, name));
        Ok(dots.into_iter().chain(shown.map(|(name, info)| Segment { name, info })).collect())
    }

    /// What some of the names are, from `offset` on: trees are opened for that.
    pub async fn look_into(&self, prefix: &str, whole: &Whole<Segment>, offset: u64) -> Vec<(u64, String, Found)> {
        let some: Vec<_> = whole.from(offset).take(LOOKED_INTO).map(|(next, segment)| (next, segment.clone())).collect();
        let found = some.into_iter().map(|(next, segment)| async move {
            let found = self.segment(prefix, &segment).await;
            (next, segment.name, found)
        });
        stream::iter(found).buffered(AT_ONCE).collect().await
    }

    /// One that cannot be looked into is shown all the same: who goes there learns why.
    async fn segment(&self, prefix: &str, segment: &Segment) -> Found {
        let here = Place::Names { prefix: prefix.to_owned() };
        let place = match (&*segment.name, &segment.info) {
            (".", _) => here,
            ("..", _) => here.parent(),
            (_, None) => Place::Names { prefix: Place::key(prefix, &segment.name) },
            (_, Some(info)) => match timeout(PATIENCE, self.named(info.clone())).await {
                Ok(Ok(found)) => return found,
                _ => return Found::Unopened(self.directory(Place::Names { prefix: info.name.clone() })),
            },
        };
        Found::Node(self.directory(place))
    }
}

/// Names that begin with a dot are the swarm's own.
fn is_hidden(prefix: &str, segment: &str) -> bool {
    prefix.is_empty() && segment.starts_with('.')
}

/// Adds what a name is one level below `within`. Gives the directory that it is in, if that is a level further down.
fn add(segments: &mut BTreeMap<String, Option<NameInfo>>, within: &str, info: NameInfo) -> Option<String> {
    let rest = info.name.strip_prefix(within)?;
    match rest.split_once('/') {
        Some((directory, _)) => {
            let directory = directory.to_owned();
            segments.entry(directory.clone()).or_insert(None);
            Some(directory)
        }
        None => {
            segments.insert(rest.to_owned(), Some(info));
            None
        }
    }
}
