use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, stream};
use herring_blob::BlobId;
use herring_http_api::types::Explain;

use super::blob::Blob;
use super::site::{Site, Sites};

/// Blobs that are asked after at the same time.
const AT_ONCE: usize = 8;

/// Where chunks are and should be, by what a node explains.
#[derive(Debug, Default)]
pub struct Places(BTreeMap<(BlobId, u32), Place>);

#[derive(Debug)]
struct Place {
    /// Bytes.
    size: u64,
    owners: BTreeSet<String>,
    holders: BTreeSet<String>,
}

impl Places {
    /// Of these blobs. One that cannot be explained is left out.
    pub async fn look(sites: &Sites, blobs: &[Blob]) -> Self {
        let mut places = Self::default();
        let mut explained = stream::iter(blobs).map(|blob| explain(sites, blob.id)).buffer_unordered(AT_ONCE);
        while let Some(explained) = explained.next().await {
            explained.into_iter().for_each(|explain| places.add(explain));
        }
        places
    }

    fn add(&mut self, explain: Explain) {
        for chunk in explain.chunks {
            let (owners, holders) = (chunk.owners.into_iter().collect(), chunk.holders.into_iter().collect());
            self.0.insert((explain.id, chunk.index), Place { size: chunk.size, owners, holders });
        }
    }

    /// Those of `later` that are not known here.
    pub fn extend(&mut self, later: Self) {
        for (chunk, place) in later.0 {
            self.0.entry(chunk).or_insert(place);
        }
    }

    /// A node lost what it had.
    pub fn forget(&mut self, node: &str) {
        for place in self.0.values_mut() {
            place.holders.remove(node);
        }
    }

    pub fn has(&self, blob: BlobId) -> bool {
        self.0.range((blob, 0)..).next().is_some_and(|((id, _), _)| *id == blob)
    }

    /// Bytes that must move until those own what `after` says: chunks, to each owner that did not hold them.
    pub fn must_move(&self, after: &Self) -> u64 {
        let newcomers = |(chunk, before): (&(BlobId, u32), &Place)| {
            let owners = after.0.get(chunk).map_or(0, |after| after.owners.difference(&before.holders).count());
            before.size * owners as u64
        };
        self.0.iter().map(newcomers).sum()
    }
}

/// By any node that serves.
async fn explain(sites: &Sites, id: BlobId) -> Option<Explain> {
    for site in sites.serving() {
        if let Ok(explain) = explained_by(&site, id).await {
            return Some(explain);
        }
    }
    None
}

pub async fn explained_by(site: &Site, id: BlobId) -> Result<Explain, String> {
    let client = site.at.client().map_err(|error| error.to_string())?;
    client.explain(id, None).await.map_err(|error| error.to_string())
}

/// What keeps the blob from being wholly where it should be, if anything does.
pub fn lacks(explain: &Explain) -> Option<String> {
    let lacking = |owners: &[String], holders: &[String]| owners.iter().find(|owner| !holders.contains(owner)).cloned();
    let id = explain.id;
    if let Some(node) = explain.unreachable.first() {
        return Some(format!("{node} cannot be asked after {id}"));
    }
    if let Some(node) = lacking(&explain.manifest_owners, &explain.manifest_holders) {
        return Some(format!("{node} lacks the manifest of {id}"));
    }
    let chunk = |chunk: &herring_http_api::types::ExplainChunk| Some((chunk.index, lacking(&chunk.owners, &chunk.holders)?));
    explain.chunks.iter().find_map(chunk).map(|(index, node)| format!("{node} lacks chunk {index} of {id}"))
}

#[cfg(test)]
mod tests {
    use herring_http_api::types::ExplainChunk;

    use super::*;

    fn names(names: &str) -> Vec<String> {
        names.split_whitespace().map(str::to_owned).collect()
    }

    /// A blob of chunks of 10 bytes, each `(owners, holders)`.
    fn explain(chunks: &[(&str, &str)]) -> Explain {
        let chunk = |(index, (owners, holders)): (usize, &(&str, &str))| ExplainChunk {
            index: u32::try_from(index).unwrap(),
            size: 10,
            digest: String::new(),
            owners: names(owners),
            holders: names(holders),
            state: String::new(),
            if_lost: vec![],
        };
        Explain {
            id: BlobId::of(b"x"),
            size: 10 * chunks.len() as u64,
            chunk_size: 10,
            epoch: String::new(),
            replicas: 2,
            manifest_owners: names("a b"),
            manifest_holders: names("b a"),
            unreachable: vec![],
            chunks: chunks.iter().enumerate().map(chunk).collect(),
        }
    }

    fn places(chunks: &[(&str, &str)]) -> Places {
        let mut places = Places::default();
        places.add(explain(chunks));
        places
    }

    #[test]
    fn what_must_move_is_what_new_owners_did_not_hold() {
        let mut before = places(&[("a b", "a b"), ("b c", "b c d")]);
        let after = places(&[("a c", ""), ("b d", "")]);
        assert_eq!((before.must_move(&after), before.must_move(&before)), (10, 0));
        before.forget("b");
        assert_eq!(before.must_move(&after), 20);
        assert!(before.has(BlobId::of(b"x")) && !before.has(BlobId::of(b"y")));
    }

    #[test]
    fn a_blob_lacks_what_an_owner_lacks() {
        assert_eq!(lacks(&explain(&[("a b", "a b c")])), None);
        assert!(lacks(&explain(&[("a b", "a b"), ("b c", "b d")])).unwrap().starts_with("c lacks chunk 1"));
        let unheld = Explain { manifest_holders: names("a"), ..explain(&[]) };
        assert!(lacks(&unheld).unwrap().starts_with("b lacks the manifest"));
        let silent = Explain { unreachable: names("c"), ..explain(&[]) };
        assert!(lacks(&silent).unwrap().starts_with("c cannot be asked"));
    }
}
