use std::fs::Metadata;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use clap::Args;
use futures_util::StreamExt;
use herring_blob::BlobId;
use herring_http_api::ByteStream;
use herring_http_api::client::ApiClient;
use serde::Serialize;
use tokio::fs::File;
use tokio_util::io::ReaderStream;

use crate::digest::READ_SIZE;
use crate::error::{Failure, OrFail};
use crate::output::{Output, Table, size};
use crate::progress::Progress;

#[derive(Debug, Args)]
pub struct PutArgs {
    /// Files; - is stdin
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
}

/// One file that was put.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Put {
    pub id: BlobId,
    /// Bytes.
    pub size: u64,
    pub path: PathBuf,
    /// Owners that have it on disk.
    pub replicas: usize,
    /// Whether it was new to the swarm.
    pub created: bool,
}

pub async fn run(client: &ApiClient, output: Output, args: PutArgs) -> Result<(), Failure> {
    check_all(&args.paths)?;
    let (done, failure) = all(client, &args.paths).await;
    if !done.is_empty() {
        output.show(&done, || table(&done))?;
    }
    failure.map_or(Ok(()), Err)
}

/// Puts one file after another, up to the first that fails.
pub async fn all(client: &ApiClient, paths: &[PathBuf]) -> (Vec<Put>, Option<Failure>) {
    let mut done = Vec::new();
    for path in paths {
        match one(client, path).await {
            Ok(put) => done.push(put),
            Err(failure) => return (done, Some(failure)),
        }
    }
    (done, None)
}

pub fn table(done: &[Put]) -> String {
    let mut table = Table::new(&["ID", "SIZE", "REPLICAS", "PATH"], &[1, 2]);
    for put in done {
        table.row([put.id.to_string(), size(put.size), put.replicas.to_string(), put.path.display().to_string()]);
    }
    table.render()
}

/// Nothing is sent before all paths were looked at.
fn check_all(paths: &[PathBuf]) -> Result<(), Failure> {
    if paths.iter().filter(|path| is_stdin(path)).count() > 1 {
        return Err(Failure::usage("stdin can be read only once: give - once"));
    }
    paths.iter().try_for_each(|path| check(path))
}

fn check(path: &Path) -> Result<(), Failure> {
    if is_stdin(path) {
        return Ok(());
    }
    let meta = std::fs::metadata(path).map_err(|error| cannot_read(path, &error))?;
    if meta.is_dir() {
        let path = path.display();
        return Err(Failure::usage(format_args!("{path} is a directory: trees come in a later version, put the files in it")));
    }
    Ok(())
}

async fn one(client: &ApiClient, path: &Path) -> Result<Put, Failure> {
    let (body, length) = open(path).await?;
    let (stored, created) = client.put(None, length, body).await.or_fail(|| format!("cannot put {}", path.display()))?;
    Ok(Put { id: stored.id, size: stored.size, path: path.to_owned(), replicas: stored.replicas, created })
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
        check_all(&["-".into()]).unwrap();
        let refused = check_all(&["-".into(), "/dev/null".into(), "-".into()]).unwrap_err();
        assert_eq!(refused, Failure::usage("stdin can be read only once: give - once"));
    }

    #[test]
    fn the_table_tells_how_many_have_it() {
        let put = Put { id: BlobId::of(b""), size: 0, path: "empty".into(), replicas: 2, created: true };
        let table = table(&[put]);
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let rows: Vec<Vec<String>> = table.lines().map(words).collect();
        assert_eq!(rows[0], ["ID", "SIZE", "REPLICAS", "PATH"]);
        assert_eq!(rows[1][1..], ["0", "B", "2", "empty"]);
    }
}
