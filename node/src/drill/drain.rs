use std::time::Duration;

use herring_http_api::types::DrainState;
use tokio::time::{Instant, sleep};

use super::site::At;

/// Between two looks at a node that drains.
const POLL: Duration = Duration::from_millis(250);

/// Asks a node to hand over what it owns, and waits for it; says what came of it.
pub async fn drain(at: &At, within: Duration) -> String {
    let node = match at.client() {
        Ok(node) => node,
        Err(error) => return format!("it cannot be asked to drain: {error}"),
    };
    if let Err(error) = node.drain().await {
        return format!("it cannot be asked to drain: {error}");
    }
    let deadline = Instant::now() + within;
    while Instant::now() < deadline {
        if node.drained().await.is_ok_and(|drain| drain.state == DrainState::Drained) {
            return "drained".to_owned();
        }
        sleep(POLL).await;
    }
    format!("not drained after {} s", within.as_secs())
}
