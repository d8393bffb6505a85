use std::fs;
use std::net::SocketAddr;
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
use crate::lab::{Busy, Carried, LabError, Nginx, Plan, Relays, Settings, Stop, Wires, at, each};
use crate::swarm::{HomeArguments, flags};

/// What the object is called on the web server.
pub const KEY: &str = "object";
const WEB: u16 = 80;
/// Where the web server is asked when its answers take longer.
const RELAYED: u16 = 8080;
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
    pub program: PathBuf,
    /// Whether the program can do without redirects.
    static_flag: bool,
    /// Of all hosts the last.
    pub central: usize,
    nginx: Nginx,
    /// Where it is asked.
    pub web: SocketAddr,
    _relay: Option<Relays>,
    pub wires: Wires,
    pub interrupt: Interrupt,
    pub home: TempDir,
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
        let central = arguments.nodes.iter().max().copied().unwrap_or(1) + 1;
        let plan = Plan { hosts: central, rate: &arguments.rate.to_string(), zones: arguments.zones, apart: 1 };
        let wires = Wires::make(plan)?.ok_or(LabError::NoNamespaces)?;
        let address = at(central, WEB)?;
        let nginx = Nginx::start(&wires.host(central), address, &home.path().join("nginx"), &root)?;
        let (relay, web) = match arguments.delay() {
            Duration::ZERO => (None, address),
            delay => {
                let near = at(central, RELAYED)?;
                (Some(Relays::between(&wires.host(central), near, address, delay)?), near)
            }
        };
        let static_flag = arguments.modes.contains(&Mode::Static) && can_be_static(&program);
        Ok(Self { arguments, blob, program, static_flag, central, nginx, web, _relay: relay, wires, interrupt, home })
    }

    pub fn measure(&mut self, mode: Mode, nodes: usize) -> Result<Fan, LabError> {
        let home = tempfile::tempdir_in(self.home.path()).map_err(FuseError::at(self.home.path()))?;
        let before = self.nginx.sent()?;
        let mut fan = match mode {
            Mode::Central => self.download(nodes, home.path()),
            Mode::Static | Mode::Swarm => self.swarm(mode, nodes, home.path()),
        }?;
        if mode == Mode::Central || self.arguments.from == Source::Origin {
            fan.count_origin(self.nginx.sent()? - before, self.blob.size);
        }
        Ok(fan)
    }

    fn download(&self, nodes: usize, home: &Path) -> Result<Fan, LabError> {
        let file = |host: usize| home.join(host.to_string());
        let fan = self.timed(Mode::Central, nodes, |host, start, stop| {
            Download { host, web: self.web, size: self.blob.size, file: &file(host) }.run(start, stop)
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
        let before = peers.given()?;
        let cpu = peers.members.cpu_seconds();
        let mut fan = self.timed(mode, nodes, |host, start, stop| wanted.bring(host, &peers.url(host), start, stop))?;
        fan.cpu_seconds = peers.members.cpu_seconds() - cpu;
        fan.served = self.each(nodes, nodes, |host, _| peers.served(host))?;
        if self.arguments.from == Source::Blob {
            fan.count_origin(peers.given()? - before, self.blob.size);
        }
        if let Some(logs) = &self.arguments.logs {
            peers.keep(logs, &format!("{}-{nodes}", mode.name()))?;
        }
        self.each(nodes, COMPARED, |host, stop| wanted.compare(host, &peers.url(host), stop))?;
        Ok(fan)
    }

    /// All begin at the same moment; what the links carried is counted when the last is done.
    fn timed(
        &self,
        mode: Mode,
        nodes: usize,
        work: impl Fn(usize, &Start, &Stop) -> Result<Finish, LabError> + Sync,
    ) -> Result<Fan, LabError> {
        let carried = || self.each(nodes, nodes, |_, _| Carried::here());
        let (before, zones) = (carried()?, self.wires.into_zones()?);
        let ideal = self.arguments.rate.seconds(self.blob.size);
        let at = Instant::now() + TOGETHER;
        let start = Start { at, deadline: at + GRACE + Duration::from_secs_f64(PATIENCE * ideal * nodes as f64) };
        let busy = Busy::now();
        let finishes = self.each(nodes, nodes, |host, stop| work(host, &start, stop))?;
        let busy = Busy::now().share_since(busy);
        let carried: Vec<Carried> = carried()?.into_iter().zip(before).map(|(after, before)| after - before).collect();
        let zones = self.wires.into_zones()?.iter().zip(zones).map(|(after, before)| after - before).collect();
        Ok(Fan::new(mode, ideal, &finishes, &carried).with(busy, zones).with_timeline(self.arguments.timeline, finishes))
    }

    pub fn each<T: Send>(
        &self,
        nodes: usize,
        at_once: usize,
        work: impl Fn(usize, &Stop) -> Result<T, LabError> + Sync,
    ) -> Result<Vec<T>, LabError> {
        let hosts: Vec<usize> = (1..=nodes).collect();
        each(&self.wires, &self.interrupt, &hosts, at_once, work)
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
