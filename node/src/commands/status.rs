use std::time::Duration;

use clap::Args;
use herring_http_api::client::ApiClient;
use herring_http_api::types::{Cluster, MemberInfo, differences};
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
        let ready = client.ready().await;
        let ready = ready.map_err(|reason| Failure::failed(format_args!("the node is not ready: {reason}")))?;
        let but = ready.strip_prefix("ready: ");
        return output.show(&json!({ "ready": true, "but": but }), || format!("{ready}\n"));
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
    let columns = ["NODE", "HTTP", "ZONE", "WEIGHT", "STATE", "USED", "CAPACITY", "LACKS", "MOVING", "VERSION"];
    let mut table = Table::new(&columns, &[3, 5, 6, 7, 8]);
    cluster.members.iter().for_each(|member| table.row(row(member)));
    let (nodes, replicas) = (count(cluster.members.len(), "node"), count(cluster.replicas, "replica"));
    let (head, whole) = (format!("{nodes} as {} sees them", cluster.node), summary(cluster));
    let differ = differences(&cluster.members).into_iter().map(|line| format!("{line}\n")).collect::<String>();
    format!("{head}, {replicas}, epoch {}\n{whole}\n{differ}\n{}", cluster.epoch, table.render())
}

/// Whether everything is where it should be, or how long it will take yet, and who is missing.
fn summary(cluster: &Cluster) -> String {
    let silent: Vec<&str> = cluster.members.iter().filter(|one| one.custody.is_none()).map(|one| one.id.as_str()).collect();
    let unknown = (!silent.is_empty()).then(|| format!("{} did not say what is lacking there", silent.join(", ")));
    let missing = (!cluster.missing.is_empty()).then(|| format!("missing for less than an hour: {}", cluster.missing.join(", ")));
    [Some(replication(cluster)), lost(cluster), full(cluster), unknown, missing]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join("; ")
}

/// What comes back only with a node that has it, or with another put.
fn lost(cluster: &Cluster) -> Option<String> {
    let (of, lost) = (cluster.members.iter().find_map(|member| member.custody?.lost_of)?, cluster.lost_chunks);
    Some(format!(
        "{lost} of these on no node that answers, of {of} among others: start the nodes that had them, put it again or delete it"
    ))
}

fn full(cluster: &Cluster) -> Option<String> {
    let full = |member: &&MemberInfo| member.custody.is_some_and(|custody| custody.full);
    let full: Vec<&str> = cluster.members.iter().filter(full).map(|member| member.id.as_str()).collect();
    (!full.is_empty()).then(|| format!("no room for what should be kept at {}: give --capacity or more nodes", full.join(", ")))
}

fn replication(cluster: &Cluster) -> String {
    let (lacking, moving) = (cluster.under_replicated_chunks, cluster.moving_bytes);
    if lacking == 0 && moving == 0 {
        let owners = cluster.members.iter().filter(|one| matches!(one.state.as_str(), "ready" | "suspect")).count();
        return match cluster.settled {
            true if owners < cluster.replicas => {
                format!("everything in its place, with {owners} of {} replicas: no more nodes are in sight", cluster.replicas)
            }
            true => "fully replicated".to_owned(),
            false if owners < cluster.replicas && !cluster.missing.is_empty() => {
                format!("at most {owners} of {} replicas, as nodes are missing", cluster.replicas)
            }
            false => "looking whether everything is in its place".to_owned(),
        };
    }
    let pace: u64 = cluster.members.iter().filter_map(|member| Some(member.custody?.pull_rate)).sum();
    let pace = if pace > 0 { format!(" at {}/s", size(pace)) } else { String::new() };
    let left = cluster.eta_ms.map(|ms| format!(", {} yet", about(ms))).unwrap_or_default();
    format!("{lacking} replicas of chunks lacking, {} to move{pace}{left}", size(moving))
}

/// `40 s`, `12 min`, `3 h`: rounded up.
fn about(ms: u64) -> String {
    let seconds = ms.div_ceil(1000);
    match seconds {
        ..=120 => format!("{seconds} s"),
        121..7200 => format!("{} min", seconds.div_ceil(60)),
        7200.. => format!("{} h", seconds.div_ceil(3600)),
    }
}

