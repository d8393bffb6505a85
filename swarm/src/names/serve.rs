//! What a node does for the names that it keeps: on its disk before it answers.

use futures_util::future::join_all;
use herring_http_api::peer::{Ballot, NameRecord, NamedRecord, NamesCall, NamesReply};
use herring_store::{Change, RecordError, Table};

use super::register::Register;
use super::{NameError, check, now_ms};
use crate::{Swarm, Tried};

/// Names in one answer to a list, and records in one lesson: about half a MiB.
pub(super) const BATCH: usize = 500;
/// A key in the table of names that is none: names do not begin with a slash.
pub(super) const NO_NAME: char = '/';

impl Swarm {
    /// What this node answers a peer.
    pub async fn answer_names(&self, call: NamesCall) -> Result<NamesReply, NameError> {
        match call {
            NamesCall::Prepare { name, ballot } => self.promise(name, ballot).await,
            NamesCall::Accept { name, record } => self.accept(name, record).await.map(|(done, register)| vote(done, register)),
            NamesCall::Get { name } => Ok(NamesReply::Record(self.register(&name)?.accepted)),
            NamesCall::List { prefix, after, limit } => self.list_here(&prefix, after.as_deref(), limit).map(NamesReply::Records),
            NamesCall::Learn { records } => self.learn(records).await,
        }
    }

    /// Who owns nothing of a name and knows nothing of it has nothing to promise, and writes nothing.
    async fn promise(&self, name: String, ballot: Ballot) -> Result<NamesReply, NameError> {
        check(&name)?;
        let view = self.view();
        if !self.owns_name(&view, view.me(), &name) && self.register(&name)? == Register::default() {
            return Ok(vote(false, Register::default()));
        }
        let promise = move |register: &mut Register| register.prepare(&ballot, now_ms());
        self.change_register(name, promise).await.map(|(done, register)| vote(done, register))
    }

    async fn accept(&self, name: String, record: NameRecord) -> Result<(bool, Register), NameError> {
        check(&name)?;
        self.change_register(name, move |register| register.accept(&record, now_ms())).await
    }

    async fn learn(&self, records: Vec<NamedRecord>) -> Result<NamesReply, NameError> {
        let lessons = records.into_iter().take(BATCH).map(|NamedRecord { name, record }| async move {
            let (_, register) = self.accept(name.clone(), record.clone()).await?;
            Ok::<_, NameError>((!register.has(&record)).then_some(name))
        });
        let behind: Result<Vec<_>, _> = join_all(lessons).await.into_iter().collect();
        Ok(NamesReply::Learnt { behind: behind?.into_iter().flatten().collect() })
    }

    /// What this node keeps of a name.
    pub(super) fn register(&self, name: &str) -> Result<Register, NameError> {
        let kept = self.0.store.records().get(Table::Names, name).map_err(disk)?;
        Ok(kept.as_deref().map_or_else(Register::default, |bytes| read(name, bytes)))
    }

    async fn change_register(
        &self,
        name: String,
        step: impl FnOnce(&mut Register) -> bool + Send + 'static,
    ) -> Result<(bool, Register), NameError> {
        let key = name.clone();
        let change = move |kept: Option<&[u8]>| {
            let before = kept.map_or_else(Register::default, |bytes| read(&name, bytes));
            let mut after = before.clone();
            let done = step(&mut after);
            if after == before { Change::Keep((done, after)) } else { Change::Put(write(&after), (done, after)) }
        };
        self.0.store.records().update(Table::Names, key, change).await.map_err(disk)
    }

    /// What is accepted here, deleted names too.
    pub(super) fn list_here(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<NamedRecord>, NameError> {
        let (mut found, mut after) = (Vec::new(), after.map(str::to_owned));
        let limit = limit.min(BATCH);
        loop {
            let kept = self.0.store.records().scan(Table::Names, prefix, after.as_deref(), BATCH).map_err(disk)?;
            let last = kept.last().filter(|_| kept.len() == BATCH).map(|(name, _)| name.clone());
            found.extend(kept.into_iter().filter_map(|(name, bytes)| named(name, &bytes)));
            after = last;
            if found.len() >= limit || after.is_none() {
                found.truncate(limit);
                return Ok(found);
            }
        }
    }

    /// Forgets what this node keeps of a name, if it is still this.
    pub(super) async fn drop_record(&self, name: String, record: NameRecord) -> Result<(), NameError> {
        let key = name.clone();
        let change = move |kept: Option<&[u8]>| match kept.map(|bytes| read(&name, bytes)) {
            Some(register) if register.accepted.as_ref() == Some(&record) => Change::Remove(()),
            _ => Change::Keep(()),
        };
        self.0.store.records().update(Table::Names, key, change).await.map_err(disk)
    }
}

fn named(name: String, bytes: &[u8]) -> Option<NamedRecord> {
    let accepted = if name.starts_with(NO_NAME) { None } else { read(&name, bytes).accepted };
    accepted.map(|record| NamedRecord { name, record })
}

fn vote(done: bool, register: Register) -> NamesReply {
    NamesReply::Vote { done, promised: register.promised, accepted: register.accepted }
}

fn write(register: &Register) -> Vec<u8> {
    serde_json::to_vec(register).expect("a register has string keys only, and writing to memory does not fail")
}

/// What cannot be read is as if it were lost: other owners have it.
fn read(name: &str, bytes: &[u8]) -> Register {
    let lost = |error| {
        tracing::error!(name, %error, "what this node kept of a name cannot be read; its other owners will tell");
        Register::default()
    };
    serde_json::from_slice(bytes).unwrap_or_else(lost)
}

fn disk(error: RecordError) -> NameError {
    NameError::Unavailable { what: "this node's disk".to_owned(), tried: Tried::of("the disk", error) }
}
