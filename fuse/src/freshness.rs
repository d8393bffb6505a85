//! What the kernel believes of origins, checked in the background, so that no reader ever waits for an origin only because time has passed.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::time::{Instant, sleep};

use crate::recall::Recall;

/// A pause between two rounds, whatever the time to live.
const SHORTEST: Duration = Duration::from_secs(1);
/// Directories of one origin that are listed at one time.
const AT_ONCE: usize = 4;

/// How many times as long as a round the rest behind it is at least: so it takes at most a twentieth of a core, or of a bucket's patience.
const REST: u32 = 20;
/// A directory of which nothing was asked for so long is left alone: its names are taken back, and its next reader pays for one lookup.
const FORGOTTEN: Duration = Duration::from_secs(3600);

/// Lists, once per time to live, those directories of an origin in which the kernel knows a name, and takes back the names that do not hold
/// any more.
pub(crate) async fn follow(recall: Recall, origin: String) {
    let ttl = recall.fs.origin_ttl(&origin).max(SHORTEST);
    let mut last = Duration::ZERO;
    loop {
        sleep(ttl.max(last * REST)).await;
        let begin = Instant::now();
        round(&recall, &origin).await;
        last = begin.elapsed();
    }
}

async fn round(recall: &Recall, origin: &str) {
    let directories = stream::iter(recall.fs.known_directories(origin));
    directories
        .for_each_concurrent(AT_ONCE, |directory| async move {
            let stale = match directory.seen.elapsed() >= FORGOTTEN {
                true => recall.fs.known(&directory),
                false => recall.fs.stale(&directory).await,
            };
            recall.take_back(stale).await;
        })
        .await;
}
