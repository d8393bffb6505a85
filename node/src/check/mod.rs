//! `herring up --check`: proves on this machine, with real bytes, that what one node was given all others give back.

mod material;
mod origin;
mod probe;
mod report;

use std::path::{Path, PathBuf};
use std::time::Instant;

use herring_http_api::client::ApiClient;
use tempfile::TempDir;

use self::material::Material;
use self::origin::OriginFile;
use self::report::Report;
use crate::config::{PORT, absolute};
use crate::error::{Failure, OrFail, tell};
use crate::output::Output;
use crate::signals::Stop;
use crate::up::{Layout, Local, Place, Secrets, UpArgs, check_homes, check_ports, free_base, mount_obstacle, names};

/// More would keep reads from crossing the wire in a swarm of three.
const MOST_REPLICAS: usize = 2;

pub async fn run(args: UpArgs, output: Output) -> Result<(), Failure> {
    let bench = Bench::new(args.dir.clone())?;
    check_homes(&bench.dir, args.nodes)?;
    let materials = material::gather(&args.paths, &bench.dir).await?;
    let origin = OriginFile::new(&bench.dir, &materials).await?;
    let obstacle = if args.no_mount { Some("nothing is mounted, as was asked".to_owned()) } else { mount_obstacle() };
    obstacle.iter().for_each(tell);
    let layout = layout(&args, &bench.dir, &origin, obstacle.is_none())?;

    let mut report = Report::new(&layout, obstacle);
    let mut stop = Stop::listen()?;
    let mut local = Local::spawn(layout)?;
    let done = tokio::select! {
        done = check(&mut local, &materials, &origin, &mut report) => Some(done),
        () = stop.asked() => None,
    };
    local.stop(&mut stop).await;
    let Some(done) = done else { return Err(Failure::failed("the check was interrupted")) };
    let verdict = done.and_then(|()| conclude(&report, output));
    bench.leave(verdict.is_err());
    verdict
}

/// What is done, in this order, while all nodes run.
async fn check(local: &mut Local, materials: &[Material], origin: &OriginFile, report: &mut Report) -> Result<(), Failure> {
    local.ready().await?;
    let nodes = nodes(local)?;
    let work = async {
        let stored = probe::put(&nodes[0], materials, report).await?;
        probe::read_back(&nodes, &stored, report).await;
        origin.read_everywhere(&nodes, report).await
    };
    tokio::select! {
        done = work => done,
        ended = local.ended() => Err(Failure::failed(ended.report)),
    }
}

fn conclude(report: &Report, output: Output) -> Result<(), Failure> {
    output.show(&report, || report.render())?;
    if report.ok() { Ok(()) } else { Err(Failure::told()) }
}

/// A node under test.
pub struct Node {
    pub place: Place,
    pub client: ApiClient,
}

fn nodes(local: &Local) -> Result<Vec<Node>, Failure> {
    let node = |(index, (place, _)): (usize, (&Place, u32))| Ok(Node { place: place.clone(), client: local.client(index)? });
    local.places().enumerate().map(node).collect()
}

fn layout(args: &UpArgs, dir: &Path, origin: &OriginFile, mounts: bool) -> Result<Layout, Failure> {
    let replicas = args.replicas.unwrap_or(MOST_REPLICAS.min(args.nodes.into()));
    let origins = args.origin.iter().cloned().chain([origin.spec()]).collect();
    let (dir, port, nodes) = (dir.to_owned(), args.port.unwrap_or(PORT), args.nodes);
    let secrets = args.secure.then(|| Secrets::prepare(&dir, names(nodes))).transpose()?;
    let mut layout = Layout { dir, port, nodes, replicas, mounts, origins, flags: Vec::new(), secrets };
    let Err(taken) = check_ports(&layout) else { return Ok(layout) };
    if args.port.is_some() {
        return Err(taken);
    }
    layout.port = free_base(&layout)?;
    tell(format_args!("ports from {PORT} on are not all free; this check uses those from {} on", layout.port));
    Ok(layout)
}

/// Where it happens: a directory that was named and stays, or a temporary one.
struct Bench {
    dir: PathBuf,
    temporary: Option<TempDir>,
    since: Instant,
}

impl Bench {
    fn new(dir: Option<PathBuf>) -> Result<Self, Failure> {
        let since = Instant::now();
        if let Some(dir) = dir {
            let dir = absolute(dir)?;
            std::fs::create_dir_all(&dir).or_fail(|| format!("cannot create {}", dir.display()))?;
            return Ok(Self { dir, temporary: None, since });
        }
        let temporary = tempfile::Builder::new().prefix("herring-check-").tempdir();
        let temporary = temporary.or_fail(|| "cannot create a temporary directory".to_owned())?;
        Ok(Self { dir: temporary.path().to_owned(), temporary: Some(temporary), since })
    }

    /// Removes it, unless its logs may tell why something failed.
    fn leave(self, failed: bool) {
        tracing::info!("the check took {:?}", self.since.elapsed());
        match self.temporary {
            Some(temporary) if failed => tell(format_args!("data and logs are left in {}", temporary.keep().display())),
            _ => {}
        }
    }
}
