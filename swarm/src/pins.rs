//! Leases: what this node keeps on its disk until they end. One that cannot fit is refused; what is missing of the others is brought again.

mod bring;
mod lease;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use herring_blob::{BlobId, ContentId};
use herring_http_api::types::PinInfo;
use herring_store::{Change, RecordError, Records, Table};
use serde::Deserialize;
use tokio::time::Instant;

use self::lease::{Again, Lease, Term, sizes};
use crate::jobs::now_ms;
use crate::{NameError, OpenError, Swarm};

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
    Record(#[from] RecordError),
    #[error("{target:?} is not pinned on this node: see what is with GET /v1/pins")]
    NotPinned { target: String },
    #[error(
        "{target:?} cannot be pinned on this node: it needs {needed} bytes, and of the {most} bytes that pins may take here {taken} are taken; \
        unpin something, raise the node's capacity, or pin it on another node"
    )]
    Full { target: String, needed: u64, taken: u64, most: u64 },
    #[error("{MOST} things are pinned on this node: unpin some first")]
    TooMany,
}

/// The leases of this node, by what they were asked for.
pub(crate) struct Pins {
    leases: RwLock<HashMap<String, Lease>>,
    /// Held by who adds one, which must fit beside the others, or begins to bring what is missing, which only one job does.
    turn: tokio::sync::Mutex<()>,
}

/// What is needed of one to end it: a tree may have many blobs.
#[derive(Deserialize)]
struct Written {
    pin: Term,
}

