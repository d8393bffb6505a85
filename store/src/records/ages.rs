//! Which records of a bounded table were written longest ago. Each stored value begins with its age, a number that only grows, by
//! which a second table finds it.

use redb::{ReadableTable, StorageError, Table, TableDefinition, TableError, WriteTransaction};

/// Age → (what the record counts, its key).
type ByAge = TableDefinition<'static, u64, (u64, &'static str)>;
const AGE: usize = 8;
/// What a record takes beside its key, twice, and its value, bytes: about.
const OVERHEAD: usize = 64;

pub(super) fn value(stored: &[u8]) -> &[u8] {
    stored.get(AGE..).unwrap_or_default()
}

fn age(stored: &[u8]) -> u64 {
    stored.first_chunk::<AGE>().map_or(0, |age| u64::from_le_bytes(*age))
}

type Records<'a> = Table<'a, &'static str, &'static [u8]>;

/// A bounded table within one transaction. Counts what the table holds; wrong once a transaction was not committed.
#[derive(Clone, Copy)]
pub(super) struct Ages {
    by_age: ByAge,
    next: u64,
    bytes: u64,
}

impl Ages {
    /// Counts what is there: 100,000 records in 20 ms.
    pub fn load(transaction: &WriteTransaction, by_age: &'static str) -> Result<Self, TableError> {
        let mut found = Self { by_age: TableDefinition::new(by_age), next: 0, bytes: 0 };
        for record in transaction.open_table(found.by_age)?.iter()? {
            let (age, counted) = record?;
            (found.next, found.bytes) = (age.value() + 1, found.bytes + counted.value().0);
        }
        Ok(found)
    }

    pub fn put(
        &mut self,
        transaction: &WriteTransaction,
        records: &mut Records<'_>,
        key: &str,
        value: &[u8],
    ) -> Result<(), TableError> {
        let mut ages = transaction.open_table(self.by_age)?;
        let stored = [&self.next.to_le_bytes(), value].concat();
        let counted = (2 * key.len() + stored.len() + OVERHEAD) as u64;
        let before = records.insert(key, &*stored)?.map(|before| age(before.value()));
        self.forget(&mut ages, before)?;
        ages.insert(self.next, (counted, key))?;
        (self.next, self.bytes) = (self.next + 1, self.bytes + counted);
        Ok(())
    }

    pub fn remove(&mut self, transaction: &WriteTransaction, records: &mut Records<'_>, key: &str) -> Result<(), TableError> {
        let before = records.remove(key)?.map(|before| age(before.value()));
        self.forget(&mut transaction.open_table(self.by_age)?, before)?;
        Ok(())
    }

    fn forget(&mut self, ages: &mut Table<'_, u64, (u64, &'static str)>, age: Option<u64>) -> Result<(), StorageError> {
        if let Some(age) = age
            && let Some(counted) = ages.remove(age)?
        {
            self.bytes -= counted.value().0;
        }
        Ok(())
    }

    /// Removes the oldest until no more than `bound` bytes are counted.
    pub fn evict(&mut self, transaction: &WriteTransaction, records: &mut Records<'_>, bound: u64) -> Result<(), TableError> {
        let mut ages = transaction.open_table(self.by_age)?;
        while self.bytes > bound {
            let Some((_, oldest)) = ages.pop_first()? else { break };
            let (counted, key) = oldest.value();
            records.remove(key)?;
            self.bytes -= counted;
        }
        Ok(())
    }
}
