use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::central::Download;
use super::peers::Peers;
use super::report::{Fan, Finish};
use super::wanted::Wanted;
use super::{FanOutArguments, Mode, Source};
use crate::blob::TestBlob;
use crate::error::FuseError;
use crate::interrupt::Interrupt;
use crate::lab::{Busy, Carried, LabError, Server, Settings, Stop, Wires, each, inside};
use crate::swarm::{HomeArguments, flags};

/// What the object is called on the web server.
pub const KEY: &str = "object";
/// From the making of all threads to the moment when all begin.
const TOGETHER: Duration = Duration::from_millis(500);
/// How much longer than a central server would take the swarm may take, and how long it may take beside.
const PATIENCE: f64 = 4.0;
const GRACE: Duration = Duration::from_secs(60);
/// Nodes that are compared at the same time: what is compared is made again by one core.
const COMPARED: usize = 2;

/// Hosts on a switch and a web server on one of its own, which has the object.
pub struct Bench<'a> {
    pub arguments: &'a FanOutArguments,
    pub blob: TestBlob,
    program: PathBuf,
    /// Whether the program can do without redirects.
    static_flag: bool,
    pub server: Server,
    pub wires: Wires,
    interrupt: Interrupt,
    home: TempDir,
}

/// A fan-out that is about to begin.
pub struct Start {
    pub at: Instant,
    pub deadline: Instant,
}

impl<'a> Bench<'a> {
    pub fn new(arguments: &'a FanOutArguments) -> Result<Self, LabError> {
        let home = HomeArguments { herring: arguments.herring.clone(), dir: arguments.home.clone() };
        let (program, home, interrupt) = (home.program()?, home.make()?, Interrupt::new()?);
        let blob = TestBlob::new(arguments.size.as_u64(), arguments.seed, &[]);
        let root = home.path().join("web");
        fs::create_dir(&root).map_err(LabError::io("the web server's directory"))?;
        blob.write(&root.join(KEY))?;
        let most = arguments.nodes.iter().max().copied().unwrap_or(1);
        let wires = Wires::make_or_fail(most, &arguments.rate, arguments.zones)?;
        let server = Server::start(&wires, &home.path().join("nginx"), &root, arguments.delay())?;
        let static_flag = arguments.modes.contains(&Mode::Static) && can_be_static(&program);
        Ok(Self { arguments, blob, program, static_flag, server, wires, interrupt, home })
    }

    pub fn measure(&mut self, mode: Mode, nodes: usize) -> Result<Fan, LabError> {
        let home = tempfile::tempdir_in(self.home.path()).map_err(FuseError::at(self.home.path()))?;
        let before = self.server.sent()?;
        let mut fan = match mode {
            Mode::Central => self.download(nodes, home.path()),
            Mode::Static | Mode::Swarm => self.swarm(mode, nodes, home.path()),
        }?;
        if mode == Mode::Central || self.arguments.from == Source::Origin {
            fan.count_origin(self.server.sent()? - before, self.blob.size);
        }
        Ok(fan)
    }

    fn download(&self, nodes: usize, home: &Path) -> Result<Fan, LabError> {
        let file = |host: usize| home.join(host.to_string());
        let fan = self.timed(Mode::Central, nodes, |host, start, stop| {
            Download { host, web: self.server.address, size: self.blob.size, file: &file(host) }.run(start, stop)
        })?;
        self.each(nodes, COMPARED, |host, _| Ok(self.blob.verify(&file(host))?))?;
        Ok(fan)
    }

    fn swarm(&self, mode: Mode, nodes: usize, home: &Path) -> Result<Fan, LabError> {
        let own = if mode == Mode::Static && self.static_flag { flags(&["--no-redirects"]) } else { Vec::new() };
        let settings = Settings {
            program: &self.program,
            home,
            wires: &self.wires,
            interrupt: &self.interrupt,
            delay: self.arguments.delay(),
        };
        let peers = Peers::start(self, &settings, nodes, &own)?;
        let wanted = Wanted { blob: self.blob, source: self.arguments.from, reader: self.arguments.reader };
        let (given, cpu) = (self.given()?, peers.members.cpu_seconds());
        let fan = self.timed(mode, nodes, |host, start, stop| wanted.bring(host, &peers.url(host), start, stop));
        // Of one that failed they say why.
        if let Some(logs) = &self.arguments.logs {
            peers.keep(logs, &format!("{}-{nodes}", mode.name()))?;
        }
        let mut fan = fan?;
        fan.cpu_seconds = peers.members.cpu_seconds() - cpu;
        if self.arguments.from == Source::Blob {
            fan.count_origin(self.given()? - given, self.blob.size);
        }
        fan.served = peers.served()?;
        self.each(nodes, COMPARED, |host, stop| wanted.compare(host, &peers.url(host), stop))?;
        Ok(fan)
    }

    /// By the link of the host that has it in the beginning: a node may count what it never got rid of.
    fn given(&self) -> Result<u64, LabError> {
        inside(&self.wires.host(self.wires.last()), Carried::here)?.map(|carried| carried.sent)
    }

    /// All begin at the same moment; what the links carried is counted when the last is done.
    fn timed(
        &self,
        mode: Mode,
        nodes: usize,
        work: impl Fn(usize, &Start, &Stop) -> Result<Finish, LabError> + Sync,
    ) -> Result<Fan, LabError> {
        let carried = || self.each(nodes, nodes, |_, _| Carried::here());
        let (before, zones) = (carried()?, self.wires.received_by_zones()?);
        let ideal = self.arguments.rate.seconds(self.blob.size);
        let at = Instant::now() + TOGETHER;
        let start = Start { at, deadline: at + GRACE + Duration::from_secs_f64(PATIENCE * ideal * nodes as f64) };
        let busy = Busy::now();
        let finishes = self.each(nodes, nodes, |host, stop| work(host, &start, stop))?;
        let busy = Busy::now().share_since(busy);
        let carried: Vec<Carried> = carried()?.into_iter().zip(before).map(|(after, before)| after - before).collect();
        let zones = self.wires.received_by_zones()?.iter().zip(zones).map(|(after, before)| after - before).collect();
        Ok(Fan::new(mode, ideal, &finishes, &carried).with(busy, zones).with_timeline(self.arguments.timeline, finishes))
    }

    fn each<T: Send>(
        &self,
        nodes: usize,
        at_once: usize,
        work: impl Fn(usize, &Stop) -> Result<T, LabError> + Sync,
    ) -> Result<Vec<T>, LabError> {
        let hosts: Vec<(usize, ())> = (1..=nodes).map(|host| (host, ())).collect();
        each(&self.wires, &self.interrupt, &hosts, at_once, |host, (), stop| work(host, stop))
    }
}

impl Start {
    pub fn wait(&self) {
        std::thread::sleep(self.at.saturating_duration_since(Instant::now()));
    }
}

/// An older program has no redirects to be without.
fn can_be_static(program: &Path) -> bool {
    let asked =
        Command::new(program).args(["node", "--no-redirects", "--help"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let can = asked.is_ok_and(|status| status.success());
    if !can {
        eprintln!("loadtest: {} does not know --no-redirects: static is as it is", program.display());
    }
    can
}
