use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::SystemTime;

use herring_swarm::{Listed, Page};
use tokio::sync::Mutex;

use crate::error::FsError;
use crate::found::Found;
use crate::layout::listed;
use crate::node::Node;
use crate::place::Place;

/// Pages kept of one listing: the one that is being read, and the one before for a reader who had no room for its last names.
const HELD: usize = 2;
/// Pages of which it is kept how to ask for them, for readers that go back. More than the thousand of a directory of a million names.
const MAX_TOKENS: usize = 1024;
/// An offset is 2 more than the number of a page times this, plus an index in the page.
const PAGE_BITS: u32 = 20;

/// A directory of an origin that is listed page by page. However large it is, this is not.
pub(crate) struct Paged {
    pub origin: String,
    pub prefix: String,
    /// The time of directories.
    mounted: SystemTime,
    /// One page is asked for at a time: its token is in the page before.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The newest last.
    held: VecDeque<Held>,
    /// What to ask for a page with, by its number; of the first, nothing.
    tokens: BTreeMap<u64, String>,
}

#[derive(Clone)]
struct Held {
    number: u64,
    page: Arc<Page>,
    /// How often names had been taken back before it was asked for.
    since: u64,
}

/// A page from some name on.
pub(crate) struct PageOf {
    of: Arc<Paged>,
    held: Held,
    /// The offset that was asked for, for the sake of `.` and `..`.
    offset: u64,
    index: usize,
    pub since: u64,
}

impl Paged {
    pub fn new(origin: String, prefix: String, mounted: SystemTime) -> Self {
        Self { origin, prefix, mounted, state: Mutex::default() }
    }

    /// What there is from `offset` on: of the page in which that is, or of the next one that shows anything. `ask` gets a token and gives the page and how
    /// often names had been taken back before.
    pub async fn part<F>(self: &Arc<Self>, offset: u64, ask: impl Fn(Option<String>) -> F) -> Result<PageOf, FsError>
    where
        F: Future<Output = Result<(Arc<Page>, u64), FsError>>,
    {
        let (mut number, mut index) = position(offset);
        let mut state = self.state.lock().await;
        loop {
            let held = state.page(number, &ask).await?;
            if held.number != number {
                // There were more pages when the reader began.
                index = usize::MAX;
            }
            let part = PageOf { of: Arc::clone(self), since: held.since, held, offset, index };
            if part.held.page.next.is_none() || part.items().next().is_some() {
                return Ok(part);
            }
            (number, index) = (part.held.number + 1, 0);
        }
    }

    fn dots(&self) -> [(u64, &'static str, Found); 2] {
        let here = Place::Prefix { origin: self.origin.clone(), prefix: self.prefix.clone() };
        let directory = |place| Found::Node(Node::new(place, 0, self.mounted));
        [(1, ".", directory(here.clone())), (2, "..", directory(here.parent()))]
    }
}

impl State {
    /// The page with this number; where there are fewer of them by now, the last one.
    async fn page<F>(&mut self, number: u64, ask: &impl Fn(Option<String>) -> F) -> Result<Held, FsError>
    where
        F: Future<Output = Result<(Arc<Page>, u64), FsError>>,
    {
        if let Some(held) = self.held.iter().find(|held| held.number == number) {
            return Ok(held.clone());
        }
        let known = self.tokens.range(..=number).next_back();
        let (mut at, mut token) = known.map_or((0, None), |(at, token)| (*at, Some(token.clone())));
        loop {
            let (page, since) = ask(token).await?;
            let held = self.hold(Held { number: at, page, since });
            match &held.page.next {
                Some(next) if at < number => token = Some(next.clone()),
                _ => return Ok(held),
            }
            at += 1;
        }
    }

    fn hold(&mut self, held: Held) -> Held {
        if let Some(next) = &held.page.next {
            self.remember(held.number + 1, next.clone());
        }
        self.held.retain(|other| other.number != held.number);
        if self.held.len() == HELD {
            self.held.pop_front();
        }
        self.held.push_back(held.clone());
        held
    }

    /// Of too many, every second one is forgotten: who wants such a page gets it by way of the one before.
    fn remember(&mut self, number: u64, token: String) {
        self.tokens.insert(number, token);
        if self.tokens.len() > MAX_TOKENS {
            let mut odd = false;
            self.tokens.retain(|kept, _| {
                odd = !odd;
                odd || *kept == number
            });
        }
    }
}

impl PageOf {
    /// What is from the offset on, each with the offset of what follows it. A bucket can have both `a` and `a/b`: then `a` is the file, as for who looks
    /// it up, and the directory of that name, which is before it, is not shown.
    pub fn items(&self) -> impl Iterator<Item = (u64, &str, Found)> {
        let dots = (self.offset < 2).then(|| self.of.dots());
        let all = &self.held.page.entries;
        let is_shown = |(index, one): &(usize, &Listed)| all.get(index + 1).is_none_or(|next| next.name() != one.name());
        let entries = all.iter().enumerate().skip(self.index).filter(is_shown);
        let items = entries.filter_map(|(index, one)| Some((self.after(index), one.name(), self.found(one)?)));
        dots.into_iter().flatten().filter(move |(next, ..)| *next > self.offset).chain(items)
    }

    fn found(&self, one: &Listed) -> Option<Found> {
        listed(&self.of.origin, &self.of.prefix, one, self.of.mounted).map(Found::Node)
    }

    fn after(&self, index: usize) -> u64 {
        let (page, index) = match &self.held.page.next {
            Some(_) if index + 1 == self.held.page.entries.len() => (self.held.number + 1, 0),
            _ => (self.held.number, index as u64 + 1),
        };
        2 + ((page << PAGE_BITS) | index)
    }
}

/// The page with what is at `offset`, and where in it that is.
fn position(offset: u64) -> (u64, usize) {
    let n = offset.saturating_sub(2);
    let index = n & ((1 << PAGE_BITS) - 1);
    (n >> PAGE_BITS, usize::try_from(index).unwrap_or_default())
}

#[cfg(test)]
mod tests;
