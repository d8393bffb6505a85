//! Names: mutable pointers to blobs and trees. Each is a register at the owners of its point (`names/register.rs`); a read asks them all
//! and believes most of them, a change is two rounds to most of them (`names/round.rs`). What a node does for its peers is
//! `names/serve.rs`, who may change anything when nodes are missing `names/seen.rs`, and what happens when owners change `names/repair.rs`.

mod heard;
mod list;
mod register;
mod repair;
mod round;
mod seen;
mod serve;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use herring_blob::BlobId;
pub use herring_http_api::name::NameFault;
use herring_http_api::name::check_name;
use herring_http_api::peer::{NameState, NamesCall};
pub use herring_http_api::types::{Condition, NameInfo, NameList};
use herring_ring::Point;
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use self::heard::Heard;
use self::register::{Change, Outcome, Proposer};
use self::repair::Repair;
use self::seen::{Minority, Seen};
use crate::config::AGAIN;
use crate::flight::{Answer, Flights};
use crate::{Swarm, Tried};

/// Changes of one name take turns on one node, so that it does not outbid itself. Names that share a turn wait for each other.
const TURNS: usize = 64;

/// Why a name cannot be read or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("{name:?} cannot be a name: it {fault}")]
    Invalid { name: String, fault: NameFault },
    #[error("there is no name {name:?}")]
    NotFound { name: String },
    #[error("the name {name:?} was not changed: {why}")]
    Condition { name: String, why: String },
    #[error("this node has not met its swarm yet: wait until /readyz says so")]
    NotReady,
    #[error("names can be neither told nor changed here: {0}")]
    Minority(#[from] Minority),
    #[error("{what}: {tried}")]
    Unavailable { what: String, tried: Tried },
    #[error(
        "it cannot be told whether the name {name:?} was changed: others changed it many times meanwhile; look what it is, then try again"
    )]
    Unclear { name: String },
}

/// A name that was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamePut {
    pub info: NameInfo,
    /// Whether it pointed at nothing before.
    pub created: bool,
}

/// What a node keeps in memory about names.
pub(crate) struct Names {
    heard: Heard,
    asking: Arc<Flights<String, Answer<Result<NameInfo, NameError>>>>,
    turns: [Mutex<()>; TURNS],
    seen: Seen,
    repair: Repair,
}

impl Names {
    pub fn new(tasks: &TaskTracker, stop: &CancellationToken) -> Self {
        let asking = Flights::new(tasks.clone(), stop.clone());
        let turns = std::array::from_fn(|_| Mutex::new(()));
        Self { heard: Heard::default(), asking, turns, seen: Seen::default(), repair: Repair::default() }
    }
}

impl Swarm {
    /// What a name points at, as most of its owners say.
    pub async fn name(&self, name: &str) -> Result<NameInfo, NameError> {
        check(name)?;
        let state = self.read_name(name).await?;
        self.0.names.heard.note(name, state.as_ref());
        info(name, state)
    }

    /// The same, but what this node heard at most a second ago will do, and where too few owners answer, what it knew last.
    pub async fn name_now(&self, name: &str) -> Result<NameInfo, NameError> {
        check(name)?;
        if let Some(state) = self.0.names.heard.fresh(name) {
            return info(name, state);
        }
        let (swarm, asked) = (self.clone(), name.to_owned());
        let asking = self.0.names.asking.join(asked.clone(), move || async move { swarm.name(&asked).await });
        match asking.await.unwrap_or(Err(NameError::NotReady)) {
            Err(error @ (NameError::Unavailable { .. } | NameError::NotReady | NameError::Minority(_))) => {
                let known =
                    self.0.names.heard.last(name).or_else(|| self.register(name).ok()?.accepted.map(|one| Some(one.state)));
                known.map_or(Err(error), |state| info(name, state))
            }
            answer => answer,
        }
    }

    /// Points a name at a blob or a tree, which need not be there.
    pub async fn put_name(&self, name: &str, target: BlobId, condition: Condition) -> Result<NamePut, NameError> {
        let now_ms = now_ms();
        let change = Change { id: Uuid::new_v4(), target: Some(target), condition, now_ms };
        let (version, created) = self.change_name(name, change).await?;
        Ok(NamePut { info: NameInfo { name: name.to_owned(), target, version, modified_ms: now_ms }, created })
    }

    /// Lets a name point at nothing. What it pointed at stays.
    pub async fn delete_name(&self, name: &str, condition: Condition) -> Result<(), NameError> {
        let change = Change { id: Uuid::new_v4(), target: None, condition, now_ms: now_ms() };
        self.change_name(name, change).await.map(drop)
    }

