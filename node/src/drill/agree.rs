use std::sync::Arc;
use std::time::Duration;

use herring_http_api::client::ApiClient;
use tokio::time::{Instant, sleep};

use super::site::Site;
use crate::error::Failure;

/// A node that died is out of the others' sight within 3 s, one that starts is in it within 2; a loaded machine may take longer.
const DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);

/// Returns once these nodes are ready and see each other, nobody else, and the same ring.
pub async fn all(sites: &[Arc<Site>]) -> Result<(), Failure> {
    let clients: Vec<(String, ApiClient)> =
        sites.iter().map(|site| Ok((site.id.clone(), site.at.client()?))).collect::<Result<_, Failure>>()?;
    let deadline = Instant::now() + DEADLINE;
    loop {
        match look(&clients).await {
            Ok(()) => return Ok(()),
            Err(missing) if Instant::now() > deadline => {
                let seconds = DEADLINE.as_secs();
                return Err(Failure::failed(format_args!("after {seconds} s the nodes do not agree who is there: {missing}")));
            }
            Err(_) => sleep(POLL).await,
        }
    }
}

async fn look(clients: &[(String, ApiClient)]) -> Result<(), String> {
    let mut epoch: Option<String> = None;
    for (id, client) in clients {
        client.ready().await.map_err(|why| format!("{id} is not ready: {why}"))?;
        let cluster = client.cluster().await.map_err(|error| format!("{id}: {error}"))?;
        let unready = cluster.members.iter().find(|member| member.state != "ready");
        if let Some(member) = unready {
            return Err(format!("{id} sees {} {}", member.id, member.state));
        }
        if cluster.members.len() != clients.len() {
            return Err(format!("{id} sees {} nodes, not {}", cluster.members.len(), clients.len()));
        }
        if epoch.as_ref().is_some_and(|epoch| *epoch != cluster.epoch) {
            return Err(format!("{id} sees another ring than the others"));
        }
        epoch = Some(cluster.epoch);
    }
    Ok(())
}
