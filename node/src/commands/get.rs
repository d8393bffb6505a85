use std::fs::Permissions;
use std::io::{IsTerminal, stdout};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::pin;

use clap::Args;
use futures_util::TryStreamExt;
use herring_blob::{BlobId, ByteRange, Tree, TreeEntry, TreeKind};
use herring_http_api::ByteStream;
use herring_http_api::client::ApiClient;
use tempfile::TempPath;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use tokio_util::sync::CancellationToken;

use crate::commands::Target as What;
use crate::digest::Digester;
use crate::error::{Failure, OrFail};
use crate::output::write_failure;
use crate::progress::Progress;
use crate::signals::Stop;
use crate::tree;

#[derive(Debug, Args)]
pub struct GetArgs {
    /// An id (64 hexadecimal digits, with or without sha256: in front) or a name; of a directory also a path in it: NAME/PATH
    #[arg(value_name = "ID|NAME")]
    what: What,

    /// Where to write it: a file, which appears only once it is whole and verified, or - for stdout; a directory becomes a new one, or fills
    /// an empty one
    #[arg(short, value_name = "PATH")]
    output: Option<PathBuf>,
}

/// What an argument turned out to be.
enum Goal {
    File(Part),
    /// The directory with this index.
    Directory(Tree, usize),
}

/// A file to be got: bytes of a blob.
struct Part {
    id: BlobId,
    /// `None`: all of them.
    range: Option<ByteRange>,
    /// Of the tree that it is in.
    entry: Option<TreeEntry>,
}

pub async fn run(client: &ApiClient, args: GetArgs) -> Result<(), Failure> {
    let mut stop = Stop::listen()?;
    let cancel = CancellationToken::new();
    let mut work = pin!(get(client, args, &cancel));
    tokio::select! {
        done = &mut work => done,
        // It takes away what it began to write.
        () = stop.asked() => {
            cancel.cancel();
            work.await
        }
    }
}

async fn get(client: &ApiClient, args: GetArgs, stop: &CancellationToken) -> Result<(), Failure> {
    let goal = tokio::select! {
        goal = look(client, &args) => goal?,
        () = stop.cancelled() => return Err(Failure::failed("interrupted; nothing was kept")),
    };
    match goal {
        Goal::File(part) => file(client, part, args.output, stop).await,
        Goal::Directory(tree, at) => match args.output.filter(|path| path.as_os_str() != "-") {
            Some(output) => tree::bring(client, tree, at, &output, stop).await,
            None => Err(Failure::usage(format_args!("{} is a directory: give -o DIR", args.what))),
        },
    }
}

async fn look(client: &ApiClient, args: &GetArgs) -> Result<Goal, Failure> {
    let found = tree::find(client, &args.what).await?;
    // To stdout, an id's bytes are what is asked for, whatever they mean.
    let raw = found.path.is_empty() && found.name.is_none() && args.output.as_ref().is_none_or(|path| path.as_os_str() == "-");
    let tree = if raw { None } else { tree::load(client, found.id).await? };
    let Some(tree) = tree else {
        if !found.path.is_empty() {
            return Err(Failure::failed(format_args!("{} is a file: there is no {:?} in it", found.id, found.path)));
        }
        return Ok(Goal::File(Part { id: found.id, range: None, entry: None }));
    };
    let missing = || Failure::failed(format_args!("there is no {:?} in {}", found.path, found.id));
    let at = tree.find(&found.path).ok_or_else(missing)?;
    let entry = &tree.entries()[at];
    match entry.kind {
        TreeKind::Directory { .. } => Ok(Goal::Directory(tree, at)),
        TreeKind::Link { ref target } => Err(Failure::failed(format_args!("{} is a link to {target}", args.what))),
        TreeKind::File { blob, offset, size } => {
            // An empty file is in no blob; any will do for a range of nothing.
            let id = tree.blobs().get(blob as usize).copied().unwrap_or(found.id);
            let whole = offset == 0 && size > 0 && client.blob_info(id).await?.size == size;
            let range = (!whole).then(|| ByteRange::at(offset, size));
            Ok(Goal::File(Part { id, range, entry: Some(entry.clone()) }))
        }
    }
}

