use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use herring_blob::{BlobId, ByteRange, Tree, TreeEntry, TreeKind};
use herring_http_api::client::ApiClient;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::staging::Staging;
use super::write::{Filler, Piece, finish_all, lay_out};
use crate::digest::Digester;
use crate::error::{Failure, OrFail};
use crate::progress::Progress;

/// Blobs on their way at once.
const AT_ONCE: usize = 4;
/// Pieces that wait for the disk, of each blob.
const PIECES_AHEAD: usize = 16;

/// Everything of one blob that is wanted.
struct Order {
    id: BlobId,
    pieces: Vec<Piece>,
    /// `None`: all of the blob, which is verified then; a part of it the node has verified.
    range: Option<ByteRange>,
}

/// Writes the directory with index `at` of a tree to `target`: a new directory, or an empty one. Nothing stays of it where that fails, or where `stop`
/// is cancelled.
pub async fn bring(client: &ApiClient, tree: Tree, at: usize, target: &Path, stop: &CancellationToken) -> Result<(), Failure> {
    let (staging, tree) = (Staging::open(target)?, Arc::new(tree));
    let root = staging.path().to_owned();
    let cannot = || format!("cannot write {}", target.display());
    aside(&tree, at, &root, lay_out).await.or_fail(cannot)?;
    let orders = orders(&tree, at, &root);
    // Files that share their bytes can be more together than any number holds.
    let total = orders.iter().flat_map(|order| &order.pieces).map(|piece| piece.size).fold(0, u64::saturating_add);
    let progress = Progress::new(target.display().to_string(), Some(total));
    // All are waited for, also where one failed: what still writes would write into what is being removed.
    let brought = orders.into_iter().map(|order| async {
        let brought = bring_blob(client, order, &progress, stop).await;
        if brought.is_err() {
            stop.cancel();
        }
        brought
    });
    let brought: Vec<_> = stream::iter(brought).buffer_unordered(AT_ONCE).collect().await;
    // The first that failed, not those that were stopped by it.
    brought
        .into_iter()
        .find(|one| matches!(one, Err(Some(_))))
        .unwrap_or(Ok(()))
        .map_err(|why| why.unwrap_or_else(interrupted))?;
    if stop.is_cancelled() {
        return Err(interrupted());
    }
    aside(&tree, at, &root, |_, entries| finish_all(entries)).await.or_fail(cannot)?;
    staging.keep()
}

fn interrupted() -> Failure {
    Failure::failed("interrupted; nothing was kept")
}

/// Does something with the entries at and below one on a thread that may wait.
async fn aside(
    tree: &Arc<Tree>,
    at: usize,
    root: &Path,
    work: impl FnOnce(&Path, &[(PathBuf, &TreeEntry)]) -> io::Result<()> + Send + 'static,
) -> io::Result<()> {
    let (tree, root) = (Arc::clone(tree), root.to_owned());
    tokio::task::spawn_blocking(move || work(&root, &entries(&tree, at, &root))).await?
}

fn entries<'a>(tree: &'a Tree, at: usize, root: &Path) -> Vec<(PathBuf, &'a TreeEntry)> {
    let above = tree.entries()[at].path.as_str();
    let place = |entry: &'a TreeEntry| {
        let below = entry.path[above.len()..].trim_start_matches('/');
        (if below.is_empty() { root.to_owned() } else { root.join(below) }, entry)
    };
    [at].into_iter().chain(tree.below(at)).map(|index| place(&tree.entries()[index])).collect()
}

fn orders(tree: &Tree, at: usize, root: &Path) -> Vec<Order> {
    let mut by_blob = BTreeMap::<u32, Vec<Piece>>::new();
    for (path, entry) in entries(tree, at, root) {
        if let TreeKind::File { blob, offset, size: size @ 1.. } = entry.kind {
            let piece = Piece { path, mode: entry.mode, modified_ns: entry.modified_ns, offset, size };
            by_blob.entry(blob).or_default().push(piece);
        }
    }
    let order = |(blob, pieces): (u32, Vec<Piece>)| {
        let start = pieces.iter().map(|piece| piece.offset).min().unwrap_or(0);
        let end = pieces.iter().map(|piece| piece.offset + piece.size).max().unwrap_or(0);
        let range = (at > 0).then(|| ByteRange::new(start, end));
        // Checked when the tree was made: every file's blob is one of the tree's.
        tree.blobs().get(blob as usize).map(|id| Order { id: *id, pieces, range })
    };
    by_blob.into_iter().filter_map(order).collect()
}

/// The files of one blob; an error without words where it was stopped.
async fn bring_blob(
    client: &ApiClient,
    order: Order,
    progress: &Progress,
    stop: &CancellationToken,
) -> Result<(), Option<Failure>> {
    let id = order.id;
    let (pieces, mut ready) = mpsc::channel::<Bytes>(PIECES_AHEAD);
    let mut filler = Filler::new(order.pieces, order.range.map_or(0, |range| range.start));
    let filling = tokio::task::spawn_blocking(move || {
        while let Some(bytes) = ready.blocking_recv() {
            filler.fill(&bytes)?;
        }
        Ok::<_, io::Error>(filler)
    });
    let sent = tokio::select! {
        sent = pump(client, id, order.range, pieces, progress) => sent.map_err(Some),
        () = stop.cancelled() => Err(None),
    };
    let filled = filling.await.map_err(io::Error::from).and_then(|filled| filled);
    let filler =
        filled.map_err(|error| Some(Failure::failed(format_args!("cannot write the files: {error}; nothing was kept"))))?;
    sent?;
    match filler.is_done() {
        true => Ok(()),
        false => Err(Some(Failure::failed(format_args!("{id} is shorter than the tree says; nothing was kept")))),
    }
}

/// Hands on a blob's bytes, and verifies them where they are all of it.
async fn pump(
    client: &ApiClient,
    id: BlobId,
    range: Option<ByteRange>,
    pieces: mpsc::Sender<Bytes>,
    progress: &Progress,
) -> Result<(), Failure> {
    let (length, mut body) = client.get(id, range).await?;
    let mut digester = Digester::default();
    while let Some(bytes) = body
        .try_next()
        .await
        .or_fail(|| format!("{id} broke off after {} of {length} bytes; nothing was kept", digester.size()))?
    {
        digester.update(&bytes);
        progress.add(bytes.len());
        if pieces.send(bytes).await.is_err() {
            // The disk did not take it, and says so itself.
            return Ok(());
        }
    }
    let (size, found) = (digester.size(), digester.id());
    if size != length || (range.is_none() && found != id) {
        return Err(Failure::failed(format_args!("the node sent other bytes than {id}; nothing was kept, try again")));
    }
    Ok(())
}
