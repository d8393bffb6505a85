//! `herring up`: a swarm on this machine, each node a process of its own.

mod child;
mod files;
mod hold;
mod homes;
mod layout;
mod local;
mod mounts;
mod ports;
mod record;
mod secure;

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

pub use child::Child;
pub use files::{Bounds, regular_files, to_put as files_to_put};
pub use hold::Hold;
pub use homes::check as check_homes;
use layout::quote;
pub use layout::{Layout, Place, STRIDE, names};
pub use local::Local;
pub use mounts::obstacle as mount_obstacle;
pub use ports::{check as check_ports, free_base};
pub use record::{Record, Recorded};
pub use secure::Secrets;

use crate::commands::put::{self, Put, Ready};
use crate::config::{REPLICAS, absolute, default_data_dir, parse_origins};
use crate::error::{Failure, tell};
use crate::output::{Output, Table};
use crate::signals::Stop;

/// With more blobs than this, what to try next would be out of sight: only the first are shown.
const MOST_ROWS: usize = 12;
const FIRST_ROWS: usize = 10;

#[derive(Debug, Args)]
pub struct UpArgs {
    /// Files to put in; directories with all that is in them, each as a tree under its own name
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,

    /// How many nodes
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub nodes: u16,

    /// Where data, mounts and logs are, in n1, n2, … [default: $XDG_DATA_HOME/herring/up; a temporary one with --check]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,

    /// An origin by its name: models=file:///data, models=s3://bucket/prefix; may be repeated
    #[arg(long, value_name = "NAME=URL")]
    pub origin: Vec<String>,

    /// Mounts nothing
    #[arg(long)]
    pub no_mount: bool,

    /// Nodes that keep each chunk [default: 3; at most 2 with --check, so that reads cross the wire]
    #[arg(long, value_name = "R")]
    pub replicas: Option<usize>,

    /// Nodes speak TLS and sealed gossip only, and ask for tokens: their authority, certificates and key, and an admin's token are made in DIR/certs
    /// and kept
    #[arg(long)]
    pub secure: bool,

    /// Port of the first node's API; each next one is 10 above, gossip 1 above each [default: 7070]
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,

    /// Proves that it works here and ends: reads real files back through every other node and compares digests
    #[arg(long)]
    pub check: bool,
}

pub async fn run(args: UpArgs, output: Output) -> Result<(), Failure> {
    check_replicas(args.replicas, args.nodes)?;
    parse_origins(&args.origin)?;
    if args.check { crate::check::run(args, output).await } else { serve(args, output).await }
}

/// Only what was asked for: the default is for swarms that can grow.
fn check_replicas(replicas: Option<usize>, nodes: u16) -> Result<(), Failure> {
    match replicas {
        Some(0) => Err(Failure::usage("--replicas 0 would keep nothing: it must be at least 1")),
        Some(replicas) if replicas > nodes.into() => Err(Failure::usage(format_args!(
            "--replicas {replicas} is more than the {nodes} of --nodes: each replica needs a node of its own"
        ))),
        _ => Ok(()),
    }
}

async fn serve(args: UpArgs, output: Output) -> Result<(), Failure> {
    let ready = put::prepare(files::wanted(&args.paths)?)?;
    let dir = args.dir.clone().map_or_else(|| default_data_dir().map(|data| data.join("up")), Ok)?;
    let dir = absolute(dir)?;
    homes::check(&dir, args.nodes)?;
    let layout = layout(&args, dir)?;
    ports::check(&layout)?;
    // Before the children exist: afterwards nothing may end this process without ending them.
    let mut stop = Stop::listen()?;
    let mut local = Local::spawn(layout)?;
    let done = tokio::select! {
        done = stay(&mut local, ready, output) => done,
        () = stop.asked() => Ok(()),
    };
    local.stop(&mut stop).await;
    done
}

fn layout(args: &UpArgs, dir: PathBuf) -> Result<Layout, Failure> {
    Ok(Layout {
        secrets: args.secure.then(|| Secrets::prepare(&dir, names(args.nodes))).transpose()?,
        dir,
        port: args.port.unwrap_or(crate::config::PORT),
        nodes: args.nodes,
        replicas: args.replicas.unwrap_or(REPLICAS),
        mounts: !args.no_mount && mounts::usable(),
        origins: args.origin.clone(),
        flags: Vec::new(),
    })
}

/// Puts the files in, tells what there is, and stays for as long as a node does.
async fn stay(local: &mut Local, ready: Vec<Ready>, output: Output) -> Result<(), Failure> {
    local.ready().await?;
    let client = local.client(0)?;
    let (done, failure) = put::all(&client, ready).await;
    let nodes: Vec<_> = local.places().map(|(place, pid)| json!({ "node": place, "pid": pid })).collect();
    output
        .show(&json!({ "nodes": nodes, "blobs": done }), || format!("{}\n{}", introduce(local, &done), suggest(local, &done)))?;
    if let Some(failure) = failure {
        return Err(failure);
    }
    loop {
        let ended = local.ended().await;
        tell(format_args!("{}\nTo bring it back: {}", ended.report, ended.way_back));
        if local.is_empty() {
            return Err(Failure::failed("no node is left"));
        }
    }
}