/// What becomes of a record: one that cannot be read keeps nothing.
fn end(kept: Option<&[u8]>, is_one: impl FnOnce(&Term) -> bool) -> Change<()> {
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
        Self::of(written.into_iter().filter_map(lease).collect())
    }

    fn of(leases: HashMap<String, Lease>) -> Self {
        Self { leases: RwLock::new(leases), turn: tokio::sync::Mutex::default() }
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<String, Lease>> {
        // Leases come and go whole.
        self.leases.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a lease out if it is still one of those.
    fn remove(&self, target: &str, is_one: impl FnOnce(&Term) -> bool) {
        let mut pins = self.write();
        if pins.get(target).is_some_and(|lease| is_one(&lease.pin)) {
            pins.remove(target);
        }
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<String, Lease>> {
        self.leases.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Swarm {
    /// Brings what an id or a name stands for now to this node, and keeps it here for `ttl` from now on, whatever it was before. Refused where it
    /// could not stay; returns before it has come, see [`pins`](Self::pins).
    pub async fn pin(&self, target: &str, ttl: Duration) -> Result<PinInfo, PinError> {
        let (target, id) = self.pin_target(target).await?;
        let mut blobs = self.open_tree(id).await?.map_or_else(HashMap::new, |open| sizes(&open.tree));
        blobs.insert(id, self.open_blob(id).await?.size());
        let until_ms = now_ms().saturating_add(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        let lease = Lease { pin: Term { target, id, until_ms }, blobs, again: Again::default() };
        let swarm = self.clone();
        self.to_the_end(async move { swarm.pin_lease(lease).await }).await
    }

    async fn pin_lease(&self, mut lease: Lease) -> Result<PinInfo, PinError> {
        let id = lease.pin.id;
        let _turn = self.0.pins.turn.lock().await;
        self.check_room(&lease)?;
        lease.again.tried(Instant::now());
        self.keep_lease(lease.clone()).await?;
        if !self.is_all_here(&lease) && !self.0.jobs.bringing().contains(&id) {
            self.bring_pin(id).await;
        }
        Ok(self.pin_info(&lease))
    }

    /// Whether it could stay beside the others that last; what several of them keep counts once.
    fn check_room(&self, Lease { pin, blobs, .. }: &Lease) -> Result<(), PinError> {
        let (pins, now) = (self.0.pins.read(), now_ms());
        if pins.len() >= MOST && !pins.contains_key(&pin.target) {
            return Err(PinError::TooMany);
        }
        let others = pins.values().filter(|other| other.pin.target != pin.target && other.pin.lasts(now));
        let others: HashMap<&BlobId, &u64> = others.flat_map(|other| &other.blobs).collect();
        let weigh = |sum: u64, (id, size): (&BlobId, &u64)| sum.saturating_add(self.0.store.pin_weight(&(*id).into(), *size));
        let taken = others.iter().map(|(id, size)| (*id, *size)).fold(0, weigh);
        let needed = blobs.iter().filter(|(id, _)| !others.contains_key(id)).fold(0, weigh);
        let most = self.0.store.pin_room();
        let fits = needed == 0 || taken.saturating_add(needed) <= most;
        fits.then_some(()).ok_or_else(|| PinError::Full { target: pin.target.clone(), needed, taken, most })
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
        let lasting = pins.values().filter(|lease| lease.pin.lasts(now));
        let pinned = lasting.flat_map(|lease| lease.blobs.keys()).map(|id| ContentId::from(*id)).collect();
        // While nobody can change them: what is told last is what is so.
        self.0.store.set_pinned(Arc::new(pinned));
    }

    /// Ends a lease early. What it kept stays until the room is needed.
    pub async fn unpin(&self, target: &str) -> Result<(), PinError> {
        let key = target.parse::<BlobId>().map_or_else(|_| target.to_owned(), |id| id.to_string());
        let Some(pin) = self.0.pins.read().get(&key).map(|lease| lease.pin.clone()) else {
            return Err(PinError::NotPinned { target: target.to_owned() });
        };
        let lasted = pin.lasts(now_ms());
        let swarm = self.clone();
        self.to_the_end(async move { swarm.end_lease(key, move |now| *now == pin).await }).await?;
        if lasted { Ok(()) } else { Err(PinError::NotPinned { target: target.to_owned() }) }
    }

    /// Unless it is not one of those any more: it may be renewed meanwhile, which comes after.
    async fn end_lease(
        &self,
        target: String,
        is_one: impl Fn(&Term) -> bool + Clone + Send + 'static,
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
        let leases = self.0.pins.read();
        let mut pins: Vec<_> = leases.values().filter(|lease| lease.pin.lasts(now)).map(|lease| self.pin_info(lease)).collect();
        pins.sort_unstable_by(|a, b| a.target.cmp(&b.target));
        pins
    }

    fn pin_info(&self, Lease { pin, blobs, .. }: &Lease) -> PinInfo {
        let (mut bytes, mut bytes_here) = (0u64, 0);
        for (id, size) in blobs {
            let entry = self.0.store.get(&(*id).into());
            bytes = bytes.saturating_add(entry.as_ref().map_or(*size, |entry| entry.geometry().size()));
            bytes_here += entry.map_or(0, |entry| entry.bytes_here());
        }
        PinInfo { target: pin.target.clone(), id: pin.id, until_ms: pin.until_ms, bytes, bytes_here }
    }

    /// The blobs that leases keep here, and their sizes.
    pub(crate) fn leased(&self) -> HashMap<BlobId, u64> {
        let (pins, now) = (self.0.pins.read(), now_ms());
        pins.values()
            .filter(|lease| lease.pin.lasts(now))
            .flat_map(|lease| lease.blobs.iter().map(|(id, size)| (*id, *size)))
            .collect()
    }

    /// Whether a lease keeps this on this node.
    pub fn pinned(&self, content: &ContentId) -> bool {
        let ContentId::Blob(id) = content else { return false };
        let now = now_ms();
        self.0.pins.read().values().any(|lease| lease.pin.lasts(now) && lease.blobs.contains_key(id))
    }

    /// Forgets the leases that have ended, and brings what the others lack.
    pub(crate) async fn sweep_pins(&self) {
        self.end_pins().await;
        self.bring_pins().await;
    }

    async fn end_pins(&self) {
        let now = now_ms();
        let ended: Vec<_> = {
            let pins = self.0.pins.read();
            pins.iter().filter(|(_, lease)| !lease.pin.lasts(now)).map(|(target, _)| target.clone()).collect()
        };
        for target in ended {
            if let Err(error) = self.end_lease(target.clone(), move |pin| !pin.lasts(now)).await {
                tracing::warn!(target, %error, "a pin that ended was not forgotten");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(until_ms: u64) -> Lease {
        let pin = Term { target: "t".into(), id: BlobId::of(b""), until_ms };
        Lease { pin, blobs: HashMap::new(), again: Again::default() }
    }

    /// A sweep looks first, and forgets later.
    #[test]
    fn a_lease_that_was_renewed_meanwhile_does_not_end() {
        let ended = |pin: &Term| !pin.lasts(10);
        for (until_ms, kept) in [(10, false), (11, true)] {
            let written = serde_json::to_vec(&lease(until_ms)).unwrap();
            assert_eq!(matches!(end(Some(&written), ended), Change::Keep(())), kept, "{until_ms}");
            let pins = Pins::of([("t".to_owned(), lease(until_ms))].into());
            pins.remove("t", ended);
            assert_eq!(pins.read().contains_key("t"), kept, "{until_ms}");
        }
        assert!(matches!(end(Some(b"?"), ended), Change::Remove(())) && matches!(end(None, ended), Change::Remove(())));
    }
}
