//! `herring drill`: what a swarm promises, tried while something happens to it.

mod agree;
mod blob;
mod check;
mod compose;
mod course;
mod drain;
mod hands;
mod load;
mod own;
mod places;
mod random;
mod report;
mod running;
mod scenario;
mod settle;
mod site;
mod tally;
#[cfg(test)]
mod tests;
mod wires;

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use bytesize::ByteSize;
use clap::Args;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use self::compose::Compose;
use self::course::Plan;
use self::hands::Hands;
use self::load::Rates;
use self::own::Own;
use self::report::Report;
use self::running::Running;
use self::scenario::{Scenario, minority};
use self::wires::{Wires, enter};
use crate::cli::Global;
use crate::config::{PORT, REPLICAS, absolute, parse_size};
use crate::error::{Failure, OrFail, tell};
use crate::signals::Stop;
use crate::up::{Layout, STRIDE, check_ports, free_base};

/// For swarms of our own: below those that the kernel hands out, away from the usual ones.
const PORTS: u16 = 8_000;
/// A node that is paused for less is hardly missed: the others take it for gone after 2.6 s.
const PAUSE: Duration = Duration::from_secs(4);

#[derive(Debug, Args)]
#[command(after_long_help = AFTER)]
pub struct DrillArgs {
    /// What happens to the swarm
    #[arg(value_enum)]
    scenario: Scenario,

    /// How many nodes a swarm of the drill's own has
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(2..=100), conflicts_with_all = ["dir", "compose"])]
    nodes: u16,

    /// How many of them keep each chunk [default: 3, at most all]
    #[arg(long, value_name = "R", conflicts_with_all = ["dir", "compose"])]
    replicas: Option<u16>,

    /// More of their settings, as on the command line of herring node without its dashes: capacity=1GiB; may be repeated
    #[arg(long, value_name = "FLAG=VALUE", conflicts_with_all = ["dir", "compose"])]
    set: Vec<String>,

    /// Leaves the data and logs of a swarm of its own, and says where they are
    #[arg(long)]
    keep: bool,

    /// Does it to the swarm of a running `herring up --dir DIR` instead
    #[arg(long, value_name = "DIR", conflicts_with = "compose")]
    dir: Option<PathBuf>,

    /// Does it to the swarm of a docker compose project instead, each service a node with its port 7070 published; needs docker compose
    #[arg(long, value_name = "FILE")]
    compose: Option<PathBuf>,

    /// How many put blobs, of some bytes to 12 MiB
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=64))]
    writers: u64,

    /// How many read what was acknowledged, whole and in ranges
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=256))]
    readers: u64,

    /// How long all is under load; longer where what happens takes longer
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,

    /// How many bytes are put in that time
    #[arg(long, value_name = "SIZE", default_value = "512MiB", value_parser = parse_size)]
    bytes: ByteSize,

    /// How long a partition lasts
    #[arg(long, value_name = "MINUTES", default_value_t = 0.5, value_parser = parse_minutes)]
    minutes: f64,

    /// How long the swarm may take afterwards until every owner has what it owns
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    settle: u64,

    /// The same blobs, choices and victims for the same number
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
}

const AFTER: &str = "Clients write and read all the time, and compare every byte. At the end every acknowledged blob is read from every node. Exit code 0: no \
read failed, no acknowledged blob was lost, no byte was wrong; else 1, and what to look at. A read that met a node just as the drill took it away is no failure: it goes on at \
another node. Writes that are refused are counted, and lose nothing.

With --dir, nodes stay children of `herring up`: it notices by a lock, DIR/nX.hold, that a drill ended one on purpose, and starts it again when the drill lets go or dies. \
DIR/up.json says which process is which. A node that joins is the drill's own, and drains and ends with it; disk-loss really deletes what one node has. What the drill put is deleted at the \
end.

A partition needs root and the program ip: each node is in a network namespace of its own, and some of them behind a link that is taken down.";

fn parse_minutes(text: &str) -> Result<f64, String> {
    let minutes = text.parse::<f64>().ok().filter(|minutes| (0.01..=1440.0).contains(minutes));
    minutes.ok_or_else(|| "it must be from 0.01 to 1440".to_owned())
}

