use proptest::prelude::*;

use super::*;

/// S3-FIFO written down as plainly as it can be: lists, and every sum anew.
#[derive(Default)]
struct Model {
    small: Vec<u32>,
    main: Vec<u32>,
    aside: Vec<u32>,
    /// Keys that went out of the small queue, the last at the end, and whether they are still remembered.
    ghosts: Vec<(u32, bool)>,
}

/// What the items are like; the same for both.
#[derive(Default, Clone, PartialEq, Eq, Debug)]
struct Items {
    blocks: Vec<u32>,
    hits: Vec<u8>,
    pinned: Vec<bool>,
    gone: Vec<bool>,
}

impl Items {
    fn judge(&mut self, item: u32, part: Part) -> Step {
        let n = item as usize;
        if self.gone[n] {
            return Step::Forget;
        }
        if self.pinned[n] {
            return Step::Aside;
        }
        match part {
            Part::Small if self.hits[n] >= 2 => {
                self.hits[n] = 0;
                Step::Again
            }
            Part::Main if self.hits[n] > 0 => {
                self.hits[n] -= 1;
                Step::Again
            }
            _ => Step::Out { key: item.into() },
        }
    }
}

impl Model {
    fn push(&mut self, item: u32) {
        let known = self.ghosts.iter().rposition(|&(key, _)| key == item);
        match known.filter(|&at| self.ghosts[at].1) {
            Some(at) => {
                self.ghosts[at].1 = false;
                self.main.push(item);
            }
            None => self.small.push(item),
        }
    }

    fn next(&mut self, items: &mut Items) -> Option<u32> {
        loop {
            let sum = |list: &[u32]| list.iter().map(|&item| u64::from(items.blocks[item as usize])).sum::<u64>();
            let (small, main) = (sum(&self.small), sum(&self.main));
            let part = if small * 10 > small + main { Part::Small } else { Part::Main };
            let list = if part == Part::Small { &mut self.small } else { &mut self.main };
            if list.is_empty() {
                return None;
            }
            let item = list.remove(0);
            match items.judge(item, part) {
                Step::Forget => {}
                Step::Again => self.main.push(item),
                Step::Aside => self.aside.push(item),
                Step::Out { .. } => {
                    if part == Part::Small {
                        self.ghosts.push((item, true));
                        let most = (self.small.len() + self.main.len()).max(GHOSTS);
                        self.ghosts.drain(..self.ghosts.len().saturating_sub(most));
                    }
                    return Some(item);
                }
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Op {
    Push(u32),
    Hit(u32),
    Next,
    Pin(u32, bool),
    Drop(u32),
    Recall,
    Retain,
}

const ITEMS: u32 = 100;

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0..ITEMS).prop_map(Op::Push),
        6 => (0..ITEMS).prop_map(Op::Hit),
        5 => Just(Op::Next),
        1 => (0..ITEMS, any::<bool>()).prop_map(|(n, pinned)| Op::Pin(n, pinned)),
        1 => (0..ITEMS).prop_map(Op::Drop),
        1 => Just(Op::Recall),
        1 => Just(Op::Retain),
    ]
}

proptest! {
    #[test]
    fn the_queue_does_what_the_plain_one_does(
        blocks in prop::collection::vec(1u32..50, ITEMS as usize),
        ops in prop::collection::vec(op(), 1..600),
    ) {
        let len = ITEMS as usize;
        let mut items = Items { blocks, hits: vec![0; len], pinned: vec![false; len], gone: vec![false; len] };
        let (mut queue, mut model, mut waits) = (Queue::new(), Model::default(), vec![false; len]);
        for op in ops {
            match op {
                Op::Push(n) if !waits[n as usize] => {
                    (waits[n as usize], items.gone[n as usize]) = (true, false);
                    queue.push(n, items.blocks[n as usize], n.into());
                    model.push(n);
                }
                Op::Push(_) => {}
                Op::Hit(n) => items.hits[n as usize] = (items.hits[n as usize] + 1).min(3),
                Op::Pin(n, pinned) => items.pinned[n as usize] = pinned,
                Op::Drop(n) => items.gone[n as usize] = true,
                Op::Recall => {
                    queue.recall();
                    model.main.append(&mut model.aside);
                }
                Op::Retain => {
                    queue.retain(|&n| !items.gone[n as usize]);
                    for list in [&mut model.small, &mut model.main, &mut model.aside] {
                        list.retain(|&n| !items.gone[n as usize]);
                    }
                }
                Op::Next => {
                    let mut same = items.clone();
                    let expected = model.next(&mut same);
                    let found = queue.next(|&n, part, _| items.judge(n, part));
                    prop_assert_eq!(found.map(|found| found.item), expected);
                    prop_assert_eq!(&items, &same);
                }
            }
            let listed = |n: &u32| [&model.small, &model.main, &model.aside].iter().any(|list| list.contains(n));
            (0..ITEMS).for_each(|n| waits[n as usize] = listed(&n));
            let aside: u64 = model.aside.iter().map(|&n| u64::from(items.blocks[n as usize])).sum();
            prop_assert_eq!((queue.len(), queue.blocks_aside()), (model.small.len() + model.main.len(), aside));
        }
    }
}

/// A hot set of 50 in a cache of 100; then 1,000 pass by, each hit once.
#[test]
fn a_scan_leaves_what_is_hot() {
    let (mut queue, mut hits) = (Queue::new(), std::collections::HashMap::new());
    let mut here = std::collections::BTreeSet::new();
    let mut add = |n: u32, times: u8, here: &mut std::collections::BTreeSet<u32>| {
        while here.len() >= 100 {
            let judge = |&n: &u32, part, _| {
                let hits: &mut u8 = hits.entry(n).or_default();
                match part {
                    Part::Small if *hits >= 2 => {
                        *hits = 0;
                        Step::Again
                    }
                    Part::Main if *hits > 0 => {
                        *hits -= 1;
                        Step::Again
                    }
                    _ => Step::Out { key: n.into() },
                }
            };
            here.remove(&queue.next(judge).unwrap().item);
        }
        queue.push(n, 1, n.into());
        hits.insert(n, times);
        here.insert(n);
    };
    (0..50).for_each(|n| add(n, 2, &mut here));
    (1000..2000).for_each(|n| add(n, 1, &mut here));
    assert!((0..50).all(|n| here.contains(&n)), "{here:?}");
    assert_eq!(here.len(), 100);
}
