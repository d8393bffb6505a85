//! Leases: what this node keeps on its disk until they end.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use herring_blob::{BlobId, ContentId};
use herring_http_api::types::{PinInfo, Prefetch};
use herring_store::{Change, RecordError, Records, Table};
use serde::{Deserialize, Serialize};

use crate::jobs::now_ms;
use crate::{JobError, NameError, OpenError, Swarm};

/// Leases of one node.
const MOST: usize = 10_000;

/// Why something is not pinned, or not unpinned.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PinError {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Prefetch(#[from] JobError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("{target:?} is not pinned on this node: see what is with GET /v1/pins")]
    NotPinned { target: String },
    #[error("{MOST} things are pinned on this node: unpin some first")]
    TooMany,
}

/// The leases of this node, by what they were asked for.
pub(crate) struct Pins(RwLock<HashMap<String, Lease>>);

/// As it is written down.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Lease {
    pin: PinInfo,
    /// All that it keeps: the blob itself and, where that is a tree, what is in it.
    blobs: HashSet<BlobId>,
}

/// What is needed of one to end it: a tree may have many blobs.
#[derive(Deserialize)]
struct Written {
    pin: PinInfo,
}

fn lasts(pin: &PinInfo, now_ms: u64) -> bool {
    now_ms < pin.until_ms
}

/// What becomes of a record: one that cannot be read keeps nothing.
fn end(kept: Option<&[u8]>, is_one: impl FnOnce(&PinInfo) -> bool) -> Change<()> {
    let written = kept.and_then(|kept| serde_json::from_slice::<Written>(kept).ok());
    if written.is_some_and(|Written { pin }| !is_one(&pin)) { Change::Keep(()) } else { Change::Remove(()) }
}

