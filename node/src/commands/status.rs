use std::time::Duration;

use clap::Args;
use herring_http_api::client::ApiClient;
use herring_http_api::types::{Cluster, MemberInfo};
use serde_json::json;

use crate::error::Failure;
use crate::output::{Output, Table, count, print, size};
use crate::signals::Stop;

/// Between two looks with `--watch`.
const INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Shows it again every second, until Ctrl-C; with --json one line each time
    #[arg(long, conflicts_with = "ready")]
    watch: bool,

    /// Only asks whether the node is ready to serve, and exits 1 if not: for health checks
    #[arg(long)]
    ready: bool,
}

pub async fn run(client: &ApiClient, output: Output, args: StatusArgs) -> Result<(), Failure> {
    if args.ready {
        client.ready().await.map_err(|reason| Failure::failed(format_args!("the node is not ready: {reason}")))?;
        return output.show(&json!({ "ready": true }), || "ready\n".to_owned());
    }
    if args.watch {
        return watch(client, output).await;
    }
    let cluster = client.cluster().await?;
    output.show(&cluster, || table(&cluster))
}

async fn watch(client: &ApiClient, output: Output) -> Result<(), Failure> {
    let mut stop = Stop::listen()?;
    let mut ticks = tokio::time::interval(INTERVAL);
    loop {
        tokio::select! {
            () = stop.asked() => return Ok(()),
            _ = ticks.tick() => show(client, output).await?,
        }
    }
}

/// A node that does not answer just now may answer in a second.
async fn show(client: &ApiClient, output: Output) -> Result<(), Failure> {
    let cluster = client.cluster().await;
    output.clear()?;
    match cluster {
        Ok(cluster) if output.json => print(&format!("{}\n", json!(cluster))),
        Ok(cluster) => print(&table(&cluster)),
        Err(error) if output.json => print(&format!("{}\n", json!({ "error": error.to_string() }))),
        Err(error) => print(&format!("{error}\n")),
    }
}

fn table(cluster: &Cluster) -> String {
    let mut table = Table::new(&["NODE", "HTTP", "ZONE", "WEIGHT", "STATE", "USED", "CAPACITY", "VERSION"], &[3, 5, 6]);
    cluster.members.iter().for_each(|member| table.row(row(member)));
    let (nodes, replicas) = (count(cluster.members.len(), "node"), count(cluster.replicas, "replica"));
    format!("{nodes} as {} sees them, {replicas}, epoch {}\n\n{}", cluster.node, cluster.epoch, table.render())
}

fn row(member: &MemberInfo) -> [String; 8] {
    let bytes = |bytes: Option<u64>| bytes.map_or_else(|| "?".to_owned(), size);
    let zone = if member.zone.is_empty() { "-" } else { &member.zone };
    [
        member.id.clone(),
        member.http.clone(),
        zone.to_owned(),
        member.weight.to_string(),
        member.state.clone(),
        bytes(member.bytes_used),
        bytes(member.bytes_capacity),
        member.version.clone(),
    ]
}
