use clap::Args;
use herring_blob::BlobId;
use herring_http_api::client::ApiClient;
use herring_http_api::types::{Departure, Explain, ExplainChunk};

use crate::error::Failure;
use crate::output::{Output, Table, count, size};

#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// 64 hexadecimal digits, with or without sha256: in front
    id: BlobId,

    /// Only this chunk, counted from 0
    #[arg(long, value_name = "N")]
    chunk: Option<u32>,
}

pub async fn run(client: &ApiClient, output: Output, args: ExplainArgs) -> Result<(), Failure> {
    let explain = client.explain(args.id, args.chunk).await?;
    output.show(&explain, || format!("{}\n{}", heading(&explain), table(&explain.chunks)))
}

fn heading(explain: &Explain) -> String {
    let (id, replicas, epoch) = (explain.id, count(explain.replicas, "replica"), &explain.epoch);
    let blob = format!("{id}: {} in chunks of {}", size(explain.size), size(explain.chunk_size.into()));
    let manifest = format!("manifest owned by {}, held by {}", names(&explain.manifest_owners), names(&explain.manifest_holders));
    let silent = match explain.unreachable.as_slice() {
        [] => String::new(),
        nodes => format!("not asked, because they do not answer: {}\n", names(nodes)),
    };
    format!("{blob}, {replicas}, epoch {epoch}\n{manifest}\n{silent}")
}

fn table(chunks: &[ExplainChunk]) -> String {
    let mut table = Table::new(&["CHUNK", "SIZE", "STATE", "OWNERS", "HELD BY", "IF LOST"], &[0, 1]);
    for chunk in chunks {
        let (owners, holders) = (names(&chunk.owners), names(&chunk.holders));
        let departures: Vec<String> = chunk.if_lost.iter().map(departure).collect();
        table.row([chunk.index.to_string(), size(chunk.size), chunk.state.clone(), owners, holders, departures.join(", ")]);
    }
    table.render()
}

fn departure(departure: &Departure) -> String {
    format!("{}→{}", departure.node, departure.successor.as_deref().unwrap_or("nobody"))
}

fn names(nodes: &[String]) -> String {
    if nodes.is_empty() { "nobody".to_owned() } else { nodes.join(" ") }
}