async fn file(client: &ApiClient, part: Part, output: Option<PathBuf>, stop: &CancellationToken) -> Result<(), Failure> {
    let target = Target::choose(output)?;
    let work = async {
        let (length, body) = client.get(part.id, part.range).await?;
        fetch(&part, length, body, &target).await
    };
    // Dropped, the work takes its temporary file away.
    tokio::select! {
        done = work => done,
        () = stop.cancelled() => Err(Failure::failed(format_args!("interrupted; {}", target.left()))),
    }
}

/// Brings a body to its target, if it is the `length` bytes that were asked for.
async fn fetch(part: &Part, length: u64, body: ByteStream, target: &Target) -> Result<(), Failure> {
    let mut sink = Sink::open(target)?;
    let got = copy(body, &mut sink.file, Progress::new(short(part.id), Some(length))).await;
    verify(part, length, got.map_err(|error| target.explain(part.id, length, error))?)?;
    if let (Some(entry), Target::File(_)) = (&part.entry, target) {
        let file = sink.file.try_clone().await.or_fail(|| "cannot write".to_owned())?.into_std().await;
        tree::finish(&file, entry.mode, entry.modified_ns).or_fail(|| "cannot set the file's mode and time".to_owned())?;
    }
    sink.keep(target)
}

enum Target {
    Stdout,
    /// Replaced as a whole.
    File(PathBuf),
    /// A pipe or device, which must not be replaced.
    Special(PathBuf),
}

enum CopyError {
    /// After that many bytes.
    Read(u64, std::io::Error),
    Write(std::io::Error),
}

impl Target {
    fn choose(path: Option<PathBuf>) -> Result<Self, Failure> {
        match path {
            Some(path) if path.as_os_str() != "-" => Self::at(path),
            None if stdout().is_terminal() => {
                Err(Failure::usage("a blob's bytes would garble the terminal: give -o PATH, or -o - if you mean it"))
            }
            _ => Ok(Self::Stdout),
        }
    }

    fn at(path: PathBuf) -> Result<Self, Failure> {
        match std::fs::metadata(&path) {
            Ok(meta) if meta.is_dir() => {
                Err(Failure::usage(format_args!("{} is a directory: name a file in it", path.display())))
            }
            Ok(meta) if !meta.is_file() => Ok(Self::Special(path)),
            _ => Ok(Self::File(path)),
        }
    }

    /// What there is of a blob that did not come whole.
    fn left(&self) -> &'static str {
        match self {
            Self::File(_) => "nothing was kept",
            Self::Stdout | Self::Special(_) => "what was written is not whole",
        }
    }

    fn explain(&self, id: BlobId, length: u64, error: CopyError) -> Failure {
        match (self, error) {
            (_, CopyError::Read(got, error)) => Failure::failed(format_args!(
                "the body broke off after {got} of {length} bytes ({error}); {}; the node's log or `herring explain {id}` says more",
                self.left()
            )),
            (Self::Stdout, CopyError::Write(error)) => write_failure(error),
            (Self::File(path) | Self::Special(path), CopyError::Write(error)) => {
                Failure::failed(format_args!("cannot write {}: {error}", path.display()))
            }
        }
    }
}

/// Where the bytes go, and for a file the temporary path to rename. Dropped, it leaves nothing behind.
struct Sink {
    file: File,
    temporary: Option<TempPath>,
}

impl Sink {
    fn open(target: &Target) -> Result<Self, Failure> {
        match target {
            // `std::io::stdout` would look for newlines in every byte.
            Target::Stdout => Self::plain(stdout().as_fd().try_clone_to_owned().map(Into::into), "stdout"),
            Target::Special(path) => Self::plain(std::fs::File::options().write(true).open(path), &path.to_string_lossy()),
            Target::File(path) => Self::beside(path).or_fail(|| format!("cannot create a file beside {}", path.display())),
        }
    }

    fn plain(file: std::io::Result<std::fs::File>, name: &str) -> Result<Self, Failure> {
        let file = file.or_fail(|| format!("cannot write {name}"))?;
        Ok(Self { file: File::from_std(file), temporary: None })
    }

    fn beside(path: &Path) -> std::io::Result<Self> {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // As any new file: the umask takes its part of it.
        let mode = Permissions::from_mode(0o666);
        let file = tempfile::Builder::new().prefix(".herring-").permissions(mode).tempfile_in(directory)?;
        let (file, temporary) = file.into_parts();
        Ok(Self { file: File::from_std(file), temporary: Some(temporary) })
    }

    fn keep(self, target: &Target) -> Result<(), Failure> {
        let (Some(temporary), Target::File(path)) = (self.temporary, target) else { return Ok(()) };
        temporary.persist(path).or_fail(|| format!("cannot write {}", path.display()))
    }
}

