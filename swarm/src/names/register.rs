//! What a name's versions rest on, without any I/O: a register per name (CASPaxos), kept by each of its owners.
//!
//! A round has most owners promise a ballot, takes the latest of what all who answer have accepted, and has most owners accept something
//! under that ballot: the next version where most owners hold this latest, under one ballot; else the latest itself, and the next version
//! is for another round. Beyond the textbook, records rank by their version before their ballot, and no owner goes back to a lower version:
//! owners change here without anyone agreeing on it, and a node that comes back with an old record, however high its ballot, must not win.
//!
//! Why what is acknowledged stays, while owners are the same. A record is *chosen* once most owners have accepted it under its one ballot;
//! only what is chosen is acknowledged or read. Let R be chosen under ballot b. Then whatever is proposed under a ballot c above b is R's
//! state or comes from it:
//!
//! 1. Suppose it of all ballots below c. The round of c asked an owner X of those who accepted R, and X accepted R before it promised c.
//!    No owner goes back, so the latest L that the round saw ranks no lower than R. Its ballot is below c: who accepted under more has
//!    promised more, and stops the round.
//! 2. If L's ballot is above b, it comes from R by what is supposed; if it is b, L is R.
//! 3. If it is below b, L has a higher version than R. A state is made once, on a chosen one, and only handed on after that: so there is a
//!    state K, one version before L, chosen under a ballot below L's and thus below b. By what is supposed, with K for R and b for c, R comes
//!    from K or is K's state. Its version is at least K's and below L's, which leaves K's: R is K's state, and L comes from it.
//! 4. The round proposes L's state or what comes next of it.
//!
//! Step 3 is what the rank costs, and why nothing is made on what is not chosen: with two versions piled up on one owner that nobody else
//! has, the second would outrank a first that the others chose later, and come from another.

use std::cmp::Ordering;

use herring_blob::BlobId;
use herring_http_api::peer::{Ballot, NameRecord, NameState};
use herring_http_api::types::Condition;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Changes that a state remembers, 40 bytes each. While one waits between two tries, others may go on: at 12 ms a change, for a fifth of a second.
const REMEMBERED: usize = 16;

/// What an owner keeps of one name, on its disk before it answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Register {
    pub promised: Ballot,
    pub accepted: Option<NameRecord>,
}

/// Where no clock was ever set: a change a millisecond for 35 years.
const FEWEST: u64 = 1 << 40;
/// Numbers that all programs read alike in JSON.
const MOST: u64 = 1 << 53;
/// Bytes of a ballot's node: its id and a UUID are below 100.
const MAX_NODE: usize = 256;

/// What a ballot's counter and a version can have come to by now, milliseconds since 1970: a change a microsecond since then. No swarm comes here. Whoever
/// says more means to use the numbers up; and whoever says as much has not, as there are a thousand more a millisecond later, for all who come after.
/// The bound is the same for all owners, but for their clocks: were it what each of them knows, and some more, then those who were away could not take
/// what the others agreed on.
fn most(now_ms: u64) -> u64 {
    now_ms.saturating_mul(1000).clamp(FEWEST, MOST)
}

/// Whether somebody honest can have such a ballot.
pub(super) fn can_be(ballot: &Ballot, now_ms: u64) -> bool {
    ballot.counter <= most(now_ms) && ballot.node.len() <= MAX_NODE
}

/// Whether a register can have come to this.
pub(super) fn is_record(record: &NameRecord, now_ms: u64) -> bool {
    can_be(&record.ballot, now_ms) && record.state.version <= most(now_ms) && record.state.changes.len() <= REMEMBERED
}

/// Later versions before earlier ones; of one version, the higher ballot.
pub(super) fn rank(one: &NameRecord, other: &NameRecord) -> Ordering {
    let key = |record: &NameRecord| record.state.version;
    key(one).cmp(&key(other)).then_with(|| one.ballot.cmp(&other.ballot))
}

impl Register {
    /// Promises to accept nothing below this ballot; false where more was promised.
    pub fn prepare(&mut self, ballot: &Ballot, now_ms: u64) -> bool {
        let done = can_be(ballot, now_ms) && *ballot >= self.promised;
        if done {
            self.promised = ballot.clone();
        }
        done
    }

    /// Accepts a record; false where more was promised, or something later is here.
    pub fn accept(&mut self, record: &NameRecord, now_ms: u64) -> bool {
        let done = is_record(record, now_ms) && record.ballot >= self.promised && !self.is_after(record);
        if done {
            self.promised = record.ballot.clone();
            self.accepted = Some(record.clone());
        }
        done
    }

    /// Whether what is accepted here is not below this.
    pub fn has(&self, record: &NameRecord) -> bool {
        self.accepted.as_ref().is_some_and(|here| rank(here, record).is_ge())
    }

