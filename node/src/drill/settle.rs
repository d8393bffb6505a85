use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout_at};

use super::ask::ask;
use super::blob::Blob;
use super::places::{explained_by, lacks};
use super::site::Sites;

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

/// What the nodes say themselves. One that says nothing of it is of a version that does not know.
async fn said(sites: &Sites) -> Result<(), String> {
    for site in sites.serving() {
        let (_, cluster) = ask(&site.url, "GET", "/v1/cluster").await?;
        if let Some(why) = under_way(&cluster) {
            return Err(format!("{} says that {why}", site.id));
        }
    }
    Ok(())
}

fn under_way(cluster: &Value) -> Option<String> {
    let of = |field: &str| cluster[field].as_u64().filter(|figure| *figure > 0);
    let chunks = of("under_replicated_chunks").map(|chunks| format!("{chunks} chunks have too few replicas"));
    let moving = || of("moving_bytes").map(|bytes| format!("{bytes} bytes are on their way"));
    let unsure = || (cluster["settled"] == false).then(|| "not everything was looked at yet".to_owned());
    chunks.or_else(moving).or_else(unsure)
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
    let Ok((_, cluster)) = ask(&site.url, "GET", "/v1/cluster").await else { return Vec::new() };
    let members = cluster["members"].as_array().cloned().unwrap_or_default();
    members.iter().filter_map(|member| Some((member["id"].as_str()?.to_owned(), member["pulled_bytes"].as_u64()?))).collect()
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
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_said_is_not_under_way() {
        assert_eq!(under_way(&json!({})), None);
        assert_eq!(under_way(&json!({ "under_replicated_chunks": 0, "moving_bytes": 0 })), None);
        assert!(under_way(&json!({ "under_replicated_chunks": 0, "moving_bytes": 0, "settled": false })).is_some());
        assert!(under_way(&json!({ "under_replicated_chunks": 3 })).unwrap().starts_with("3 chunks"));
        assert!(under_way(&json!({ "moving_bytes": 5 })).unwrap().starts_with("5 bytes"));
    }

    #[test]
    fn a_node_that_began_anew_pulled_what_it_says() {
        let at = |figures: &[(&str, u64)]| figures.iter().map(|(node, bytes)| ((*node).to_owned(), *bytes)).collect::<Vec<_>>();
        assert_eq!(pulled_since(&at(&[("a", 5), ("b", 9)]), &at(&[("a", 7), ("b", 1), ("c", 4)])), Some(2 + 1 + 4));
        assert_eq!(pulled_since(&[], &[]), None);
    }
}