fn row(member: &MemberInfo) -> [String; 10] {
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
        bytes(member.custody.map(|custody| custody.lacking_bytes)),
        bytes(member.custody.map(|custody| custody.foreign_bytes)),
        member.version.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use herring_http_api::types::Custody;

    use super::*;

    fn member(id: &str, custody: Option<Custody>) -> MemberInfo {
        MemberInfo {
            id: id.into(),
            http: "127.0.0.1:7070".into(),
            zone: String::new(),
            weight: 100,
            state: "ready".into(),
            version: "1".into(),
            bytes_used: custody.map(|_| 0),
            bytes_capacity: custody.map(|_| 1 << 30),
            custody,
            replicas: None,
            origins: None,
            origin_hashes: None,
        }
    }

    fn cluster(members: Vec<MemberInfo>) -> Cluster {
        Cluster {
            node: "n1".into(),
            epoch: "e".into(),
            replicas: 3,
            members,
            under_replicated_chunks: 0,
            lost_chunks: 0,
            moving_bytes: 0,
            eta_ms: None,
            missing: Vec::new(),
            degraded: false,
            settled: true,
        }
    }

    #[test]
    fn one_line_says_how_it_is() {
        let custody = Custody { pull_rate: 3 << 20, ..Custody::default() };
        let well = cluster(vec![member("n1", Some(custody)), member("n2", Some(custody))]);
        let well = Cluster { replicas: 2, ..well };
        assert_eq!(summary(&well), "fully replicated");
        let few = Cluster { replicas: 3, ..well.clone() };
        assert_eq!(summary(&few), "everything in its place, with 2 of 3 replicas: no more nodes are in sight");
        let unsure = Cluster { settled: false, ..well.clone() };
        assert_eq!(summary(&unsure), "looking whether everything is in its place");
        let moving = Cluster { under_replicated_chunks: 12, moving_bytes: 48 << 20, eta_ms: Some(7_001), ..well.clone() };
        assert_eq!(summary(&moving), "12 replicas of chunks lacking, 48.0 MiB to move at 6.0 MiB/s, 8 s yet");
        let one = cluster(vec![member("n1", Some(Custody::default())), member("n2", None)]);
        let gone = Cluster { missing: vec!["n3".into(), "n4".into()], moving_bytes: 1, ..one };
        assert_eq!(
            summary(&gone),
            "0 replicas of chunks lacking, 1 B to move; n2 did not say what is lacking there; missing for less than an hour: n3, n4"
        );
    }

    #[test]
    fn what_does_not_come_by_itself_is_told_with_what_helps() {
        let id = herring_blob::BlobId::of(b"");
        let custody = Custody { lost_chunks: 2, lost_of: Some(id), full: true, ..Custody::default() };
        let members = vec![member("n1", Some(Custody::default())), member("n2", Some(custody))];
        let lost = Cluster { under_replicated_chunks: 2, lost_chunks: 2, settled: false, ..cluster(members) };
        assert_eq!(
            summary(&lost),
            format!(
                "2 replicas of chunks lacking, 0 B to move; 2 of these on no node that answers, of {id} among others: start the nodes that had them, put it again or delete it; \
                 no room for what should be kept at n2: give --capacity or more nodes"
            )
        );
    }

    #[test]
    fn each_node_says_what_it_lacks_and_holds_for_others() {
        let custody = Custody { lacking_bytes: 2 << 20, foreign_bytes: 5 << 20, ..Custody::default() };
        let table = table(&cluster(vec![member("n1", Some(custody)), member("n2", None)]));
        let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[3][6..], ["CAPACITY", "LACKS", "MOVING", "VERSION"]);
        assert_eq!(rows[4][9..], ["2.0", "MiB", "5.0", "MiB", "1"]);
        assert_eq!(rows[5][5..], ["?", "?", "?", "?", "1"]);
    }

    #[test]
    fn nodes_that_are_told_otherwise_have_a_line() {
        let keeps = |id, replicas| MemberInfo { replicas: Some(replicas), ..member(id, None) };
        let table = table(&cluster(vec![keeps("n1", 3), keeps("n9", 2)]));
        let line = table.lines().nth(2).unwrap();
        assert!(line.starts_with("replicas differ: ") && line.contains("n9 2"), "{table}");
    }

    #[test]
    fn times_are_for_people() {
        let said = [0, 1, 119_999, 120_001, 7_200_000].map(about);
        assert_eq!(said, ["0 s", "1 s", "120 s", "3 min", "2 h"]);
    }
}