pub async fn run(args: DrillArgs, global: &Global) -> Result<(), Failure> {
    let plan = args.plan();
    let report = match (&args.dir, args.compose.clone()) {
        (Some(dir), _) => watch(plan, &mut Running::find(&absolute(dir.clone())?)?).await?,
        (None, Some(file)) => watch(plan, &mut Compose::find(file, global.speech()?).await?).await?,
        (None, None) if args.scenario == Scenario::Partition => apart(plan, args).await?,
        (None, None) => watch(plan, &mut args.own(None)?).await?,
    };
    global.output().show(&report, || report.render())?;
    if report.ok { Ok(()) } else { Err(Failure::told()) }
}

impl DrillArgs {
    fn plan(&self) -> Plan {
        let over = Duration::from_secs(self.seconds);
        let (seed, readers, writers) = (self.seed, self.readers, self.writers);
        let rates = Rates { seed, readers, writers, bytes: self.bytes.as_u64(), over };
        let hold = match self.scenario {
            Scenario::Partition => Duration::from_secs_f64(self.minutes * 60.0),
            _ => (over / 4).max(PAUSE),
        };
        Plan { scenario: self.scenario, rates, hold, settle: Duration::from_secs(self.settle) }
    }

    fn replicas(&self) -> u16 {
        self.replicas.unwrap_or_else(|| u16::try_from(REPLICAS).unwrap_or(u16::MAX)).clamp(1, self.nodes)
    }

    fn own(&self, wires: Option<Wires>) -> Result<Own, Failure> {
        let dir = tempfile::Builder::new().prefix("herring-drill-").tempdir();
        let dir = dir.or_fail(|| "cannot create a temporary directory".to_owned())?;
        let mut layout = self.layout(dir.path().to_owned());
        if wires.is_none() {
            layout.port = ports(&layout)?;
        }
        let temporary = if self.keep {
            let _ = dir.keep();
            None
        } else {
            Some(dir)
        };
        Own::start(layout, temporary, wires)
    }

    fn layout(&self, dir: PathBuf) -> Layout {
        let flags = self.set.iter().map(|flag| format!("--{flag}")).collect();
        let replicas = self.replicas().into();
        Layout { dir, port: PORT, nodes: self.nodes, replicas, mounts: false, origins: Vec::new(), flags, secrets: None }
    }
}

/// A first port from which on there is room for these nodes and one that joins. Drills that run side by side begin elsewhere.
fn ports(layout: &Layout) -> Result<u16, Failure> {
    let begin = PORTS + u16::try_from(std::process::id() % 100).unwrap_or_default() * 4 * STRIDE;
    let wider = Layout { port: begin, nodes: layout.nodes + 1, ..layout.clone() };
    if check_ports(&wider).is_ok() { Ok(begin) } else { free_base(&wider) }
}

/// The drill, unless somebody interrupts it; in any case what it found is given back as it was.
async fn watch(plan: Plan, hands: &mut dyn Hands) -> Result<Report, Failure> {
    hands.check(plan.scenario)?;
    let mut stop = Stop::listen()?;
    let done = tokio::select! {
        done = course::run(plan, hands) => Some(done),
        () = stop.asked() => None,
    };
    let failed = done.as_ref().is_some_and(|done| !done.as_ref().is_ok_and(|report| report.ok));
    if let Some(dir) = hands.end(failed).await {
        tell(format_args!("data and logs are left in {}", dir.display()));
    }
    done.unwrap_or_else(|| Err(Failure::failed("the drill was interrupted")))
}

/// A drill whose nodes are on hosts of their own, and which is itself in their network: in a thread that has entered it.
async fn apart(plan: Plan, args: DrillArgs) -> Result<Report, Failure> {
    let cut = minority(args.nodes.into(), args.replicas().into());
    if cut == 0 {
        return Err(Failure::usage(format_args!(
            "of {} nodes with {} replicas none can be cut off so that the others go on with every chunk: give --nodes 3 --replicas 2 or more",
            args.nodes,
            args.replicas()
        )));
    }
    let (done, result) = oneshot::channel();
    let work = move || {
        let wires = Wires::make(args.nodes.into(), cut)?;
        enter(&wires.switch())?;
        let runtime = Builder::new_multi_thread().enable_all().build().or_fail(|| "cannot start".to_owned())?;
        runtime.block_on(async { watch(plan, &mut args.own(Some(wires))?).await })
    };
    let thread = thread::Builder::new().name("partition".to_owned()).spawn(move || drop(done.send(work())));
    thread.or_fail(|| "cannot start a thread".to_owned())?;
    result.await.unwrap_or_else(|_| Err(Failure::failed("the drill's thread panicked")))
}
