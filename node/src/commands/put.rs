use std::fs::Metadata;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use clap::Args;
use futures_util::StreamExt;
use herring_blob::{BlobId, Tree};
use herring_http_api::ByteStream;
use herring_http_api::client::ApiClient;
use herring_http_api::name::check_given;
use herring_http_api::types::{Condition, NameInfo, PutWish, Stored};
use serde::Serialize;
use tokio::fs::File;
use tokio_util::io::ReaderStream;

use crate::commands::ls;
use crate::digest::READ_SIZE;
use crate::error::{Failure, OrFail, tell};
use crate::output::{Output, Table, size};
use crate::progress::Progress;
use crate::tree::{self, Walk};

#[derive(Debug, Args)]
pub struct PutArgs {
    /// Files, or directories with all that is in them; - is stdin
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,

    /// Points this name at what the one PATH becomes
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Nodes that keep it, from 1 to 200; the highest number that any put of the same bytes asked for counts [default: as the nodes were told, 3]
    #[arg(long, value_name = "R")]
    replicas: Option<u8>,

    /// Nodes that must have all of it on disk before it counts as put, at most R [default: 2]
    #[arg(long, value_name = "W")]
    ack: Option<u8>,
}

/// Something that is to be put, and the name that it is to have.
#[derive(Debug)]
pub struct Wanted {
    pub path: PathBuf,
    pub name: Option<String>,
}

/// The same, looked at.
#[derive(Debug)]
pub struct Ready {
    wanted: Wanted,
    /// Of a directory.
    walk: Option<Walk>,
}

/// One path that was put.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Put {
    pub id: BlobId,
    /// Bytes; of a directory all its files together.
    pub size: u64,
    pub path: PathBuf,
    /// Owners that have it on disk; of a directory those of the part that has fewest.
    pub replicas: usize,
    /// How many are to have it: the highest number that a put of the same bytes asked for; of a directory that of the part that has fewest.
    pub wanted: usize,
    /// Whether it was new to the swarm.
    pub created: bool,
    /// Of a directory: how many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<NameInfo>,
}

pub async fn run(client: &ApiClient, output: Output, args: PutArgs) -> Result<(), Failure> {
    if args.name.is_some() && args.paths.len() > 1 {
        return Err(Failure::usage("a name points at one thing: give --name with one PATH"));
    }
    let wish = PutWish { replicas: args.replicas, ack: args.ack }.check(None).map_err(Failure::usage)?;
    let client = &client.clone().wishing(wish);
    // As the mount has it.
    let name = args.name.map(|name| name.strip_prefix("names/").unwrap_or(&name).to_owned());
    let wanted = args.paths.into_iter().map(|path| Wanted { path, name: name.clone() });
    let (done, failure) = all(client, prepare(wanted.collect())?).await;
    if !done.is_empty() {
        output.show(&done, || table(&done))?;
    }
    failure.map_or(Ok(()), Err)
}

/// Looks at everything: nothing is sent before all of it can be.
pub fn prepare(wanted: Vec<Wanted>) -> Result<Vec<Ready>, Failure> {
    if wanted.iter().filter(|one| is_stdin(&one.path)).count() > 1 {
        return Err(Failure::usage("stdin can be read only once: give - once"));
    }
    wanted.into_iter().map(look).collect()
}

fn look(wanted: Wanted) -> Result<Ready, Failure> {
    if let Some(name) = &wanted.name {
        check_given(name).map_err(|fault| Failure::usage(format_args!("{name:?} cannot be a name: it {fault}")))?;
    }
    if is_stdin(&wanted.path) {
        return Ok(Ready { wanted, walk: None });
    }
    let meta = std::fs::metadata(&wanted.path).map_err(|error| cannot_read(&wanted.path, &error))?;
    let walk = if meta.is_dir() { Some(Walk::of(&wanted.path)?) } else { None };
    if let Some(walk) = &walk {
        tree::check(walk, Tree::MAX_BYTES)?;
    }
    Ok(Ready { wanted, walk })
}

/// Puts one after another, up to the first that fails.
pub async fn all(client: &ApiClient, ready: Vec<Ready>) -> (Vec<Put>, Option<Failure>) {
    let mut done = Vec::new();
    for one in ready {
        match put(client, one).await {
            Ok(put) => done.push(put),
            Err(failure) => return (done, Some(failure)),
        }
    }
    (done, None)
}

pub fn table(done: &[Put]) -> String {
    let mut table = Table::new(&["ID", "SIZE", "REPLICAS", "PATH"], &[1, 2]);
    for put in done {
        let slash = if put.files.is_some() { "/" } else { "" };
        let path = put.path.display().to_string();
        let path = format!("{}{slash}", path.trim_end_matches('/'));
        table.row([put.id.to_string(), size(put.size), kept(put), path]);
    }
    let named = |info: &NameInfo| format!("names/{} is {} (version {})\n", info.name, info.target, info.version);
    let names: String = done.iter().filter_map(|put| put.name.as_ref()).map(named).collect();
    table.render() + &names
}

