//! What a hub says of a tree, as this node says it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::refusal::Refusal;

/// What leads around this node: clients that find it fetch the file from the hub's own stores, by a protocol of their own.
const AROUND: &str = "xetHash";

/// A hub's document has up to 32 MiB, and takes memory of its own to be taken apart: so many at a time.
static TURNS: Semaphore = Semaphore::const_new(2);
/// How long one waits for its turn.
const TURN: Duration = Duration::from_secs(10);

/// Entries of a tree, each as JSON.
pub(super) type Entries = Vec<String>;

/// The values stay as they were written.
#[derive(Deserialize)]
struct Entry<'a>(#[serde(borrow)] BTreeMap<Cow<'a, str>, &'a RawValue>);

/// What the document of `tree` has, or only `these` paths of it. Off the runtime's threads.
pub(super) async fn entries(tree: &str, document: Bytes, these: Option<BTreeSet<String>>) -> Result<Entries, Refusal> {
    let Ok(Ok(turn)) = timeout(TURN, TURNS.acquire()).await else {
        return Err(Refusal::busy(format!("this node reads other trees; no turn for {tree} came within {} s", TURN.as_secs())));
    };
    let work = spawn_blocking(move || {
        // Until it is done, also where nobody waits for it any more.
        let _turn = turn;
        shown(&document, these.as_ref())
    });
    match work.await {
        Ok(entries) => entries.map_err(|error| Refusal::malformed(tree, error)),
        Err(stopped) => Err(Refusal::busy(stopped.to_string())),
    }
}

fn shown(document: &[u8], these: Option<&BTreeSet<String>>) -> serde_json::Result<Entries> {
    let entries: Vec<Entry<'_>> = serde_json::from_slice(document)?;
    let wanted =
        entries.into_iter().filter(|entry| these.is_none_or(|these| entry.path().is_some_and(|path| these.contains(&path))));
    wanted.map(Entry::shown).collect()
}

/// All of them as one document.
pub(super) fn whole(entries: &[String]) -> Bytes {
    format!("[{}]", entries.join(",")).into()
}

impl Entry<'_> {
    fn path(&self) -> Option<String> {
        serde_json::from_str(self.0.get("path")?.get()).ok()
    }

    fn shown(mut self) -> serde_json::Result<String> {
        self.0.remove(AROUND);
        serde_json::to_string(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = r#"[{"type":"file","path":"a/b\u00e9","size":12345678901234567890,"xetHash":"x","lfs":{"oid":"o"}},
        {"path":"c","type":"directory"}]"#;

    #[tokio::test]
    async fn all_but_the_way_around_is_told_as_it_was() {
        let entries = entries("t", DOCUMENT.into(), None).await.unwrap();
        assert_eq!(
            String::from_utf8_lossy(&whole(&entries)),
            r#"[{"lfs":{"oid":"o"},"path":"a/b\u00e9","size":12345678901234567890,"type":"file"},{"path":"c","type":"directory"}]"#
        );
    }

    #[tokio::test]
    async fn some_paths_are_found_however_they_are_written() {
        let these = ["a/bé".to_owned(), "gone".to_owned()].into();
        let entries = entries("t", DOCUMENT.into(), Some(these)).await.unwrap();
        assert!(entries.len() == 1 && entries[0].contains("12345678901234567890"), "{entries:?}");
    }

    #[tokio::test]
    async fn what_is_no_tree_is_an_error() {
        for document in ["{}", "[1]", "[", ""] {
            assert!(entries("t", document.into(), None).await.is_err(), "{document}");
        }
        assert_eq!(whole(&[]), "[]");
    }
}
