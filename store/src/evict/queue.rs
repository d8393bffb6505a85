//! S3-FIFO: three queues instead of a list that every hit reorders. What is new waits in a small one, 10 % of the bytes, and goes from
//! there unless it was hit twice meanwhile: so a scan passes through that tenth and leaves the rest alone. What was hit goes to the main
//! one, where each hit buys another round. Of what went out of the small one the key is remembered for a while: it was no scan if it comes back.

use std::collections::{HashMap, VecDeque};

/// The part of all blocks that the small queue may have: one in so many.
const SMALL: u64 = 10;
/// Keys that are remembered at least; else as many as items wait.
const GHOSTS: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Small,
    Main,
}

/// What becomes of an item whose turn has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It means nothing any more.
    Forget,
    /// It stays: to the end of the main queue.
    Again,
    /// It must not go: out of the way until [`recall`](Queue::recall).
    Aside,
    Out {
        key: u64,
    },
}

/// An item, and the blocks of the disk that it takes.
pub(super) struct Waiting<T> {
    pub item: T,
    pub blocks: u32,
}

struct Fifo<T> {
    items: VecDeque<Waiting<T>>,
    blocks: u64,
}

pub(super) struct Queue<T> {
    small: Fifo<T>,
    main: Fifo<T>,
    aside: Fifo<T>,
    ghost: Ghost,
}

impl<T> Queue<T> {
    pub fn new() -> Self {
        Self { small: Fifo::new(), main: Fifo::new(), aside: Fifo::new(), ghost: Ghost::default() }
    }

    /// A new item.
    pub fn push(&mut self, item: T, blocks: u32, key: u64) {
        let to = if self.ghost.take(key) { &mut self.main } else { &mut self.small };
        to.push(Waiting { item, blocks });
    }

    /// One that was there before.
    pub fn push_back(&mut self, waiting: Waiting<T>) {
        self.main.push(waiting);
    }

    /// The next to go, by what `judge` says of those whose turn comes: of the item, where it waited, and the blocks that are aside.
    /// `None` where all that is left has been asked as often as hits can save it.
    pub fn next(&mut self, mut judge: impl FnMut(&T, Part, u64) -> Step) -> Option<Waiting<T>> {
        for _ in 0..=4 * self.len() {
            let part = if self.small.blocks * SMALL > self.blocks() { Part::Small } else { Part::Main };
            let waiting = match part {
                Part::Small => self.small.pop()?,
                Part::Main => self.main.pop()?,
            };
            match judge(&waiting.item, part, self.aside.blocks) {
                Step::Forget => {}
                Step::Again => self.main.push(waiting),
                Step::Aside => self.aside.push(waiting),
                Step::Out { key } => {
                    if part == Part::Small {
                        self.ghost.remember(key, self.len().max(GHOSTS));
                    }
                    return Some(waiting);
                }
            }
        }
        None
    }

    /// What is aside is asked again.
    pub fn recall(&mut self) {
        while let Some(waiting) = self.aside.pop() {
            self.main.push(waiting);
        }
    }

    /// Forgets the items that are not `wanted`.
    pub fn retain(&mut self, wanted: impl Fn(&T) -> bool) {
        for fifo in [&mut self.small, &mut self.main, &mut self.aside] {
            fifo.items.retain(|waiting| wanted(&waiting.item));
            fifo.blocks = fifo.items.iter().map(|waiting| u64::from(waiting.blocks)).sum();
        }
    }

    /// Items that may go.
    pub fn len(&self) -> usize {
        self.small.items.len() + self.main.items.len()
    }

    #[cfg(test)]
    pub fn all(&self) -> usize {
        self.len() + self.aside.items.len()
    }

    fn blocks(&self) -> u64 {
        self.small.blocks + self.main.blocks
    }

    pub fn blocks_aside(&self) -> u64 {
        self.aside.blocks
    }
}

impl<T> Fifo<T> {
    fn new() -> Self {
        Self { items: VecDeque::new(), blocks: 0 }
    }

    fn push(&mut self, waiting: Waiting<T>) {
        self.blocks += u64::from(waiting.blocks);
        self.items.push_back(waiting);
    }

    fn pop(&mut self) -> Option<Waiting<T>> {
        let waiting = self.items.pop_front()?;
        self.blocks -= u64::from(waiting.blocks);
        Some(waiting)
    }
}

/// The keys of the last that went, each with the number under which it did.
#[derive(Default)]
struct Ghost {
    order: VecDeque<(u64, u64)>,
    known: HashMap<u64, u64>,
    next: u64,
}

impl Ghost {
    fn remember(&mut self, key: u64, most: usize) {
        self.known.insert(key, self.next);
        self.order.push_back((key, self.next));
        self.next += 1;
        while self.order.len() > most {
            let oldest = self.order.pop_front();
            // Where it went once more since then, that counts.
            if let Some((key, number)) = oldest.filter(|(key, number)| self.known.get(key) == Some(number)) {
                debug_assert!(number < self.next);
                self.known.remove(&key);
            }
        }
    }

    /// Whether the key is remembered; from now on it is not.
    fn take(&mut self, key: u64) -> bool {
        self.known.remove(&key).is_some()
    }
}

#[cfg(test)]
mod tests;
