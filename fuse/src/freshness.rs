//! What the kernel believes of origins, checked in the background, so that no reader ever waits for an origin only because time has passed.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::time::{Instant, sleep};

use crate::names::Names;

/// A pause between two rounds, whatever the time to live.
const SHORTEST: Duration = Duration::from_secs(1);
/// Directories of one origin that are listed at one time.
const AT_ONCE: usize = 4;

/// Lists, once per time to live, those directories of an origin in which the kernel knows a name, and takes back the names that do not hold
/// any more. A round that takes longer than that is followed by as long a rest.
pub(crate) async fn follow(names: Names, origin: String) {
    let ttl = names.fs.origin_ttl(&origin).max(SHORTEST);
    let mut last = Duration::ZERO;
    loop {
        sleep(ttl.max(last)).await;
        let begin = Instant::now();
        round(&names, &origin).await;
        last = begin.elapsed();
    }
}

async fn round(names: &Names, origin: &str) {
    let directories = stream::iter(names.fs.known_directories(origin));
    directories
        .for_each_concurrent(AT_ONCE, |directory| async move { names.take_back(names.fs.stale(&directory).await).await })
        .await;
}
