use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use herring_blob::CHUNK_SIZE;
use herring_http_api::client::ApiClient;
use herring_http_api::types::ExplainChunk;
use tempfile::TempDir;

use super::deal::{Deal, Piece};
use super::readers::Reader;
use super::report::{Figures, Line};
use super::{CentralArguments, ROUNDS};
use crate::blob::TestBlob;
use crate::interrupt::Interrupt;
use crate::lab::{Busy, LabError, Member, Members, Server, Settings, Stop, Wires, ask, each};
use crate::swarm::HomeArguments;
use crate::tally::Tally;

/// Owners of each chunk, as nodes have it where nothing is said.
const REPLICAS: usize = 3;
/// Chunks of a blob of which no node reads the whole by itself: up to 64 MiB its first two owners do, after the put.
const LARGE: u64 = 17;
/// What nodes have fetched, from anywhere.
const FETCHED: &str = "herring_swarm_bytes_fetched_total";
/// From the making of all threads to the moment when all begin.
const TOGETHER: Duration = Duration::from_millis(200);

/// Nodes with blobs, and a web server that has the same ones.
pub struct Bench<'a> {
    arguments: &'a CentralArguments,
    blobs: Vec<TestBlob>,
    deal: Deal,
    members: Members,
    server: Server,
    wires: Wires,
    interrupt: Interrupt,
    _home: TempDir,
}

/// One reader in one round.
struct Turn {
    pieces: Vec<Piece>,
    start: Instant,
}

impl<'a> Bench<'a> {
    pub fn new(arguments: &'a CentralArguments) -> Result<Self, LabError> {
        let home = HomeArguments { herring: arguments.herring.clone(), dir: arguments.home.clone() };
        let (program, home, interrupt) = (home.program()?, home.make()?, Interrupt::new()?);
        let blobs = blobs(arguments);
        let root = home.path().join("web");
        fs::create_dir(&root).map_err(LabError::io("the web server's directory"))?;
        blobs.iter().try_for_each(|blob| blob.write(&root.join(blob.id.to_string())))?;
        let wires = Wires::make_or_fail(arguments.nodes, &arguments.rate, 0)?;
        let server = Server::start(&wires, &home.path().join("nginx"), &root, arguments.delay())?;
        let settings =
            Settings { program: &program, home: home.path(), wires: &wires, interrupt: &interrupt, delay: arguments.delay() };
        let members: Vec<Member> = (1..=arguments.nodes).map(|host| Member { host, settings: arguments.flags.clone() }).collect();
        let members = Members::start(&settings, &members)?;
        let held = put(&members, &wires, &interrupt, &blobs)?;
        let deal = Deal::new(arguments.nodes, &held, arguments.seed);
        Ok(Self { arguments, blobs, deal, members, server, wires, interrupt, _home: home })
    }

    /// Round by round, first from the nodes and then from the server, and the other way round in the next.
    pub fn measure(&mut self, readers: usize) -> Result<Line, LabError> {
        let (mut p2p, mut central) = (Figures::default(), Figures::default());
        let fetched = self.fetched()?;
        for round in 0..ROUNDS {
            let turns = self.deal_out(readers, round)?;
            for of_server in [round % 2 == 1, round % 2 == 0] {
                let figures = if of_server { &mut central } else { &mut p2p };
                self.turn(&turns, of_server, figures)?;
            }
        }
        let fetched = self.fetched()? - fetched;
        Ok(Line::new(readers, &p2p, &central, fetched))
    }

    fn deal_out(&mut self, readers: usize, round: usize) -> Result<Vec<(usize, Vec<Piece>)>, LabError> {
        let count = self.arguments.reads_in_turn(readers);
        let host = |reader: usize| (reader + round) % self.arguments.nodes + 1;
        (0..readers).map(|reader| Ok((host(reader), self.deal.take(host(reader), count)?))).collect()
    }

    fn turn(&self, turns: &[(usize, Vec<Piece>)], of_server: bool, figures: &mut Figures) -> Result<(), LabError> {
        let start = Instant::now() + TOGETHER;
        let turns: Vec<(usize, Turn)> =
            turns.iter().map(|(host, pieces)| (*host, Turn { pieces: pieces.clone(), start })).collect();
        let busy = Busy::now();
        let read = |host: usize, turn: &Turn, stop: &Stop| -> Result<(Tally, Instant), LabError> {
            let reader = Reader { host, pieces: &turn.pieces, blobs: &self.blobs, start: turn.start, stop };
            let tally = match of_server {
                true => reader.at_server(self.server.address),
                false => reader.at_node(&self.members.url(host)),
            }?;
            Ok((tally, Instant::now()))
        };
        let tallies = each(&self.wires, &self.interrupt, &turns, turns.len(), read)?;
        let end = tallies.iter().map(|(_, end)| *end).max().unwrap_or(start);
        tallies.iter().for_each(|(tally, _)| figures.tally.add(tally));
        figures.took(end - start, Busy::now().share_since(busy));
        Ok(())
    }

    fn fetched(&self) -> Result<u64, LabError> {
        (1..=self.arguments.nodes).map(|host| self.members.count(host, FETCHED)).sum()
    }
}

/// A blob for each node where that makes large ones, so that all links are used to put them; together, enough for all reads.
fn blobs(arguments: &CentralArguments) -> Vec<TestBlob> {
    let (nodes, reads) = (arguments.nodes, arguments.reads_at_each() as f64);
    // Who owns what is random: some nodes have less that is cold to them than others.
    let cold = reads + 2.0 * reads.sqrt() + 2.0;
    // Not negative, and less than a disk has.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let chunks = (cold * nodes as f64 / (nodes - REPLICAS) as f64).ceil() as u64;
    let count = (chunks / LARGE).clamp(1, nodes as u64);
    let size = chunks.div_ceil(count).max(LARGE) * u64::from(CHUNK_SIZE);
    (1..=count).map(|node| TestBlob::new(size, arguments.seed, &[node])).collect()
}

/// Puts each blob at a node of its own; who has which piece then.
fn put(
    members: &Members,
    wires: &Wires,
    interrupt: &Interrupt,
    blobs: &[TestBlob],
) -> Result<Vec<(Piece, BTreeSet<usize>)>, LabError> {
    let jobs: Vec<(usize, (usize, TestBlob))> = (1..).zip(blobs.iter().copied().enumerate()).collect();
    let put = |host: usize, (number, blob): &(usize, TestBlob), _: &Stop| {
        let explained = ask(host, &members.url(host), async |client: ApiClient| {
            client.put(Some(blob.id), Some(blob.size), blob.stream()).await?;
            client.explain(blob.id, None).await
        })?;
        let held = explained.chunks.iter().map(|chunk| (Piece { blob: *number, chunk: chunk.index }, holders(chunk)));
        Ok(held.collect::<Vec<_>>())
    };
    each(wires, interrupt, &jobs, jobs.len(), put).map(|held| held.concat())
}

/// The numbers of the nodes; whoever should have it may get it yet.
fn holders(chunk: &ExplainChunk) -> BTreeSet<usize> {
    let all = chunk.holders.iter().chain(&chunk.owners);
    all.filter_map(|id| id.strip_prefix('n')?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holders_are_nodes_numbers() {
        let chunk = ExplainChunk {
            index: 0,
            size: 1,
            digest: String::new(),
            owners: vec!["n3".into(), "n12".into()],
            holders: vec!["n3".into(), "n1".into()],
            state: String::new(),
            if_lost: Vec::new(),
        };
        assert_eq!(holders(&chunk), BTreeSet::from([1, 3, 12]));
    }
}
