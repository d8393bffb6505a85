use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use herring_blob::{BlobId, Mark, Tree, TreeEntry, TreeKind};
use herring_http_api::ByteStream;
use herring_http_api::client::ApiClient;
use herring_http_api::types::Stored;
use rustix::fs::OFlags;
use tokio::sync::mpsc;

use super::pack::{Parcel, parcels};
use super::walk::{Kind, Walk, place, too_large};
use crate::digest::READ_SIZE;
use crate::error::{Failure, OrFail};
use crate::output::{count, size};
use crate::progress::Progress;

/// Blobs on their way at once.
const AT_ONCE: usize = 4;
/// Pieces of [`READ_SIZE`] that are read ahead of the connection.
const PIECES_AHEAD: usize = 4;
/// Blobs that a put which failed lists one by one.
const LISTED: usize = 100;

/// A tree that was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    pub id: BlobId,
    /// The bytes of all its files.
    pub size: u64,
    pub files: usize,
    /// Of the blob that has fewest.
    pub replicas: usize,
    /// How many that one is to have.
    pub wanted: usize,
    /// Whether the tree was new to the swarm.
    pub created: bool,
}

/// Puts all files of a directory, then the tree, which [`check`] found small enough. One that fails leaves what was put until then, and says so:
/// somebody else may have put the same bytes meanwhile.
pub async fn send(client: &ApiClient, walk: Walk) -> Result<Sent, Failure> {
    let left = Mutex::default();
    let sent = send_all(client, walk, &left).await;
    sent.map_err(|failure| {
        Failure::failed(format_args!("{failure}{}", stays(&left.into_inner().unwrap_or_else(PoisonError::into_inner))))
    })
}

/// New to the swarm, with their bytes.
type Left = Mutex<BTreeMap<BlobId, u64>>;

fn stays(left: &BTreeMap<BlobId, u64>) -> String {
    if left.is_empty() {
        return String::new();
    }
    let (blobs, bytes) = (count(left.len(), "blob"), size(left.values().sum()));
    let named = format!("no tree was made and no name set, but {blobs} ({bytes}) had been put before that and stay");
    let remove = match left.len() {
        ..=LISTED => left.keys().map(|id| format!("\nherring rm {id}")).collect(),
        _ => "\nherring rm ID, where a blob's ID is the SHA-256 of its bytes: of each file of 1 MiB or more, what sha256sum says"
            .to_owned(),
    };
    format!(
        "\n{named}. The same put again goes on with them; what removes them, unless somebody else put the same bytes:{remove}"
    )
}

async fn send_all(client: &ApiClient, walk: Walk, left: &Left) -> Result<Sent, Failure> {
    let parcels = parcels(&walk);
    let walk = Arc::new(walk);
    let name = walk.root.file_name().unwrap_or(walk.root.as_os_str()).to_string_lossy().into_owned();
    let progress = Arc::new(Progress::new(name, Some(walk.size())));
    let sending = parcels.iter().map(|parcel| put(client, &walk, parcel, &progress, left));
    let stored: Vec<Stored> = stream::iter(sending).buffered(AT_ONCE).try_collect().await?;
    let ids: Vec<BlobId> = stored.iter().map(|stored| stored.id).collect();
    let checked = Arc::clone(&walk);
    tokio::task::spawn_blocking(move || checked.check()).await.or_fail(|| "looking at the directory again".to_owned())??;
    let bytes = tree(&walk, &parcels, &ids)?.encode();
    let (size, body) = (bytes.len() as u64, stream::iter([Ok(Bytes::from(bytes))]).boxed());
    let (tree, created) = client.put(None, Some(size), body).await.or_fail(|| "cannot put the tree".to_owned())?;
    let least = stored.iter().chain([&tree]).min_by_key(|one| one.replicas).unwrap_or(&tree);
    let (replicas, wanted) = (least.replicas, least.wanted);
    Ok(Sent { id: tree.id, size: walk.size(), files: walk.files(), replicas, wanted, created })
}

/// Fails where a directory cannot be a tree, or only one of more than `most` bytes. Each parcel counts as a blob of its own: should two be the
/// same, the tree becomes smaller, never larger.
pub fn check(walk: &Walk, most: u64) -> Result<(), Failure> {
    let parcels = parcels(walk);
    let ids: Vec<BlobId> = (0..parcels.len()).map(|index| BlobId::of(&index.to_le_bytes())).collect();
    if tree(walk, &parcels, &ids)?.encoded_size() > most { Err(too_large(&walk.root)) } else { Ok(()) }
}

