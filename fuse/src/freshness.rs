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
/// A directory of which nothing was asked for so long at most is left alone: its names are taken back, the kernel drops the pages of its files, and its
/// next reader pays for one lookup.
const LONGEST_IDLE: Duration = Duration::from_secs(3600);
/// Listings that directories of which nothing is asked may cost until then, all of an origin together: a tree of 1,500 of them that was looked through
/// once would cost a bucket 90,000 in an hour of 60 s each. Fewer than this, and who reads all of it again and again, which nobody here sees as the
/// kernel has the names, would wait for the origin more than once in 20 minutes.
const IDLE_LISTINGS: usize = 30_000;
/// And so many rounds in any case, within at least a minute.
const IDLE_ROUNDS: usize = 5;
const SHORTEST_IDLE: Duration = Duration::from_secs(60);

/// Lists, once per time to live, those directories of an origin in which the kernel knows a name, and takes back the names that do not hold
/// any more.
pub(crate) async fn follow(recall: Recall, origin: String) {
    let ttl = recall.fs.origin_ttl(&origin).max(SHORTEST);
    let mut last = Duration::ZERO;
    loop {
        sleep(ttl.max(last * REST)).await;
        let begin = Instant::now();
        round(&recall, &origin, ttl).await;
        last = begin.elapsed();
    }
}

async fn round(recall: &Recall, origin: &str, ttl: Duration) {
    let directories = recall.fs.known_directories(origin);
    let idle = idle(ttl, directories.len());
    stream::iter(directories)
        .for_each_concurrent(AT_ONCE, |directory| async move {
            let stale = match directory.seen.elapsed() >= idle {
                true => recall.fs.known(&directory),
                false => recall.fs.stale(&directory).await,
            };
            recall.take_back(stale).await;
        })
        .await;
}

fn idle(ttl: Duration, directories: usize) -> Duration {
    let rounds = (IDLE_LISTINGS / directories.max(1)).max(IDLE_ROUNDS);
    ttl.saturating_mul(u32::try_from(rounds).unwrap_or(u32::MAX)).clamp(SHORTEST_IDLE, LONGEST_IDLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_directories_are_left_alone_sooner() {
        for (ttl, directories, minutes) in [
            (60, 0, 60),
            (60, 500, 60),
            (60, 1000, 30),
            (60, 1500, 20),
            (60, 100_000, 5),
            (1, 50, 10),
            (1, 1500, 1),
            (7200, 1500, 60),
        ] {
            assert_eq!(idle(Duration::from_secs(ttl), directories).as_secs().div_euclid(60), minutes, "{ttl} {directories}");
        }
        assert_eq!(idle(Duration::from_secs(60), usize::MAX), Duration::from_secs(300));
    }
}
