use futures_util::{StreamExt, stream};

use super::blob::Blob;
use super::load::Load;

/// Blobs read at the same time, each from all nodes in turn.
const AT_ONCE: usize = 4;

/// Reads every acknowledged blob from every node that serves, and compares. What no node gives is lost; what some node does not give
/// has failed there.
pub async fn all(load: &Load) {
    let each = load.acknowledged();
    stream::iter(&each).for_each_concurrent(AT_ONCE, |blob| one(load, blob)).await;
}

async fn one(load: &Load, blob: &Blob) {
    let mut failures = Vec::new();
    let mut given = false;
    for site in load.sites().serving() {
        let read = site.read(blob.id, blob.whole()).await;
        given |= read.is_ok();
        if read.is_ok() { load.judge(&site, blob, blob.whole(), read, |_| {}) } else { failures.push((site, read)) }
    }
    if given {
        return failures.into_iter().for_each(|(site, read)| load.judge(&site, blob, blob.whole(), read, |_| {}));
    }
    let why: Vec<String> =
        failures.into_iter().filter_map(|(site, read)| Some(format!("{}: {}", site.id, read.err()?))).collect();
    let (id, size, at) = (blob.id, blob.size, blob.acknowledged.as_secs_f64());
    load.tally()
        .lost
        .note(|| format!("{id} of {size} bytes, acknowledged at {at:.1} s, comes from no node any more: {}", why.join("; ")));
}
