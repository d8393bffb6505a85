use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use redb::{Durability, ReadableTable, TableError, WriteTransaction};

use super::RecordError;
use super::ages::Ages;
use super::file::{AGED, File, State};
use super::queue::{Effect, Job, QUEUE, Task};

/// How long what was noted may wait for an fsync: until then a process that is killed takes it along, and what it saw of an origin with it.
const FLUSH: Duration = Duration::from_millis(500);

/// The one who writes, in a thread of its own.
pub(super) struct Writer {
    file: Arc<File>,
    /// Of each bounded table; `None` until it is counted, and again after a transaction that failed.
    ages: [Option<Ages>; AGED.len()],
    /// When the first note since the last fsync was committed.
    unflushed: Option<Instant>,
}

impl Writer {
    pub fn new(file: Arc<File>) -> Self {
        Self { file, ages: [None; AGED.len()], unflushed: None }
    }

    /// Until nobody can write any more.
    pub fn run(mut self, jobs: &Receiver<Job>) {
        while let Some(batch) = self.next(jobs) {
            self.write(batch);
        }
        if self.unflushed.is_some() {
            self.write(Vec::new());
        }
    }

    /// All that waits, at least one job; or none, when notes have waited long enough for their fsync. `None` at the end.
    fn next(&self, jobs: &Receiver<Job>) -> Option<Vec<Job>> {
        let first = match self.unflushed {
            None => jobs.recv().ok()?,
            Some(since) => match jobs.recv_timeout(FLUSH.saturating_sub(since.elapsed())) {
                Ok(job) => job,
                Err(RecvTimeoutError::Timeout) => return Some(Vec::new()),
                Err(RecvTimeoutError::Disconnected) => return None,
            },
        };
        Some(std::iter::once(first).chain(jobs.try_iter().take(QUEUE - 1)).collect())
    }

    /// One transaction for all of them.
    fn write(&mut self, mut batch: Vec<Job>) {
        let result = self.file.make_ready().and_then(|()| self.transact(&mut batch));
        if let Err(error) = &result {
            tracing::error!(%error, lost = batch.len(), "records were not written");
            (self.ages, self.unflushed) = ([None; AGED.len()], None);
            self.file.close(error);
        }
        self.file.weigh();
        for job in batch {
            job.task.done(result.clone());
        }
    }

    fn transact(&mut self, batch: &mut [Job]) -> Result<(), RecordError> {
        let file = self.file.clone();
        let State::Open(database) = &*file.look() else { return Err(RecordError::Closed) };
        let mut transaction = database.begin_write().map_err(|error| file.failed(error))?;
        let made = self.apply_all(&transaction, batch).map_err(|error| file.failed(error))?;
        let flush = made.durable || self.unflushed.is_some_and(|since| batch.is_empty() || since.elapsed() >= FLUSH);
        if !(made.any || flush) {
            return transaction.abort().map_err(|error| file.failed(error));
        }
        let durability = if flush { Durability::Immediate } else { Durability::None };
        transaction.set_durability(durability).map_err(|error| file.failed(error))?;
        transaction.commit().map_err(|error| file.failed(error))?;
        self.unflushed = if flush { None } else { self.unflushed.or_else(|| Some(Instant::now())) };
        Ok(())
    }

    fn apply_all(&mut self, transaction: &WriteTransaction, batch: &mut [Job]) -> Result<Made, TableError> {
        let mut made = Made::default();
        for job in batch {
            let changed = self.apply(transaction, &mut *job.task)?;
            made.any |= changed;
            made.durable |= changed && job.task.durable();
        }
        Ok(made)
    }

    /// Whether it changed anything.
    fn apply(&mut self, transaction: &WriteTransaction, task: &mut dyn Task) -> Result<bool, TableError> {
        let (table, key) = task.record();
        let key = key.to_owned();
        let mut records = transaction.open_table(table.definition())?;
        let effect = {
            let now = records.get(&*key)?;
            let now = now.as_ref().map(|stored| table.shown(stored.value()));
            task.run(now)
        };
        match (effect, table.aged()) {
            (Effect::Keep, _) => return Ok(false),
            (Effect::Put(value), Some(aged)) => {
                let bound = self.file.bound(aged);
                let ages = self.ages(transaction, aged)?;
                ages.put(transaction, &mut records, &key, &value)?;
                ages.evict(transaction, &mut records, bound)?;
            }
            (Effect::Remove, Some(aged)) => self.ages(transaction, aged)?.remove(transaction, &mut records, &key)?,
            (Effect::Put(value), None) => drop(records.insert(&*key, &*value)?),
            (Effect::Remove, None) => drop(records.remove(&*key)?),
        }
        Ok(true)
    }

    fn ages(&mut self, transaction: &WriteTransaction, aged: usize) -> Result<&mut Ages, TableError> {
        let ages = match self.ages[aged] {
            Some(ages) => ages,
            None => Ages::load(transaction, AGED[aged].2)?,
        };
        Ok(self.ages[aged].insert(ages))
    }
}

/// What a batch did.
#[derive(Default)]
struct Made {
    any: bool,
    /// Something that must be on disk before it is acknowledged.
    durable: bool,
}