    fn is_after(&self, record: &NameRecord) -> bool {
        self.accepted.as_ref().is_some_and(|here| rank(here, record).is_gt())
    }
}

/// What is to become of a name.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub id: Uuid,
    /// `None`: it is deleted.
    pub target: Option<BlobId>,
    pub condition: Condition,
    /// When it was asked for, milliseconds since 1970.
    pub now_ms: u64,
}

/// How a change, or a look, ended once what was proposed is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A look: what the name is.
    Is(Option<NameState>),
    /// The change is this version.
    Changed { version: u64, created: bool },
    /// There is nothing to delete.
    Nothing,
    /// The condition does not hold of this.
    Refused(Option<NameState>),
    /// Others changed the name so often meanwhile that it cannot be told any more whether this change was one of them.
    Unclear,
}

/// One change, or look, over all its tries.
#[derive(Debug)]
pub(super) struct Proposer {
    change: Option<Change>,
    /// The last version that an owner may have accepted of this change, and whether it was a new name then.
    tried: Option<(u64, bool)>,
    /// Whether it was so before the last proposal already.
    tried_before: bool,
}

/// What to have accepted, and what is then so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Proposal {
    /// `None`: there is nothing to accept.
    pub state: Option<NameState>,
    /// `None`: the change can be made on this, under another ballot.
    pub outcome: Option<Outcome>,
}

impl Proposer {
    pub fn change(change: Change) -> Self {
        Self { change: Some(change), tried: None, tried_before: false }
    }

    /// Makes sure that most owners have what the name is.
    pub fn look() -> Self {
        Self { change: None, tried: None, tried_before: false }
    }

    /// No owner took what was proposed last, each asked once, and none will. Unless an earlier try is still on its way somewhere, nothing of this change
    /// is anywhere.
    pub fn refused_by_all(&mut self) {
        self.tried = self.tried.filter(|_| self.tried_before);
    }

    /// Goes on from the latest of what all who answered had accepted when most owners had promised; `chosen`: most owners hold just that.
    pub fn propose(&mut self, latest: Option<&NameState>, chosen: bool) -> Proposal {
        self.tried_before = self.tried.is_some();
        let outcome = self.ends_with(latest);
        if let Some(latest) = latest
            && !chosen
        {
            return Proposal { state: Some(latest.clone()), outcome };
        }
        match (&self.change, outcome) {
            (Some(change), None) => {
                let (state, created) = (change.after(latest), !points(latest));
                let version = state.version;
                self.tried = Some((version, created));
                Proposal { state: Some(state), outcome: Some(Outcome::Changed { version, created }) }
            }
            (_, outcome) => Proposal { state: None, outcome },
        }
    }

    /// How it ends where this is what the name is; `None`: with a change of it.
    fn ends_with(&self, latest: Option<&NameState>) -> Option<Outcome> {
        let Some(change) = &self.change else { return Some(Outcome::Is(latest.cloned())) };
        if let (Some((tried, created)), Some(latest)) = (self.tried, latest) {
            if let Some(version) = version_of(latest, change.id) {
                return Some(Outcome::Changed { version, created });
            }
            if forgotten(latest) >= tried {
                return Some(Outcome::Unclear);
            }
        }
        change.refusal(latest)
    }
}

impl Change {
    /// How it ends where it cannot be made on this.
    pub fn refusal(&self, latest: Option<&NameState>) -> Option<Outcome> {
        let exists = points(latest);
        let holds = match self.condition {
            Condition::Always | Condition::Absent if self.target.is_none() && !exists => return Some(Outcome::Nothing),
            Condition::Always => true,
            Condition::Version(version) => exists && latest.is_some_and(|latest| latest.version == version),
            Condition::Exists => exists,
            Condition::Absent => !exists,
        };
        (!holds).then(|| Outcome::Refused(latest.cloned()))
    }

    fn after(&self, latest: Option<&NameState>) -> NameState {
        let before = latest.map_or(&[][..], |latest| &latest.changes);
        let changes = [self.id].into_iter().chain(before.iter().copied()).take(REMEMBERED).collect();
        let version = latest.map_or(0, |latest| latest.version) + 1;
        NameState { version, target: self.target, modified_ms: self.now_ms, changes }
    }
}

fn points(latest: Option<&NameState>) -> bool {
    latest.is_some_and(|latest| latest.target.is_some())
}

/// The version that this change made, if it is one of those that led here.
fn version_of(latest: &NameState, change: Uuid) -> Option<u64> {
    let back = latest.changes.iter().position(|id| *id == change)?;
    latest.version.checked_sub(back as u64)
}

/// The last version of which it is not known any more which change made it.
fn forgotten(latest: &NameState) -> u64 {
    latest.version.saturating_sub(latest.changes.len() as u64)
}

#[cfg(test)]
mod tests;
