use std::sync::Arc;
use std::time::Duration;

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tokio::time::Instant;

use crate::error::Fault;
use crate::index::Index;

/// How long one index says of all that is asked for whether it can be there, at most: it may have 32 MiB. What answers by itself is not looked for in it.
const FRESH: Duration = Duration::from_secs(10);

/// Directories of which that is remembered.
const DIRECTORIES: usize = 1024;

/// Bytes that their indexes may take in memory.
const BYTES: u64 = 32 << 20;

/// The indexes above keys at which there was nothing, as they were a moment ago.
pub(crate) struct Above {
    indexes: Cache<String, Recent, Weight>,
    fresh: Duration,
}

#[derive(Clone)]
struct Recent {
    told: Told,
    at: Instant,
}

#[derive(Clone)]
enum Told {
    Index(Arc<Index>),
    Nothing,
    Unlisted,
}

#[derive(Clone)]
struct Weight;

impl Weighter<String, Recent> for Weight {
    fn weight(&self, directory: &String, recent: &Recent) -> u64 {
        let index = if let Told::Index(index) = &recent.told { index.bytes() } else { 0 };
        (directory.len() + index + size_of::<Recent>()) as u64
    }
}

impl Above {
    /// `ttl`: how long what the origin says is believed.
    pub(crate) fn new(ttl: Duration) -> Self {
        Self { indexes: Cache::with_weighter(DIRECTORIES, BYTES, Weight), fresh: ttl.min(FRESH) }
    }

    /// Whether the deepest directory above `key` has the way to it; `None` where that one has no index. Mostly it is the key's parent, which
    /// is asked first. Otherwise it is searched for by halves: 512 segments, the most there are, cost 10 questions.
    pub(crate) async fn has<'k, F>(&self, key: &'k str, index: impl Fn(&'k str) -> F) -> Result<Option<bool>, Fault>
    where
        F: Future<Output = Result<Index, Fault>>,
    {
        let steps: Vec<_> = steps(key).collect();
        let (mut has, mut first, mut end) = (None, 0, steps.len());
        let mut at = end.saturating_sub(1);
        while first < end {
            let (directory, name) = steps[at];
            match self.told(directory, index(directory)).await? {
                Told::Index(index) => (has, first) = (Some(index.has_directory(name)), at + 1),
                Told::Unlisted => (has, first) = (None, at + 1),
                Told::Nothing => end = at,
            }
            at = usize::midpoint(first, end);
        }
        Ok(has)
    }

    /// Whoever asks at the same time waits for the same answer.
    async fn told(&self, directory: &str, index: impl Future<Output = Result<Index, Fault>>) -> Result<Told, Fault> {
        self.indexes.remove_if(directory, |recent| recent.at.elapsed() >= self.fresh);
        let ask = async {
            let told = match index.await {
                Ok(index) => Told::Index(Arc::new(index)),
                Err(Fault::NotFound) => Told::Nothing,
                Err(Fault::Unlisted) => Told::Unlisted,
                Err(fault) => return Err(fault),
            };
            Ok(Recent { told, at: Instant::now() })
        };
        self.indexes.get_or_insert_async(directory, ask).await.map(|recent| recent.told)
    }
}

/// The directories from the root down to the key's parent, each with the name in it that leads to the key. Above the root there are none.
fn steps(key: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut above = "";
    key.split('/').filter(|name| !name.is_empty()).map(move |name| {
        let directory = above;
        let start = if directory.is_empty() { 0 } else { directory.len() + 1 };
        above = &key[..start + name.len()];
        (directory, name)
    })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures_util::future::join_all;
    use url::Url;

    use super::*;

    /// A server's directories, each with the directory in it; without one it is not listed.
    struct Server<'a> {
        directories: Vec<(&'a str, Option<&'a str>)>,
        asked: Cell<usize>,
    }

    impl<'a> Server<'a> {
        fn of(directories: impl IntoIterator<Item = (&'a str, Option<&'a str>)>) -> Self {
            Self { directories: directories.into_iter().collect(), asked: Cell::default() }
        }

        async fn index(&self, directory: &str) -> Result<Index, Fault> {
            self.asked.set(self.asked.get() + 1);
            tokio::task::yield_now().await;
            let (_, listed) = self.directories.iter().find(|(known, _)| *known == directory).ok_or(Fault::NotFound)?;
            listed.map(index_of).ok_or(Fault::Unlisted)
        }

        async fn has(&self, above: &Above, key: &str) -> Option<bool> {
            above.has(key, |directory| self.index(directory)).await.unwrap()
        }
    }

    fn index_of(name: &str) -> Index {
        let json = format!(r#"[{{"name":"{name}","type":"directory","mtime":""}}]"#);
        Index::parse(&Url::parse("http://h/").unwrap(), "application/json", json.as_bytes()).unwrap()
    }

    #[tokio::test]
    async fn the_deepest_index_above_says_whether_the_way_goes_on() {
        let server = Server::of([("", Some("a")), ("a", Some("b")), ("a/b", None), ("a/b/c", Some("d"))]);
        for (key, has) in [
            ("a", Some(true)),
            ("no", Some(false)),
            ("no/such/way/at/all", Some(false)),
            ("a/no/x", Some(false)),
            ("a/b/x", None),
            ("a/b/x/y/z", None),
            ("a/b/c/d", Some(true)),
            ("a/b/c/x/y", Some(false)),
        ] {
            assert_eq!(server.has(&Above::new(FRESH), key).await, has, "{key}");
        }
        assert_eq!(server.has(&Above::new(FRESH), "").await, None, "nothing is above the root");
        assert_eq!(Server::of([]).has(&Above::new(FRESH), "a/b").await, None);
    }

    #[tokio::test]
    async fn the_longest_key_costs_ten_questions_wherever_its_way_ends() {
        let key = vec!["a"; 512].join("/");
        for end in [0, 1, 100, 255, 256, 400, 510, 511] {
            let server = Server::of(steps(&key).take(end + 1).map(|(directory, _)| (directory, Some("other"))));
            assert_eq!(server.has(&Above::new(FRESH), &key).await, Some(false));
            assert!(server.asked.get() <= 10, "{} where {end} are there", server.asked.get());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn many_keys_cost_one_question_in_ten_seconds() {
        let (server, above) = (Server::of([("a", Some("b"))]), Above::new(6 * FRESH));
        let keys: Vec<String> = (100..200).map(|n| format!("a/{n}")).collect();
        let ask = async || join_all(keys.iter().map(|key| server.has(&above, key))).await;
        assert!(ask().await.iter().all(|has| *has == Some(false)));
        assert_eq!(server.asked.get(), 1, "who asks at the same time waits for the same answer");
        ask().await;
        assert_eq!(server.asked.get(), 1);
        tokio::time::advance(FRESH).await;
        ask().await;
        assert_eq!(server.asked.get(), 2);
        let above = Above::new(Duration::from_secs(1));
        server.has(&above, "a/x").await;
        tokio::time::advance(Duration::from_secs(1)).await;
        server.has(&above, "a/x").await;
        assert_eq!(server.asked.get(), 4, "what is believed for a second only");
    }
}
