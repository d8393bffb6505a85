//! Origins as directories.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::{StreamExt, stream};
use herring_blob::ByteRange;
use herring_swarm::{Content, Found as InOrigin, Listed, OpenError, Page, ReadError};
use tokio::time::timeout;

use super::{Layout, NAME_MAX};
use crate::error::FsError;
use crate::listing::Item;
use crate::node::Node;
use crate::opening::is_opening;
use crate::place::Place;

/// Pages after which few names that are in doubt are rather asked for one by one.
const FEW_PAGES: usize = 10;
/// Names that are few: a tenth of a page costs an origin less than the pages of a directory that may be of any size.
const FEW_NAMES: usize = 100;
/// Names that are asked for one by one where nothing can be listed.
const MANY_NAMES: usize = 1000;
/// Pages of one directory that are looked through at most, 10 million names. Names that are in doubt then are taken back, and asked for again.
const MOST_PAGES: usize = 10_000;
const AT_ONCE: usize = 4;
/// How long an open waits for the first byte, which its reader would wait for next. One without it is opened all the same.
const SOON: Duration = Duration::from_secs(1);

/// Whether a name holds that the kernel believes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doubt {
    /// Nothing was heard of it.
    Open,
    Confirmed,
    Refuted,
}

impl Layout {
    pub(super) fn find_origin(&self, name: &str) -> Result<Node, FsError> {
        if !self.swarm.origin_names().iter().any(|known| known == name) {
            return Err(FsError::NoEntry);
        }
        Ok(self.directory(Place::Prefix { origin: name.to_owned(), prefix: String::new() }))
    }

    pub(super) fn list_origins(&self) -> impl Iterator<Item = Item> {
        let place = |origin: &String| Place::Prefix { origin: origin.clone(), prefix: String::new() };
        self.swarm.origin_names().into_iter().map(move |origin| self.item(&origin, place(&origin)))
    }