    async fn change_name(&self, name: &str, change: Change) -> Result<(u64, bool), NameError> {
        check(name)?;
        self.check_majority()?;
        let mut state = NameState { version: 0, target: change.target, modified_ms: change.now_ms, changes: Vec::new() };
        let turn = &self.0.names.turns[usize::try_from(Point::of_name(name).as_u64() % TURNS as u64).unwrap_or(0)];
        let busy = || NameError::Unavailable { what: format!("too many change {name:?} on this node"), tried: Tried::default() };
        let turn = timeout(self.0.config.name_deadline, turn.lock()).await.map_err(|_| busy())?;
        // In a task of its own: a client that goes away does not stop it between its two rounds.
        let (swarm, asked) = (self.clone(), name.to_owned());
        let work = self.0.tasks.spawn(async move { swarm.make(&asked, change).await });
        let outcome = work.await.unwrap_or(Err(NameError::NotReady));
        drop(turn);
        match outcome? {
            Outcome::Changed { version, created } => {
                state.version = version;
                self.0.names.heard.note(name, Some(&state));
                Ok((version, created))
            }
            Outcome::Nothing => Err(NameError::NotFound { name: name.to_owned() }),
            Outcome::Refused(found) => Err(NameError::Condition { name: name.to_owned(), why: describe(found) }),
            Outcome::Unclear | Outcome::Is(_) => Err(NameError::Unclear { name: name.to_owned() }),
        }
    }

    /// What needs something to be there is looked for first: who is asked for a promise writes it down before it tells what it has, and promises about
    /// a name that never was would stay, met by no repair and read by each list.
    async fn make(&self, name: &str, change: Change) -> Result<Outcome, NameError> {
        if change.refusal(None).is_some()
            && let Some(refused) = change.refusal(self.read_name(name).await?.as_ref())
        {
            return Ok(refused);
        }
        self.settle(name, Proposer::change(change)).await
    }

    /// Once more where it fails for the moment: an owner that restarts is back within a second.
    async fn read_name(&self, name: &str) -> Result<Option<NameState>, NameError> {
        for pause in AGAIN {
            match self.read_name_once(name).await {
                Err(NameError::Unavailable { .. }) => sleep(pause).await,
                answer => return answer,
            }
        }
        self.read_name_once(name).await
    }

    async fn read_name_once(&self, name: &str) -> Result<Option<NameState>, NameError> {
        let panel = self.panel(name)?;
        let votes = self.poll(&panel, &NamesCall::Get { name: name.to_owned() }).await;
        // The rest of the swarm may know better than its smaller part, and only who would take less is told this.
        if let Err(cut_off) = self.check_majority() {
            if let Some(latest) = votes.latest() {
                self.0.names.heard.note(name, Some(&latest.state));
            }
            return Err(cut_off);
        }
        if !panel.are_most(votes.agreed()) {
            return Err(panel.too_few(format_args!("the name {name:?} cannot be read"), votes));
        }
        match votes.latest() {
            None => Ok(None),
            Some(latest) if panel.are_most(votes.held(latest)) => {
                self.teach(&panel, name, latest, &votes);
                Ok(Some(latest.state.clone()))
            }
            Some(_) => match self.settle(name, Proposer::look()).await? {
                Outcome::Is(state) => Ok(state),
                other => unreachable!("a look ends as one, not as {other:?}"),
            },
        }
    }

    /// Fails where this node may be of the smaller part of a swarm that fell apart.
    pub(crate) fn check_majority(&self) -> Result<(), NameError> {
        let view = self.view();
        if !view.settled() {
            return Err(NameError::NotReady);
        }
        self.note_members(&view);
        Ok(self.0.names.seen.check(&view, now_ms())?)
    }
}

fn check(name: &str) -> Result<(), NameError> {
    check_name(name).map_err(|fault| NameError::Invalid { name: name.chars().take(80).collect(), fault })
}

fn info(name: &str, state: Option<NameState>) -> Result<NameInfo, NameError> {
    let name = name.to_owned();
    match state {
        Some(NameState { version, target: Some(target), modified_ms, .. }) => Ok(NameInfo { name, target, version, modified_ms }),
        _ => Err(NameError::NotFound { name }),
    }
}

fn describe(found: Option<NameState>) -> String {
    match found {
        None => "it does not exist".to_owned(),
        Some(NameState { target: None, .. }) => "it was deleted".to_owned(),
        Some(state) => format!("it is at version {} now", state.version),
    }
}

fn now_ms() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}
