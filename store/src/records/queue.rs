use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::file::File;
use super::writer::Writer;
use super::{Change, MAX_VALUE, RecordError, Table};
use crate::OpenError;

/// How many writes wait or are in one transaction.
pub(super) const QUEUE: usize = 1024;

/// One write, in the order of the queue.
pub(super) trait Task: Send {
    fn record(&self) -> (Table, &str);
    /// Whether it must be on disk before it is [done](Self::done).
    fn durable(&self) -> bool;
    fn run(&mut self, now: Option<&[u8]>) -> Effect;
    fn done(self: Box<Self>, result: Result<(), RecordError>);
}

pub(super) enum Effect {
    Keep,
    Put(Vec<u8>),
    Remove,
}

/// A task and its place in the queue, which is free again when this is dropped.
pub(super) struct Job {
    pub task: Box<dyn Task>,
    _place: OwnedSemaphorePermit,
}

/// The way to the writer's thread, which ends with it.
pub(super) struct Queue {
    /// `None` while it is being dropped.
    jobs: Option<SyncSender<Job>>,
    places: Arc<Semaphore>,
    thread: Option<JoinHandle<()>>,
}

impl Queue {
    pub fn start(file: Arc<File>) -> Result<Self, OpenError> {
        let (jobs, taken) = sync_channel(QUEUE);
        let path = file.path().to_owned();
        let thread = std::thread::Builder::new().name("herring-records".into());
        let thread = thread.spawn(move || Writer::new(file).run(&taken)).map_err(OpenError::at(&path))?;
        Ok(Self { jobs: Some(jobs), places: Arc::new(Semaphore::new(QUEUE)), thread: Some(thread) })
    }

    /// Waits for a place.
    pub async fn push(&self, task: Box<dyn Task>) -> Result<(), RecordError> {
        let place = self.places.clone().acquire_owned().await.map_err(|_| RecordError::Closed)?;
        self.send(Job { task, _place: place })
    }

    /// Drops the task where there is no place.
    pub fn try_push(&self, task: Box<dyn Task>) {
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            let _ = self.send(Job { task, _place: place });
        }
    }

    /// Never full: there are as many places as the channel holds, and each job has one.
    fn send(&self, job: Job) -> Result<(), RecordError> {
        let jobs = self.jobs.as_ref().ok_or(RecordError::Closed)?;
        jobs.try_send(job).map_err(|_| RecordError::Closed)
    }
}

impl Drop for Queue {
    /// Waits until all that was queued is written: whoever opens the directory next finds it closed.
    fn drop(&mut self) {
        self.jobs = None;
        let Some(thread) = self.thread.take() else { return };
        if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
            tracing::error!("the thread that writes records panicked; what was not acknowledged is lost");
        }
    }
}

/// What became of a change: its own answer or its panic, or why it was not made.
type Answer<T> = Result<Result<T, Box<dyn Any + Send>>, RecordError>;

/// A durable change whose caller waits.
pub(super) struct Update<T, F> {
    record: (Table, String),
    change: Option<F>,
    answer: Answer<T>,
    reply: oneshot::Sender<Answer<T>>,
}

impl<T, F: FnOnce(Option<&[u8]>) -> Change<T>> Update<T, F> {
    pub fn new(table: Table, key: String, change: F) -> (Self, oneshot::Receiver<Answer<T>>) {
        let (reply, answer) = oneshot::channel();
        (Self { record: (table, key), change: Some(change), answer: Err(RecordError::Closed), reply }, answer)
    }
}

impl<T: Send, F: FnOnce(Option<&[u8]>) -> Change<T> + Send> Task for Update<T, F> {
    fn record(&self) -> (Table, &str) {
        (self.record.0, &self.record.1)
    }

    fn durable(&self) -> bool {
        true
    }

    fn run(&mut self, now: Option<&[u8]>) -> Effect {
        let Some(change) = self.change.take() else { return Effect::Keep };
        let (answer, effect) = match std::panic::catch_unwind(AssertUnwindSafe(|| change(now))) {
            Ok(Change::Put(value, _)) if value.len() > MAX_VALUE => {
                (Err(RecordError::TooLarge { bytes: value.len() }), Effect::Keep)
            }
            Ok(Change::Keep(answer)) => (Ok(Ok(answer)), Effect::Keep),
            Ok(Change::Put(value, answer)) => (Ok(Ok(answer)), Effect::Put(value)),
            Ok(Change::Remove(answer)) => (Ok(Ok(answer)), Effect::Remove),
            // It is the caller's, not the writer's.
            Err(panic) => (Ok(Err(panic)), Effect::Keep),
        };
        self.answer = answer;
        effect
    }

    fn done(self: Box<Self>, result: Result<(), RecordError>) {
        // Nobody listens where the caller went away.
        let _ = self.reply.send(result.and(self.answer));
    }
}

/// A value that nobody waits for.
pub(super) struct Note {
    record: (Table, String),
    value: Vec<u8>,
    bytes: usize,
    noted: Arc<AtomicUsize>,
}

impl Note {
    /// `noted` has counted the value's bytes already; they are taken off when this is dropped.
    pub fn new(table: Table, key: String, value: Vec<u8>, noted: Arc<AtomicUsize>) -> Self {
        Self { record: (table, key), bytes: value.len(), value, noted }
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        self.noted.fetch_sub(self.bytes, Relaxed);
    }
}

impl Task for Note {
    fn record(&self) -> (Table, &str) {
        (self.record.0, &self.record.1)
    }

    fn durable(&self) -> bool {
        false
    }

    fn run(&mut self, _now: Option<&[u8]>) -> Effect {
        Effect::Put(std::mem::take(&mut self.value))
    }

    fn done(self: Box<Self>, result: Result<(), RecordError>) {
        if let Err(error) = result {
            tracing::debug!(%error, "a note was not kept");
        }
    }
}
