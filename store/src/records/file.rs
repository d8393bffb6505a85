use std::fs::OpenOptions;
use std::io;
use std::ops::Bound;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use redb::{Database, DatabaseError, ReadOnlyTable, ReadableDatabase, StorageError, TableDefinition, TableError};

use super::{RecordError, Table, ages};
use crate::OpenError;
use crate::disk::Disk;
use crate::layout::sync_dir;

/// Pages kept in memory, bytes. What the page cache holds beyond is one copy away.
const CACHE: usize = 8 << 20;
/// The tables of a bounded size: what they may hold where nobody says otherwise, bytes, and the tables of their ages. The file takes twice that: 539 MB
/// for 268 of records of 300 bytes, which took 0.6 s to open. 8 MiB are some 20,000 misses.
pub(super) const AGED: [(Table, u64, &str); 2] =
    [(Table::Metadata, 128 << 20, "metadata_ages"), (Table::Misses, 8 << 20, "misses_ages")];

pub(super) type Raw = TableDefinition<'static, &'static str, &'static [u8]>;

impl Table {
    pub(super) fn definition(self) -> Raw {
        TableDefinition::new(match self {
            Self::Names => "names",
            Self::Metadata => "metadata",
            Self::Misses => "misses",
            Self::Commits => "commits",
            Self::Jobs => "jobs",
            Self::Pins => "pins",
            Self::Fates => "fates",
        })
    }

    /// The value as its owner wrote it.
    pub(super) fn shown(self, stored: &[u8]) -> &[u8] {
        if self.aged().is_some() { ages::value(stored) } else { stored }
    }

    /// Which of the [`AGED`] it is.
    pub(super) fn aged(self) -> Option<usize> {
        AGED.iter().position(|(table, ..)| *table == self)
    }
}

/// The file. Made at the first write, so that a store without records has none.
pub(super) struct File {
    path: PathBuf,
    database: RwLock<State>,
    bounds: [AtomicU64; AGED.len()],
    /// Its lock keeps other processes away for as long as this is open.
    disk: Arc<Disk>,
}

pub(super) enum State {
    Absent,
    Open(Database),
    /// Since the disk failed, for this reason; opened again at the next write.
    Failed(String),
}

/// Why a database cannot be opened.
enum Trouble {
    /// What it holds makes no sense.
    Damaged(String),
    Io(io::Error),
}

impl File {
    pub fn open(disk: Arc<Disk>) -> Result<Self, OpenError> {
        let path = disk.layout.records();
        let (database, bounds) = (RwLock::new(State::Absent), AGED.map(|(_, bound, _)| AtomicU64::new(bound)));
        let file = Self { path, database, bounds, disk };
        let state = file.find().map_err(OpenError::at(&file.path))?;
        *file.change() = state;
        file.weigh();
        Ok(file)
    }