async fn put(client: &ApiClient, walk: &Walk, parcel: &Parcel, progress: &Arc<Progress>, left: &Left) -> Result<Stored, Failure> {
    let file = |index: &usize| (place(&walk.root, &walk.entries[*index].path), walk.entries[*index].size());
    let files: Vec<(PathBuf, u64)> = parcel.files.iter().map(file).collect();
    let what = files[0].0.clone();
    let body = body(files, Arc::clone(progress));
    let put = client.put(None, Some(parcel.size), body).await;
    let (stored, created) = put.or_fail(|| match parcel.files.len() {
        1 => format!("cannot put {}", what.display()),
        more => format!("cannot put {} and the {} small files behind it", what.display(), more - 1),
    })?;
    if created {
        left.lock().unwrap_or_else(PoisonError::into_inner).insert(stored.id, stored.size);
    }
    Ok(stored)
}

/// The files' bytes one behind the other, read on a thread that may wait.
fn body(files: Vec<(PathBuf, u64)>, progress: Arc<Progress>) -> ByteStream {
    let (pieces, mut ready) = mpsc::channel::<io::Result<Bytes>>(PIECES_AHEAD);
    tokio::task::spawn_blocking(move || {
        // Where nobody wants the rest, there is nobody to tell.
        if let Err(error) = read_all(&files, &pieces) {
            let _ = pieces.blocking_send(Err(error));
        }
    });
    let taken = move |piece: &io::Result<Bytes>| progress.add(piece.as_ref().map_or(0, Bytes::len));
    stream::poll_fn(move |context| ready.poll_recv(context)).inspect(taken).boxed()
}

fn read_all(files: &[(PathBuf, u64)], pieces: &mpsc::Sender<io::Result<Bytes>>) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(READ_SIZE);
    for (path, size) in files {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let (mut file, mut left) = (open(path).map_err(named)?, *size);
        while left > 0 {
            let room = (READ_SIZE - buffer.len()) as u64;
            let read = Read::by_ref(&mut file).take(left.min(room)).read_to_end(&mut buffer).map_err(named)? as u64;
            if read == 0 {
                return Err(named(io::Error::other("became shorter while it was read")));
            }
            left -= read;
            if buffer.len() == READ_SIZE
                && pieces.blocking_send(Ok(std::mem::replace(&mut buffer, Vec::with_capacity(READ_SIZE)).into())).is_err()
            {
                return Ok(());
            }
        }
    }
    if !buffer.is_empty() {
        let _ = pieces.blocking_send(Ok(buffer.into()));
    }
    Ok(())
}

/// Does not wait where a pipe took the file's place, nor follow a link that did.
fn open(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    File::options().read(true).custom_flags(flags).open(path)
}

/// The tree of a directory whose parcels are these blobs.
fn tree(walk: &Walk, parcels: &[Parcel], ids: &[BlobId]) -> Result<Tree, Failure> {
    let (mut blobs, mut known, mut places) = (Vec::new(), HashMap::new(), HashMap::new());
    for (parcel, id) in parcels.iter().zip(ids) {
        // The same large file twice is one blob.
        let blob = *known.entry(*id).or_insert_with(|| {
            blobs.push(*id);
            blobs.len() - 1
        });
        let mut offset = 0;
        for index in &parcel.files {
            places.insert(*index, (u32::try_from(blob).unwrap_or(u32::MAX), offset));
            offset += walk.entries[*index].size();
        }
    }
    let entry = |(index, entry): (usize, &super::walk::Entry)| {
        let kind = match &entry.kind {
            Kind::Directory => TreeKind::Directory { directory: Mark },
            Kind::Link(target) => TreeKind::Link { target: target.clone() },
            Kind::File(size) => {
                let (blob, offset) = places.get(&index).copied().unwrap_or_default();
                TreeKind::File { blob, offset, size: *size }
            }
        };
        TreeEntry { path: entry.path.clone(), mode: entry.mode, modified_ns: entry.modified_ns, kind }
    };
    let entries = walk.entries.iter().enumerate().map(entry).collect();
    Tree::new(blobs, entries).or_fail(|| format!("{} cannot be a tree", walk.root.display()))
}
