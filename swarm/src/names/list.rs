//! All names, as all members together know them.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use herring_gossip::View;
use herring_http_api::name::{check_name, check_prefix, is_own};
use herring_http_api::peer::{NameRecord, NamedRecord, NamesCall, NamesReply};
use herring_http_api::types::{NameInfo, NameList};
use herring_ring::Point;

use super::register::rank;
use super::serve::BATCH;
use super::{NameError, info};
use crate::candidates::Candidate;
use crate::{Swarm, Tried};

/// Names in one answer.
const MOST: usize = 1000;

/// What all members said of the names up to `complete`, `None`: of all.
struct Merged {
    names: BTreeMap<String, NameRecord>,
    complete: Option<String>,
}

impl Swarm {
    /// The names that begin with `prefix` and come after `after`, at most `limit` (1000 at most), over all members. Those that begin with a
    /// dot are the swarm's own, and shown only where the prefix does. An error where this node may be of the smaller part of a swarm that
    /// fell apart: the other may have more.
    pub async fn names(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<NameList, NameError> {
        let list = self.names_now(prefix, after, limit).await?;
        self.check_majority().map(|()| list)
    }

    /// The same, but what those who are here have will do.
    pub async fn names_now(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<NameList, NameError> {
        let invalid = |fault| NameError::Invalid { name: prefix.chars().take(80).collect(), fault };
        check_prefix(prefix).map_err(invalid)?;
        let limit = limit.clamp(1, MOST);
        let (mut list, mut after) = (NameList::default(), past_hidden(prefix, after));
        loop {
            let merged = self.merged_names(prefix, after.as_deref()).await?;
            for (name, record) in merged.names {
                let Some(info) = shown(prefix, &name, record) else { continue };
                if list.names.len() == limit {
                    list.next = list.names.last().map(|last| last.name.clone());
                    return Ok(list);
                }
                list.names.push(info);
            }
            let Some(complete) = merged.complete else { return Ok(list) };
            after = past_hidden(prefix, Some(&complete));
        }
    }

    /// Some of the names that are kept here, of which this node is the first owner, and where to go on; `None`: from the front.
    pub(crate) fn names_led_here(&self, prefix: &str, after: Option<&str>) -> Result<(Vec<NameInfo>, Option<String>), NameError> {
        let (view, batch) = (self.view(), self.list_here(prefix, after, BATCH)?);
        let next = batch.last().filter(|_| batch.len() == BATCH).map(|last| last.name.clone());
        let ring = self.names_ring(&view);
        let first = |one: &NamedRecord| {
            let owners = ring.owners(Point::of_name(&one.name), self.name_owners());
            owners.iter().map(|owner| &owner.id).find(|owner| view.get(owner).is_some()) == Some(view.me())
        };
        let names = batch.into_iter().filter(first).filter_map(|one| info(&one.name, Some(one.record.state)).ok());
        Ok((names.collect(), next))
    }

    /// The next names of all members. Where so many are silent that all who have a name may be among them, that is an error: a list that
    /// lacks something looks like one that does not.
    async fn merged_names(&self, prefix: &str, after: Option<&str>) -> Result<Merged, NameError> {
        let view = self.view();
        if view.ring().members().is_empty() || !view.settled() {
            return Err(NameError::NotReady);
        }
        let call = NamesCall::List { prefix: prefix.to_owned(), after: after.map(str::to_owned), limit: BATCH };
        let members = view.members().iter().map(|node| self.list_at(&view, node.into(), &call));
        let (mut lists, mut tried) = (Vec::new(), Tried::default());
        for (node, answer) in join_all(members).await {
            match answer {
                Ok(records) => lists.push(records),
                Err(why) => tried.note(node, why),
            }
        }
        let holders = view.ring().members().len().min(self.name_owners()) / 2 + 1;
        if tried.0.len() >= holders {
            let what = format!("names cannot be listed while {} nodes do not answer", tried.0.len());
            return Err(NameError::Unavailable { what, tried });
        }
        Ok(merge(lists))
    }

    async fn list_at(&self, view: &View, node: Candidate, call: &NamesCall) -> (String, Result<Vec<NamedRecord>, String>) {
        let answer = match self.ask_name(view, &node, call).await {
            Ok(NamesReply::Records(records)) if is_list(&records, call) => Ok(records),
            Ok(_) => Err("answered another question".to_owned()),
            Err(why) => Err(why),
        };
        (node.id.to_string(), answer)
    }
}

/// Whether these are what was asked for. With others a list would never come to its end.
fn is_list(records: &[NamedRecord], call: &NamesCall) -> bool {
    let NamesCall::List { prefix, after, limit } = call else { return false };
    let wanted = |name: &String| name.starts_with(prefix) && after.as_ref().is_none_or(|after| name > after);
    records.len() <= *limit
        && records.iter().all(|one| wanted(&one.name) && check_name(&one.name).is_ok())
        && records.is_sorted_by(|one, next| one.name < next.name)
}

fn merge(lists: Vec<Vec<NamedRecord>>) -> Merged {
    let full = lists.iter().filter(|list| list.len() >= BATCH);
    let complete = full.filter_map(|list| list.last()).map(|last| last.name.clone()).min();
    let mut names = BTreeMap::<String, NameRecord>::new();
    for NamedRecord { name, record } in lists.into_iter().flatten() {
        if complete.as_ref().is_some_and(|complete| name > *complete) {
            continue;
        }
        match names.get(&name) {
            Some(known) if rank(known, &record).is_ge() => {}
            _ => drop(names.insert(name, record)),
        }
    }
    Merged { names, complete }
}

fn shown(prefix: &str, name: &str, record: NameRecord) -> Option<NameInfo> {
    if hidden(prefix, name) { None } else { info(name, Some(record.state)).ok() }
}

/// Where to go on, so that of the swarm's own names, which may be many, at most a batch is read in vain: "/", the byte after the dot,
/// comes after them all, and no name begins with it.
fn past_hidden(prefix: &str, after: Option<&str>) -> Option<String> {
    after.map(|after| if hidden(prefix, after) { "/" } else { after }.to_owned())
}

fn hidden(prefix: &str, name: &str) -> bool {
    is_own(name) && !is_own(prefix)
}

#[cfg(test)]
mod tests {
    use herring_http_api::peer::{Ballot, NameState};

    use super::*;

    fn records(names: &[&str]) -> Vec<NamedRecord> {
        let state = NameState { version: 1, target: None, modified_ms: 0, changes: vec![] };
        let record = NameRecord { ballot: Ballot::default(), state };
        names.iter().map(|name| NamedRecord { name: (*name).into(), record: record.clone() }).collect()
    }

    /// Each of these would be asked again for ever, or be shown.
    #[test]
    fn a_list_that_was_not_asked_for_is_none() {
        let call = NamesCall::List { prefix: "m/".into(), after: Some("m/b".into()), limit: 2 };
        assert!(is_list(&records(&["m/c", "m/d"]), &call) && is_list(&[], &call));
        for wrong in
            [&["m/a"][..], &["m/b"], &["n/c"], &["m/d", "m/c"], &["m/c", "m/c"], &["m/c", "m/d", "m/e"], &["m/../x"], &["m/c\0"]]
        {
            assert!(!is_list(&records(wrong), &call), "{wrong:?}");
        }
    }
}
