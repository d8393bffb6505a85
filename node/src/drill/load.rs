use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use herring_blob::ByteRange;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::blob::{Blob, Ledger};
use super::random::Random;
use super::site::{Site, Sites};
use super::tally::{Phase, Tally};

/// While there is nothing to read, nobody to ask, or a writer is ahead of its time.
const PAUSE: Duration = Duration::from_millis(20);
/// Apart from the writers' labels.
const READERS: u64 = 1 << 32;

/// How much is read and written.
#[derive(Debug, Clone, Copy)]
pub struct Rates {
    pub seed: u64,
    pub readers: u64,
    pub writers: u64,
    /// That all writers put within `over`, and no more.
    pub bytes: u64,
    pub over: Duration,
}

/// Readers and writers, and what they found. Clones are the same load.
#[derive(Clone)]
pub struct Load(Arc<Shared>);

struct Shared {
    rates: Rates,
    sites: Arc<Sites>,
    ledger: Ledger,
    tally: Mutex<Tally>,
    phase: Mutex<Phase>,
    written: AtomicU64,
    start: Instant,
    stop: CancellationToken,
}

impl Load {
    pub fn new(rates: Rates, sites: Arc<Sites>) -> Self {
        let (ledger, tally, phase) = (Ledger::default(), Mutex::default(), Mutex::new(Phase::Before));
        let (written, start, stop) = (AtomicU64::new(0), Instant::now(), CancellationToken::new());
        Self(Arc::new(Shared { rates, sites, ledger, tally, phase, written, start, stop }))
    }

    /// Everybody at work. They end with the set, or by [`end`](Self::end).
    pub fn begin(&self) -> JoinSet<()> {
        let mut all = JoinSet::new();
        (0..self.0.rates.writers).for_each(|writer| drop(all.spawn(self.clone().write(writer))));
        (0..self.0.rates.readers).for_each(|reader| drop(all.spawn(self.clone().read(reader))));
        all
    }

    /// Lets all finish what they are at.
    pub async fn end(&self, mut all: JoinSet<()>) {
        self.0.stop.cancel();
        while all.join_next().await.is_some() {}
    }

    pub fn enter(&self, phase: Phase) {
        *self.0.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }

    pub fn acknowledged(&self) -> Vec<Blob> {
        self.0.ledger.all()
    }

    pub fn sites(&self) -> &Sites {
        &self.0.sites
    }

    pub fn tally(&self) -> MutexGuard<'_, Tally> {
        self.0.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn since_start(&self) -> Duration {
        self.0.start.elapsed()
    }

    fn phase(&self) -> Phase {
        *self.0.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn write(self, writer: u64) {
        let rates = self.0.rates;
        let mut numbers = Random::derived(rates.seed, &[writer]);
        let mut number = 0;
        while !self.0.stop.is_cancelled() {
            match self.0.sites.pick(&mut numbers).filter(|_| self.is_due()) {
                Some(site) => self.put(&site, writer, number).await,
                None => {
                    sleep(PAUSE).await;
                    continue;
                }
            }
            number += 1;
        }
    }

    /// Whether there is room for more in the time that went by.
    fn is_due(&self) -> bool {
        let share = (self.since_start().as_secs_f64() / self.0.rates.over.as_secs_f64()).min(1.0);
        #[expect(clippy::cast_precision_loss, reason = "a pace, not an amount")]
        let (written, all) = (self.0.written.load(Ordering::Relaxed) as f64, self.0.rates.bytes as f64);
        written < all * share
    }

    pub async fn put(&self, site: &Site, writer: u64, number: u64) {
        let (seed, most) = (self.0.rates.seed, self.0.rates.bytes / 8);
        let made = tokio::task::spawn_blocking(move || Blob::make(seed, writer, number, most)).await;
        let Ok((blob, bytes)) = made else { return };
        let falls = site.falls();
        let put = site.put(bytes.into()).await;
        let (id, size) = (blob.id, blob.size);
        match put {
            Ok(given) if given == id => {
                self.0.written.fetch_add(size, Ordering::Relaxed);
                self.0.ledger.note(blob, self.since_start());
            }
            Ok(given) => self.tally().wrong.note(|| format!("{} named {id} {given}", site.id)),
            Err(_) if site.falls() != falls => self.tally().interrupted += 1,
            Err(why) => self.tally().refused.note(|| format!("{} did not take {size} bytes: {why}", site.id)),
        }
    }

    async fn read(self, reader: u64) {
        let mut numbers = Random::derived(self.0.rates.seed, &[READERS + reader]);
        while !self.0.stop.is_cancelled() {
            match self.0.ledger.pick(&mut numbers) {
                Some(blob) => {
                    let range = blob.part(&mut numbers);
                    self.read_somewhere(&blob, range, &mut numbers).await;
                }
                None => sleep(PAUSE).await,
            }
        }
    }

    /// Reads as a client does that knows several nodes: where one went away under it, it asks another.
    pub async fn read_somewhere(&self, blob: &Blob, range: ByteRange, numbers: &mut Random) {
        let begun = Instant::now();
        while let Some(site) = self.0.sites.pick(numbers) {
            let falls = site.falls();
            let read = site.read(blob.id, range).await;
            if read.is_err() && site.falls() != falls {
                self.tally().retried += 1;
                continue;
            }
            let (phase, took) = (self.phase(), begun.elapsed());
            return self.judge(&site, blob, range, read, |tally| tally.took(phase, took));
        }
        // Nobody serves just now: that is the drill's doing.
        sleep(PAUSE).await;
    }

    /// Takes in what a read gave.
    pub fn judge(
        &self,
        site: &Site,
        blob: &Blob,
        range: ByteRange,
        read: Result<Vec<u8>, String>,
        right: impl FnOnce(&mut Tally),
    ) {
        let fault = read.as_ref().ok().and_then(|bytes| blob.fault(range, bytes));
        let mut tally = self.tally();
        match (read, fault) {
            (Ok(_), None) => right(&mut tally),
            (Ok(_), Some(fault)) => tally.wrong.note(|| format!("{} gave wrong bytes: {fault}", site.id)),
            (Err(why), _) => {
                let at = self.since_start().as_secs_f64();
                tally.failed.note(|| format!("{} at {at:.1} s: bytes {range} of {}: {why}", site.id, blob.id));
            }
        }
    }
}