async fn copy(mut body: ByteStream, file: &mut File, progress: Progress) -> Result<Digester, CopyError> {
    let mut digester = Digester::default();
    while let Some(bytes) = body.try_next().await.map_err(|error| CopyError::Read(digester.size(), error))? {
        digester.update(&bytes);
        file.write_all(&bytes).await.map_err(CopyError::Write)?;
        progress.add(bytes.len());
    }
    file.flush().await.map_err(CopyError::Write)?;
    Ok(digester)
}

fn verify(part: &Part, length: u64, got: Digester) -> Result<(), Failure> {
    let (id, size) = (part.id, got.size());
    if size != length {
        return Err(Failure::failed(format_args!("the node promised {length} bytes of {id} and sent {size}; try again")));
    }
    let found = got.id();
    // A part of a blob the node has verified.
    if part.range.is_none() && found != id {
        return Err(Failure::failed(format_args!("the node sent other bytes than {id}: they hash to {found}; do not use them")));
    }
    Ok(())
}

fn short(id: BlobId) -> String {
    id.to_string()[..12].to_owned()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::{StreamExt, stream};

    use super::*;

    /// Gets these pieces as the blob of `b"herring"`; gives what is at the target afterwards, and whether it is alone there.
    async fn get(pieces: Vec<std::io::Result<Bytes>>) -> (Result<(), Failure>, Option<Vec<u8>>, usize) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("blob");
        std::fs::write(&path, "before").unwrap();
        let target = Target::choose(Some(path.clone())).unwrap_or_else(|failure| panic!("{failure}"));
        let done = fetch(&herring(), 7, Box::pin(stream::iter(pieces)), &target).await;
        (done, std::fs::read(path).ok(), std::fs::read_dir(dir.path()).unwrap().count())
    }

    fn herring() -> Part {
        Part { id: BlobId::of(b"herring"), range: None, entry: None }
    }

    fn piece(text: &'static str) -> std::io::Result<Bytes> {
        Ok(Bytes::from_static(text.as_bytes()))
    }

    #[tokio::test]
    async fn a_verified_blob_takes_the_place_of_what_was_there() {
        let (done, kept, files) = get(vec![piece("herr"), piece("ing")]).await;
        assert_eq!((done, kept, files), (Ok(()), Some(b"herring".to_vec()), 1));
    }

    #[tokio::test]
    async fn a_copy_that_is_dropped_leaves_no_file_behind() {
        let dir = tempfile::tempdir().unwrap();
        let files = || std::fs::read_dir(dir.path()).unwrap().count();
        let target = Target::choose(Some(dir.path().join("blob"))).unwrap_or_else(|failure| panic!("{failure}"));
        let (part, body) = (herring(), stream::iter([piece("herr")]).chain(stream::pending()));
        let mut work = Box::pin(fetch(&part, 7, Box::pin(body), &target));
        // The write is done elsewhere, so it is the file's appearance that counts.
        while files() == 0 {
            assert!(futures_util::poll!(work.as_mut()).is_pending());
        }
        drop(work);
        assert_eq!(files(), 0);
    }

    #[tokio::test]
    async fn a_node_that_does_not_answer_is_not_waited_for_once_it_is_stopped() {
        let node = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = ApiClient::new(&format!("http://{}", node.local_addr().unwrap())).unwrap();
        let stop = CancellationToken::new();
        stop.cancel();
        let args = GetArgs { what: What::Name("models/llama".into()), output: None };
        // The client itself waits for 30 s.
        let got = tokio::time::timeout(std::time::Duration::from_secs(10), super::get(&client, args, &stop)).await;
        assert_eq!(got.unwrap(), Err(Failure::failed("interrupted; nothing was kept")));
    }

    #[tokio::test]
    async fn anything_else_leaves_all_as_it_was() {
        let broken = Err(std::io::Error::other("cable cut"));
        let cases = [
            (vec![piece("haddock")], "other bytes"),
            (vec![piece("herr")], "sent 4"),
            (vec![piece("herr"), broken], "broke off after 4 of 7 bytes (cable cut); nothing was kept"),
        ];
        for (pieces, why) in cases {
            let (done, kept, files) = get(pieces).await;
            assert!(done.unwrap_err().to_string().contains(why));
            assert_eq!((kept, files), (Some(b"before".to_vec()), 1));
        }
    }
}