/// `3`, or `2 of 3` where some are to come, or another put asked for more.
fn kept(put: &Put) -> String {
    if put.replicas < put.wanted { format!("{} of {}", put.replicas, put.wanted) } else { put.replicas.to_string() }
}

async fn put(client: &ApiClient, Ready { wanted, walk }: Ready) -> Result<Put, Failure> {
    let path = wanted.path;
    let mut put = match walk {
        Some(walk) => {
            let tree::Sent { id, size, files, replicas, wanted, created } = tree::send(client, walk).await?;
            Put { id, size, path, replicas, wanted, created, files: Some(files), name: None }
        }
        None => one(client, &path).await?,
    };
    if let Some(name) = wanted.name {
        let named = client.put_name(&name, put.id, Condition::Always).await;
        put.name = Some(named.or_fail(|| format!("{} was put, but not named {name}", put.id))?);
        if let Some(by) = ls::hidden_by(client, &name).await {
            tell(format_args!("{name} is hidden in mounts: {by} is a name too"));
        }
        if let Some(below) = ls::hides(client, &name).await {
            tell(format_args!("in mounts {name} hides what is named below it: {below}"));
        }
    }
    Ok(put)
}

/// Puts a file.
pub async fn one(client: &ApiClient, path: &Path) -> Result<Put, Failure> {
    let (body, length) = open(path).await?;
    let (stored, created) = client.put(None, length, body).await.or_fail(|| format!("cannot put {}", path.display()))?;
    let Stored { id, size, replicas, wanted } = stored;
    Ok(Put { id, size, path: path.to_owned(), replicas, wanted, created, files: None, name: None })
}

/// The bytes at `path` and how many they are, where that is known.
async fn open(path: &Path) -> Result<(ByteStream, Option<u64>), Failure> {
    if is_stdin(path) {
        // As a file, because `std::io::stdin` would copy everything through a buffer of its own.
        let stdin = std::io::stdin().as_fd().try_clone_to_owned().map_err(|error| cannot_read(path, &error))?;
        return Ok((body(File::from_std(stdin.into()), Progress::new("stdin", None)), None));
    }
    let file = File::open(path).await.map_err(|error| cannot_read(path, &error))?;
    let meta = file.metadata().await.map_err(|error| cannot_read(path, &error))?;
    // A pipe or device does not know its length.
    let length = Some(meta).filter(Metadata::is_file).map(|meta| meta.len());
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    Ok((body(file, Progress::new(name, length)), length))
}

fn body(source: File, progress: Progress) -> ByteStream {
    let pieces = ReaderStream::with_capacity(source, READ_SIZE);
    Box::pin(pieces.inspect(move |piece| progress.add(piece.as_ref().map_or(0, |bytes| bytes.len()))))
}

fn cannot_read(path: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(format_args!("cannot read {}: {error}", path.display()))
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stdin_is_put_once() {
        let wanted = |paths: &[&str]| paths.iter().map(|path| Wanted { path: path.into(), name: None }).collect();
        prepare(wanted(&["-"])).unwrap();
        let refused = prepare(wanted(&["-", "/dev/null", "-"])).unwrap_err();
        assert_eq!(refused, Failure::usage("stdin can be read only once: give - once"));
    }

    #[test]
    fn a_name_that_nobody_would_see_is_refused() {
        let wanted = |name: &str| vec![Wanted { path: "-".into(), name: Some(name.into()) }];
        prepare(wanted("a/.b")).unwrap();
        let refused = prepare(wanted(".a")).unwrap_err();
        assert!(refused.to_string().contains("begins with a dot"), "{refused}");
    }

    #[test]
    fn the_table_tells_how_many_have_it() {
        let name = NameInfo { name: "n".into(), target: BlobId::of(b""), version: 7, modified_ms: 0 };
        let file = Put {
            id: name.target,
            size: 0,
            path: "empty".into(),
            replicas: 2,
            wanted: 2,
            created: true,
            files: None,
            name: None,
        };
        let tree = Put { wanted: 3, path: "dir/".into(), files: Some(3), name: Some(name), ..file.clone() };
        let table = table(&[file, tree]);
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let rows: Vec<Vec<String>> = table.lines().map(words).collect();
        assert_eq!(rows[0], ["ID", "SIZE", "REPLICAS", "PATH"]);
        assert_eq!(rows[1][1..], ["0", "B", "2", "empty"]);
        assert_eq!(rows[2][1..], ["0", "B", "2", "of", "3", "dir/"]);
        assert_eq!(rows[3], ["names/n", "is", &BlobId::of(b"").to_string(), "(version", "7)"]);
    }
}