    /// A bucket can have both `a` and `a/b`: then `a` is the file. Who opens it will read it: then its first chunk comes with the answer.
    pub(super) async fn find_key(&self, origin: &str, key: String, reader: u32) -> Result<Node, FsError> {
        let reading = u64::from(is_opening(reader).await);
        let mut found = self.swarm.look_up_to_read(origin, &key, reading).await;
        if let Ok(InOrigin::Object(content)) = &found
            && reading > 0
            && self.is_old(content).await
        {
            found = self.swarm.look_up_to_read(origin, &key, reading).await;
        }
        match found {
            Ok(InOrigin::Object(content)) => Ok(Node::opened(content)),
            Ok(InOrigin::Directory) => Ok(self.directory(Place::Prefix { origin: origin.to_owned(), prefix: key })),
            Err(OpenError::InvalidKey { .. }) => Err(FsError::NoEntry),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the origin has another version by now, as far as it says so soon: who has not opened the old one yet need not fail to read it.
    async fn is_old(&self, content: &Content) -> bool {
        let first = timeout(SOON, self.swarm.read(content, ByteRange::new(0, 1))).await;
        matches!(first, Ok(Err(ReadError::Changed { .. })))
    }

    /// A page of a directory. `since` is how often names had been taken back before.
    pub async fn page(&self, origin: &str, prefix: &str, token: Option<&str>, since: u64) -> Result<Arc<Page>, FsError> {
        let page = self.swarm.list_page(origin, prefix, token).await;
        match &page {
            Ok(page) => self.recent.note(origin, prefix, page, since),
            Err(OpenError::Unlisted { detail }) => self.note_unlisted(origin, detail),
            Err(_) => {}
        }
        // The C library takes ENOENT in a listing for its end: what is gone would look empty.
        page.map_err(super::gone)
    }

    /// What `name` was when a directory of an origin was listed a moment ago.
    pub fn find_listed(&self, parent: &Place, name: &str, since: u64) -> Option<Node> {
        let Place::Prefix { origin, prefix } = parent else { return None };
        let one = self.recent.find(origin, prefix, name, since, self.swarm.origin_ttl(origin))?;
        listed(origin, prefix, &one, self.mounted)
    }

    /// Once for each origin.
    fn note_unlisted(&self, origin: &str, detail: &str) {
        // An insertion is done or not.
        if self.unlisted.lock().unwrap_or_else(PoisonError::into_inner).insert(origin.to_owned()) {
            tracing::warn!(origin, detail, "an origin cannot be listed: its files are there for who knows their names");
        }
    }

    /// Those of the `known` names in a directory of an origin that are gone, or something else by now.
    ///
    /// An origin that does not answer changes nothing: stale beats broken. One that answers but cannot list all of the directory leaves in doubt
    /// what it did not list.
    pub async fn stale(&self, origin: &str, prefix: &str, known: Vec<Arc<Node>>) -> Vec<Arc<Node>> {
        let mut doubts = Doubts::new(known);
        let mut token = None;
        for number in 1..=MOST_PAGES {
            match self.swarm.list_page(origin, prefix, token.as_deref()).await {
                Ok(page) => {
                    page.entries.iter().for_each(|one| doubts.hear(one));
                    token.clone_from(&page.next);
                }
                Err(OpenError::Unlisted { .. }) if doubts.left <= MANY_NAMES => return self.ask_each(doubts).await,
                Err(OpenError::Unavailable { .. }) if !self.swarm.origin_answers(origin) => return doubts.refuted(),
                Err(_) => break,
            }
            if token.is_none() || doubts.left == 0 {
                break;
            }
            if number >= FEW_PAGES && doubts.left <= FEW_NAMES {
                return self.ask_each(doubts).await;
            }
        }
        doubts.unconfirmed()
    }

    /// Looks for what is in doubt, name by name.
    async fn ask_each(&self, doubts: Doubts) -> Vec<Arc<Node>> {
        let open = stream::iter(doubts.open());
        let asked = open.map(|node| async move { (!self.holds(&node).await).then_some(node) });
        let gone: Vec<_> = asked.buffer_unordered(AT_ONCE).filter_map(std::future::ready).collect().await;
        doubts.refuted().into_iter().chain(gone).collect()
    }

    async fn holds(&self, node: &Node) -> bool {
        let (origin, key) = match &node.place {
            Place::Object(object) => (&object.origin, &object.key),
            Place::Prefix { origin, prefix } => (origin, prefix),
            _ => return false,
        };
        match self.swarm.look_up(origin, key).await {
            Ok(InOrigin::Object(content)) => node.is(&content),
            Ok(InOrigin::Directory) => matches!(node.place, Place::Prefix { .. }),
            Err(error) => matches!(error, OpenError::Unavailable { .. }),
        }
    }
}

/// Nodes that the kernel knows by their names, and what was heard of them.
struct Doubts {
    by_name: HashMap<String, Vec<(Arc<Node>, Doubt)>>,
    /// Of how many nothing was heard.
    left: usize,
}

impl Doubts {
    fn new(known: Vec<Arc<Node>>) -> Self {
        let (mut by_name, left): (HashMap<_, Vec<_>>, _) = (HashMap::new(), known.len());
        for node in known {
            by_name.entry(node.place.name()).or_default().push((node, Doubt::Open));
        }
        Self { by_name, left }
    }

    /// Of an object and a directory of one name the object is what a lookup finds; they need not be in one page.
    fn hear(&mut self, listed: &Listed) {
        for (node, doubt) in self.by_name.get_mut(listed.name()).into_iter().flatten() {
            let before = *doubt;
            *doubt = match (listed, &node.place) {
                (Listed::Object { .. }, _) if node.is_listed(listed) => Doubt::Confirmed,
                (Listed::Object { .. }, _) => Doubt::Refuted,
                (Listed::Directory { .. }, Place::Prefix { .. }) if before == Doubt::Open => Doubt::Confirmed,
                (Listed::Directory { .. }, _) => before,
            };
            self.left -= usize::from(before == Doubt::Open && *doubt != Doubt::Open);
        }
    }

    fn of(&self, is: impl Fn(Doubt) -> bool) -> Vec<Arc<Node>> {
        let nodes = self.by_name.values().flatten().filter(|(_, doubt)| is(*doubt));
        nodes.map(|(node, _)| Arc::clone(node)).collect()
    }

    fn open(&self) -> Vec<Arc<Node>> {
        self.of(|doubt| doubt == Doubt::Open)
    }

    fn refuted(&self) -> Vec<Arc<Node>> {
        self.of(|doubt| doubt == Doubt::Refuted)
    }

    fn unconfirmed(&self) -> Vec<Arc<Node>> {
        self.of(|doubt| doubt != Doubt::Confirmed)
    }
}

/// An entry of a directory as its listing has it; `mounted` is the time of directories. Nothing for a name that no program could ask for.
pub(crate) fn listed(origin: &str, prefix: &str, one: &Listed, mounted: SystemTime) -> Option<Node> {
    if one.name().len() > NAME_MAX {
        return None;
    }
    let (origin, key) = (origin.to_owned(), Place::key(prefix, one.name()));
    Some(match one {
        Listed::Directory { .. } => Node::new(Place::Prefix { origin, prefix: key }, 0, mounted),
        Listed::Object { size, modified, version, .. } => {
            Node::new(Place::listed(origin, key, version.clone(), *size, *modified), *size, *modified)
        }
    })
}