impl Pins {
    /// As an earlier run of this node left them.
    pub fn load(records: &Records) -> Self {
        let written = records.scan(Table::Pins, "", None, MOST).unwrap_or_else(|error| {
            tracing::error!(%error, "this node's pins cannot be read");
            Vec::new()
        });
        let lease = |(target, value): (String, Vec<u8>)| match serde_json::from_slice(&value) {
            Ok(lease) => Some((target, lease)),
            Err(error) => {
                tracing::warn!(target, %error, "the record of a pin cannot be read; it is not kept");
                None
            }
        };
        Self(RwLock::new(written.into_iter().filter_map(lease).collect()))
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<String, Lease>> {
        // Leases come and go whole.
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a lease out if it is still one of those.
    fn remove(&self, target: &str, is_one: impl FnOnce(&PinInfo) -> bool) {
        let mut pins = self.write();
        if pins.get(target).is_some_and(|lease| is_one(&lease.pin)) {
            pins.remove(target);
        }
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<String, Lease>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Swarm {
    /// Brings what an id or a name stands for now to this node, and keeps it here for `ttl` from now on, whatever it was before.
    pub async fn pin(&self, target: &str, ttl: Duration) -> Result<PinInfo, PinError> {
        let (target, id) = self.pin_target(target).await?;
        if self.0.pins.read().len() >= MOST && !self.0.pins.read().contains_key(&target) {
            return Err(PinError::TooMany);
        }
        let mut blobs: HashSet<_> = [id].into();
        if let Some(open) = self.open_tree(id).await? {
            blobs.extend(open.tree.blobs());
        }
        self.prefetch(Prefetch { blobs: vec![id], ..Prefetch::default() }).await?;
        let until_ms = now_ms().saturating_add(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        let lease = Lease { pin: PinInfo { target, id, until_ms }, blobs };
        self.keep_lease(lease.clone()).await?;
        Ok(lease.pin)
    }

    /// The key of its lease, and the blob.
    async fn pin_target(&self, target: &str) -> Result<(String, BlobId), PinError> {
        match target.parse::<BlobId>() {
            Ok(id) => Ok((id.to_string(), id)),
            Err(_) => Ok((target.to_owned(), self.name(target).await?.target)),
        }
    }

    async fn keep_lease(&self, lease: Lease) -> Result<(), RecordError> {
        let value = serde_json::to_vec(&lease).expect("a lease has only text and numbers");
        let target = lease.pin.target.clone();
        self.0.store.records().update(Table::Pins, target.clone(), |_| Change::Put(value, ())).await?;
        self.0.pins.write().insert(target, lease);
        self.spare_pinned();
        Ok(())
    }

    /// Tells the store what must stay while other things go for want of room.
    pub(crate) fn spare_pinned(&self) {
        let now = now_ms();
        let pins = self.0.pins.read();
        let lasting = pins.values().filter(|lease| lasts(&lease.pin, now));
        let pinned = lasting.flat_map(|lease| &lease.blobs).map(|id| ContentId::from(*id)).collect();
        // While nobody can change them: what is told last is what is so.
        self.0.store.set_pinned(Arc::new(pinned));
    }

    /// Ends a lease early. What it kept stays until the room is needed.
    pub async fn unpin(&self, target: &str) -> Result<(), PinError> {
        let key = target.parse::<BlobId>().map_or_else(|_| target.to_owned(), |id| id.to_string());
        let Some(pin) = self.0.pins.read().get(&key).map(|lease| lease.pin.clone()) else {
            return Err(PinError::NotPinned { target: target.to_owned() });
        };
        let lasted = lasts(&pin, now_ms());
        self.end_lease(key, move |now| *now == pin).await?;
        if lasted { Ok(()) } else { Err(PinError::NotPinned { target: target.to_owned() }) }
    }

    /// Unless it is not one of those any more: it may be renewed meanwhile, which comes after.
    async fn end_lease(
        &self,
        target: String,
        is_one: impl Fn(&PinInfo) -> bool + Clone + Send + 'static,
    ) -> Result<(), RecordError> {
        let written = is_one.clone();
        self.0.store.records().update(Table::Pins, target.clone(), move |kept| end(kept, written)).await?;
        self.0.pins.remove(&target, is_one);
        self.spare_pinned();
        Ok(())
    }

    /// The leases of this node that last, in the order of their targets.
    pub fn pins(&self) -> Vec<PinInfo> {
        let now = now_ms();
        let mut pins: Vec<_> =
            self.0.pins.read().values().map(|lease| &lease.pin).filter(|pin| lasts(pin, now)).cloned().collect();
        pins.sort_unstable_by(|a, b| a.target.cmp(&b.target));
        pins
    }

    /// Whether a lease keeps this on this node.
    pub fn pinned(&self, content: &ContentId) -> bool {
        let ContentId::Blob(id) = content else { return false };
        let now = now_ms();
        self.0.pins.read().values().any(|lease| lasts(&lease.pin, now) && lease.blobs.contains(id))
    }

    /// Forgets the leases that have ended.
    pub(crate) async fn sweep_pins(&self) {
        let now = now_ms();
        let ended: Vec<_> = {
            let pins = self.0.pins.read();
            pins.iter().filter(|(_, lease)| !lasts(&lease.pin, now)).map(|(target, _)| target.clone()).collect()
        };
        for target in ended {
            if let Err(error) = self.end_lease(target.clone(), move |pin| !lasts(pin, now)).await {
                tracing::warn!(target, %error, "a pin that ended was not forgotten");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(until_ms: u64) -> Lease {
        Lease { pin: PinInfo { target: "t".into(), id: BlobId::of(b""), until_ms }, blobs: HashSet::new() }
    }

    /// A sweep looks first, and forgets later.
    #[test]
    fn a_lease_that_was_renewed_meanwhile_does_not_end() {
        let ended = |pin: &PinInfo| !lasts(pin, 10);
        for (until_ms, kept) in [(10, false), (11, true)] {
            let written = serde_json::to_vec(&lease(until_ms)).unwrap();
            assert_eq!(matches!(end(Some(&written), ended), Change::Keep(())), kept, "{until_ms}");
            let pins = Pins(RwLock::new([("t".to_owned(), lease(until_ms))].into()));
            pins.remove("t", ended);
            assert_eq!(pins.read().contains_key("t"), kept, "{until_ms}");
        }
        assert!(matches!(end(Some(b"?"), ended), Change::Remove(())) && matches!(end(None, ended), Change::Remove(())));
    }
}
