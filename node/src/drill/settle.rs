use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use herring_http_api::types::Cluster;
use tokio::time::{Instant, sleep, timeout_at};

use super::blob::Blob;
use super::places::{explained_by, lacks};
use super::site::{Site, Sites};

const POLL: Duration = Duration::from_millis(500);
/// For one look at all blobs, also where the time is over.
const LOOK: Duration = Duration::from_secs(10);
/// Blobs that are looked at at the same time.
const AT_ONCE: usize = 8;

/// Waits until the nodes say that all is where it should be, and each of `blobs` is, chunk by chunk. Else says what is not, at the
/// deadline.
pub async fn wait(sites: &Sites, blobs: &[Blob], deadline: Instant) -> Result<(), String> {
    loop {
        let lacking = match said(sites).await {
            Ok(()) => {
                let looked = timeout_at(deadline.max(Instant::now() + LOOK), seen(sites, blobs)).await;
                looked.unwrap_or_else(|_| Err("there was no time to look at all blobs".to_owned()))
            }
            lacking => lacking,
        };
        match lacking {
            Err(why) if Instant::now() + POLL > deadline => return Err(why),
            Err(_) => sleep(POLL).await,
            Ok(()) => return Ok(()),
        }
    }
}

/// What the nodes say themselves.
async fn said(sites: &Sites) -> Result<(), String> {
    for site in sites.serving() {
        let cluster = cluster(&site).await?;
        if let Some(why) = under_way(&cluster) {
            return Err(format!("{} says that {why}", site.id));
        }
    }
    Ok(())
}

async fn cluster(site: &Site) -> Result<Cluster, String> {
    let told = async { site.at.client()?.cluster().await };
    told.await.map_err(|error| error.to_string())
}

fn under_way(cluster: &Cluster) -> Option<String> {
    // What no node has any more is not under way: a put that a death cut short may leave that.
    match cluster {
        Cluster { under_replicated_chunks: few, lost_chunks: lost, .. } if few > lost => {
            Some(format!("{} chunks have too few replicas", few - lost))
        }
        Cluster { moving_bytes: 1.., .. } => Some(format!("{} bytes are on their way", cluster.moving_bytes)),
        Cluster { settled: false, .. } => Some("not everything was looked at yet".to_owned()),
        _ => None,
    }
}

/// What is there, whatever they say.
async fn seen(sites: &Sites, blobs: &[Blob]) -> Result<(), String> {
    let serving = sites.serving();
    let looks = blobs.iter().zip(serving.iter().cycle()).map(|(blob, site)| async move {
        let explained = explained_by(site, blob.id).await;
        let explain = explained.map_err(|why| format!("{} cannot explain {}: {why}", site.id, blob.id))?;
        lacks(&explain).map_or(Ok(()), Err)
    });
    stream::iter(looks).buffer_unordered(AT_ONCE).try_collect().await
}

/// Bytes that each node pulled since it started, of those that say so.
pub async fn pulled(sites: &Sites) -> Vec<(String, u64)> {
    let Some(site) = sites.serving().into_iter().next() else { return Vec::new() };
    let Ok(cluster) = cluster(&site).await else { return Vec::new() };
    cluster.members.into_iter().filter_map(|member| Some((member.id, member.custody?.pulled_bytes))).collect()
}

/// What was pulled between two looks; `None` where nobody says. A node that was started anew began at 0.
pub fn pulled_since(before: &[(String, u64)], after: &[(String, u64)]) -> Option<u64> {
    let since = |(node, now): &(String, u64)| {
        let then = before.iter().find(|(other, _)| other == node).map_or(0, |(_, then)| *then);
        now.checked_sub(then).unwrap_or(*now)
    };
    (!after.is_empty()).then(|| after.iter().map(since).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_under_way_is_told() {
        let calm = Cluster::of("n1".into(), "e".into(), 3, Vec::new(), Vec::new());
        assert_eq!(under_way(&calm), None);
        assert!(under_way(&Cluster { settled: false, ..calm.clone() }).is_some());
        assert_eq!(under_way(&Cluster { under_replicated_chunks: 3, lost_chunks: 3, ..calm.clone() }), None);
        let lacks = Cluster { under_replicated_chunks: 3, moving_bytes: 5, ..calm.clone() };
        assert!(under_way(&lacks).unwrap().starts_with("3 chunks"));
        assert!(under_way(&Cluster { moving_bytes: 5, ..calm }).unwrap().starts_with("5 bytes"));
    }

    #[test]
    fn a_node_that_began_anew_pulled_what_it_says() {
        let at = |figures: &[(&str, u64)]| figures.iter().map(|(node, bytes)| ((*node).to_owned(), *bytes)).collect::<Vec<_>>();
        assert_eq!(pulled_since(&at(&[("a", 5), ("b", 9)]), &at(&[("a", 7), ("b", 1), ("c", 4)])), Some(2 + 1 + 4));
        assert_eq!(pulled_since(&[], &[]), None);
    }
}