fn introduce(local: &Local, done: &[Put]) -> String {
    let mut nodes = Table::new(&["NODE", "API", "MOUNT", "LOG", "PID"], &[4]);
    for (place, pid) in local.places() {
        let mount = place.mount.as_deref().map_or_else(|| "-".to_owned(), |mount| mount.display().to_string());
        nodes.row([place.id.clone(), place.url(), mount, place.log().display().to_string(), pid.to_string()]);
    }
    let blobs = if done.is_empty() { String::new() } else { format!("\n{}", blobs(done)) };
    format!("{}{blobs}", nodes.render())
}

/// All of them, or the first and how many more there are.
fn blobs(done: &[Put]) -> String {
    if done.len() <= MOST_ROWS {
        return put::table(done);
    }
    let more = done.len() - FIRST_ROWS;
    format!("{}… and {more} more (herring up --json shows all)\n", put::table(&done[..FIRST_ROWS]))
}

/// What to try next, ready to be pasted.
fn suggest(local: &Local, done: &[Put]) -> String {
    let places: Vec<(&Place, u32)> = local.places().collect();
    let (first, last) = (places[0].0, places[places.len() - 1]);
    let node = match &first.secrets {
        None if first.http.port() != crate::config::PORT => format!(" --node {}", first.url()),
        _ => String::new(),
    };
    let mut lines = vec!["Try next, in another terminal:".to_owned()];
    lines.extend(first.secrets.as_ref().map(|secrets| format!("  export {}", environment(secrets, first))));
    lines.push(format!("  herring status{node}"));
    match done.first() {
        None => lines.push(format!("  herring put{node} FILE")),
        Some(put) => lines.extend(reading(put, last.0, &node)),
    }
    if places.len() > 1 {
        lines.push(format!("  kill -9 {}    # {} is gone: read again, from another node", last.1, last.0.id));
    }
    lines.push("Ctrl-C stops all nodes; their data stays.\n".to_owned());
    lines.join("\n")
}

/// As a shell sets it, for the commands that follow.
fn environment(secrets: &Secrets, place: &Place) -> String {
    let set = secrets.environment(&place.url()).into_iter().map(|(name, value)| format!("{name}={}", quote(&value)));
    set.collect::<Vec<_>>().join(" ")
}

fn reading(put: &Put, place: &Place, node: &str) -> Vec<String> {
    let id = put.id;
    if let Some(name) = put.name.as_ref().map(|info| &info.name) {
        let mount = place.mount.as_deref().map(|mount| format!("  ls -l {}", mount.join("names").join(name).display()));
        let known = [format!("  herring stat{node} {name}"), format!("  herring get{node} {name} -o DIR")];
        return mount.into_iter().chain(known).collect();
    }
    let mount = place.mount.as_deref().map(|mount| format!("  sha256sum {}", blob_path(mount, &id.to_string()).display()));
    let url = format!("{}/v1/blobs/{id}", place.url());
    let fetch = match &place.secrets {
        None => format!("  curl -s {url} | sha256sum"),
        // Not in curl's own words, which `ps` shows.
        Some(secrets) => {
            let [token, ca] = [secrets.token(), secrets.ca()].map(|path| quote(&path.to_string_lossy()));
            format!("  sed 's/^/Authorization: Bearer /' {token} | curl -s --cacert {ca} -H @- {url} | sha256sum")
        }
    };
    mount.into_iter().chain([fetch, format!("  herring explain{node} {id}")]).collect()
}

/// Where a mount shows a blob.
pub fn blob_path(mount: &Path, id: &str) -> PathBuf {
    mount.join("blobs").join(id)
}

#[cfg(test)]
mod tests {
    use herring_blob::BlobId;

    use super::*;

    fn put(n: usize) -> Put {
        let path = PathBuf::from(format!("file{n}"));
        Put {
            id: BlobId::of(path.as_os_str().as_encoded_bytes()),
            size: 1,
            path,
            replicas: 2,
            wanted: 2,
            created: true,
            files: None,
            name: None,
        }
    }

    #[test]
    fn a_long_table_is_cut() {
        let done: Vec<Put> = (0..13).map(put).collect();
        assert_eq!(blobs(&done[..12]), put::table(&done[..12]));
        let cut = blobs(&done);
        assert_eq!(cut.lines().count(), 1 + 10 + 1);
        assert!(cut.ends_with("… and 3 more (herring up --json shows all)\n"), "{cut}");
    }

    #[test]
    fn more_replicas_than_nodes_are_a_mistake_where_they_were_asked_for() {
        let refused = check_replicas(Some(4), 3).unwrap_err();
        assert_eq!(refused, Failure::usage(&refused));
        assert!(refused.to_string().starts_with("--replicas 4 is more than the 3 of --nodes"), "{refused}");
        assert!(check_replicas(Some(0), 3).is_err());
        check_replicas(Some(3), 3).unwrap();
        check_replicas(None, 1).unwrap();
    }
}