    /// It may have grown.
    pub fn weigh(&self) {
        self.disk.weigh_records();
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn bound(&self, aged: usize) -> u64 {
        self.bounds[aged].load(Relaxed)
    }

    pub fn set_bound(&self, aged: usize, most_bytes: u64) {
        self.bounds[aged].store(most_bytes, Relaxed);
    }

    pub fn get(&self, table: Table, key: &str) -> Result<Option<Vec<u8>>, RecordError> {
        let Some(records) = self.read(table)? else { return Ok(None) };
        let found = records.get(key).map_err(|error| self.failed(error))?;
        Ok(found.map(|stored| table.shown(stored.value()).to_vec()))
    }

    pub fn scan(
        &self,
        table: Table,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, RecordError> {
        let Some(records) = self.read(table)? else { return Ok(Vec::new()) };
        let start = match after.filter(|&after| after >= prefix) {
            Some(after) => Bound::Excluded(after),
            None => Bound::Included(prefix),
        };
        let mut found = Vec::new();
        for record in records.range::<&str>((start, Bound::Unbounded)).map_err(|error| self.failed(error))?.take(limit) {
            let (key, stored) = record.map_err(|error| self.failed(error))?;
            if !key.value().starts_with(prefix) {
                break;
            }
            found.push((key.value().to_owned(), table.shown(stored.value()).to_vec()));
        }
        Ok(found)
    }

    /// A picture of the table, which no write changes. `None` where nothing was ever written to it.
    fn read(&self, table: Table) -> Result<Option<ReadOnlyTable<&'static str, &'static [u8]>>, RecordError> {
        let picture = match &*self.look() {
            State::Absent => return Ok(None),
            State::Failed(reason) => return Err(self.failed(reason)),
            State::Open(database) => database.begin_read().map_err(|error| self.failed(error))?,
        };
        match picture.open_table(table.definition()) {
            Ok(records) => Ok(Some(records)),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(self.failed(error)),
        }
    }

    pub fn look(&self) -> RwLockReadGuard<'_, State> {
        self.database.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> RwLockWriteGuard<'_, State> {
        self.database.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn failed(&self, reason: impl ToString) -> RecordError {
        RecordError::Disk { path: self.path.clone(), reason: reason.to_string() }
    }

    /// Makes the file if there is none, and opens it if it is not open. Only the writer calls this.
    pub fn make_ready(&self) -> Result<(), RecordError> {
        if matches!(&*self.look(), State::Open(_)) {
            return Ok(());
        }
        let open = || match self.find()? {
            State::Absent => self.create(),
            found => Ok(found),
        };
        match open() {
            Ok(found) => *self.change() = found,
            Err(error) => {
                *self.change() = State::Failed(error.to_string());
                return Err(self.failed(error));
            }
        }
        Ok(())
    }

    /// After a write failed: redb gives nothing more until it is opened anew, and what it has in memory is not what is on disk.
    pub fn close(&self, reason: &RecordError) {
        *self.change() = State::Failed(reason.to_string());
    }

    /// What is on disk; a damaged file is put aside, as if there were none.
    fn find(&self) -> io::Result<State> {
        let file = match OpenOptions::new().read(true).write(true).open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::Absent),
            Err(error) => return Err(error),
        };
        match open(file) {
            Ok(database) => Ok(State::Open(database)),
            Err(Trouble::Io(error)) => Err(error),
            Err(Trouble::Damaged(why)) => {
                let place = self.disk.layout.put_aside(std::slice::from_ref(&self.path))?;
                tracing::error!(%why, place = %place.display(), "the file of records is damaged, check the disk; it was moved aside and a new one is begun: names come back from their other owners, jobs and pins that were only here are lost");
                Ok(State::Absent)
            }
        }
    }

    fn create(&self) -> io::Result<State> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&self.path)?;
        match open(file) {
            Ok(database) => {
                sync_dir(self.disk.layout.dir())?;
                Ok(State::Open(database))
            }
            Err(Trouble::Io(error)) => Err(error),
            Err(Trouble::Damaged(why)) => Err(io::Error::other(why)),
        }
    }
}

/// Opens the database and checks every page of it, 57 ms for 100,000 records: redb itself trusts what it reads, and panics where it
/// should not have.
fn open(file: std::fs::File) -> Result<Database, Trouble> {
    let opened = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let mut database = Database::builder().set_cache_size(CACHE).create_file(file)?;
        let sound = database.check_integrity()?;
        Ok::<_, DatabaseError>((database, sound))
    }));
    match opened {
        Ok(Ok((database, true))) => Ok(database),
        Ok(Ok((database, false))) => {
            tracing::error!(
                "the file of records was damaged and could be mended; what was written last may be lost; check the disk"
            );
            Ok(database)
        }
        Ok(Err(error)) => Err(Trouble::from(error)),
        Err(_) => Err(Trouble::Damaged("reading it failed beyond what its format allows".into())),
    }
}

impl From<DatabaseError> for Trouble {
    /// What cannot be read now may be readable later; what was read and makes no sense never will.
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Storage(StorageError::Io(error)) => match error.kind() {
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => Self::Damaged(error.to_string()),
                _ => Self::Io(error),
            },
            DatabaseError::Storage(StorageError::Corrupted(_))
            | DatabaseError::UpgradeRequired(_)
            | DatabaseError::RepairAborted => Self::Damaged(error.to_string()),
            error => Self::Io(io::Error::other(error)),
        }
    }
}
