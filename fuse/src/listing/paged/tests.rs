use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use super::*;

const PAGES: u64 = 3000;
const PER_PAGE: u64 = 4;

/// A directory of many pages, of which each fifth has no entries.
struct Origin {
    asked: AtomicUsize,
}

impl Origin {
    async fn page(&self, token: Option<String>) -> Result<(Arc<Page>, u64), FsError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let number: u64 = token.map_or(0, |token| token.parse().unwrap());
        let name = |n| Listed::Directory { name: format!("{number}-{n}") };
        let entries = if number % 5 == 4 { Vec::new() } else { (0..PER_PAGE).map(name).collect() };
        let next = (number + 1 < PAGES).then(|| (number + 1).to_string());
        Ok((Arc::new(Page { entries, next }), 0))
    }
}

fn paged() -> (Arc<Paged>, Origin) {
    (Arc::new(Paged::new("o".into(), "p".into(), SystemTime::UNIX_EPOCH)), Origin { asked: AtomicUsize::new(0) })
}

/// At most `count` names from `offset` on, and where to go on.
async fn some(paged: &Arc<Paged>, origin: &Origin, offset: u64, count: usize) -> Vec<(u64, String)> {
    let part = paged.part(offset, |token| origin.page(token)).await.unwrap();
    part.items().take(count).map(|(next, name, _)| (next, name.to_owned())).collect()
}

async fn all(paged: &Arc<Paged>, origin: &Origin, count: usize) -> Vec<(u64, String)> {
    let (mut all, mut offset) = (Vec::new(), 0);
    loop {
        let part = some(paged, origin, offset, count).await;
        let Some((next, _)) = part.last() else { return all };
        offset = *next;
        all.extend(part);
    }
}

#[tokio::test]
async fn every_name_is_shown_once_whatever_room_there_is() {
    for room in [1, 3, 4, 1000] {
        let (paged, origin) = paged();
        let names: Vec<_> = all(&paged, &origin, room).await.into_iter().map(|(_, name)| name).collect();
        let numbers = (0..PAGES).filter(|number| number % 5 != 4);
        let wanted = numbers.flat_map(|number| (0..PER_PAGE).map(move |n| format!("{number}-{n}")));
        assert!(names.iter().cloned().eq([".".to_owned(), "..".to_owned()].into_iter().chain(wanted)), "{room} at a time");
        assert_eq!(origin.asked.load(Ordering::Relaxed) as u64, PAGES, "each page was asked for once");
        let state = paged.state.lock().await;
        assert!(state.held.len() <= HELD && state.tokens.len() <= MAX_TOKENS);
    }
}

#[tokio::test]
async fn a_file_and_a_directory_of_one_name_are_shown_as_the_file() {
    let (paged, _) = paged();
    let directory = |name: &str| Listed::Directory { name: name.into() };
    let object = Listed::Object { name: "b".into(), size: 1, modified: SystemTime::UNIX_EPOCH, version: None };
    let entries = vec![directory("a"), directory("b"), object, directory("c")];
    let page = Arc::new(Page { entries, next: None });
    let part = paged.part(2, async |_| Ok((Arc::clone(&page), 0))).await.unwrap();
    let shown: Vec<_> =
        part.items().map(|(next, name, found)| (next, name, matches!(&found, Found::Node(node) if node.size == 1))).collect();
    assert_eq!(shown, [(3, "a", false), (5, "b", true), (6, "c", false)]);
}

#[tokio::test]
async fn a_reader_who_goes_back_finds_what_was_there() {
    let (paged, origin) = paged();
    let all = all(&paged, &origin, 4).await;
    for at in [0, 1, 2, 5, 100, 4000, all.len() - 2] {
        assert_eq!(some(&paged, &origin, all[at].0, 1).await, all[at + 1..at + 2], "after {at}");
    }
}

#[tokio::test]
async fn a_directory_that_shrank_ends() {
    let (paged, origin) = paged();
    let beyond = 2 + ((PAGES + 7) << PAGE_BITS);
    assert_eq!(some(&paged, &origin, beyond, 10).await, []);
    assert_eq!(some(&paged, &origin, u64::MAX, 10).await, []);
}

#[tokio::test]
async fn a_page_that_cannot_be_had_is_an_error_and_can_be_had_later() {
    let (paged, origin) = paged();
    let refuse = async |_: Option<String>| Err::<(Arc<Page>, u64), _>(FsError::NoEntry);
    assert!(matches!(paged.part(0, refuse).await, Err(FsError::NoEntry)));
    assert_eq!(some(&paged, &origin, 0, 1).await, [(1, ".".to_owned())]);
}
