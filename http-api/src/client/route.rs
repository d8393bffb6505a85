use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Request;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::PeerConfig;
use super::answer::Answer;
use super::error::WireError;
use super::lane::{Dialer, Lane};
use super::link::{Link, SentBody};

/// For who waits as long as the asker does: a year.
pub(super) const NO_LIMIT: Duration = Duration::from_secs(365 * 24 * 3600);

/// What a request has to wait for, and who waits behind it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Turn {
    /// A small request, answered from memory.
    Control,
    /// A chunk, or a long body.
    Bulk,
    /// A commit: small, but it takes as long as a disk does.
    Commit,
}

/// The connections to one address: apart for each kind of request, so that the quick never queue behind the slow.
pub(super) struct Route {
    dialer: Arc<Dialer>,
    control: Arc<Lanes>,
    bulk: Arc<Lanes>,
    commit: Arc<Lanes>,
}

impl Route {
    /// To `target`, `host:port`, where the node of the id `whom` must be, if it is known. Nothing is dialled yet.
    pub(super) fn new(target: String, whom: Option<String>, config: &PeerConfig) -> Self {
        let dialer = Arc::new(Dialer::new(target, whom, config.clone()));
        let control = Lanes::new(&dialer, 1, config.control_streams, config);
        let bulk = Lanes::new(&dialer, config.bulk_connections.max(1), config.bulk_streams.max(1), config);
        let commit = Lanes::new(&dialer, 1, config.commit_streams.max(1), config);
        Self { dialer, control, bulk, commit }
    }

    pub(super) fn whom(&self) -> Option<&str> {
        self.dialer.whom()
    }

    /// What every URL there begins with.
    pub(super) fn base(&self) -> String {
        self.dialer.base()
    }

    pub(super) async fn seat(&self, turn: Turn) -> Seat {
        let lanes = match turn {
            Turn::Control => &self.control,
            Turn::Bulk => &self.bulk,
            Turn::Commit => &self.commit,
        };
        lanes.clone().seat().await
    }
}

/// Connections of one kind, and how many requests each carries.
struct Lanes {
    lanes: Vec<Lane>,
    load: Mutex<Vec<usize>>,
    /// As many as all lanes together may carry; who waits here is served in order.
    seats: Arc<Semaphore>,
    stall: Duration,
    window: u64,
}

impl Lanes {
    fn new(dialer: &Arc<Dialer>, count: usize, streams: usize, config: &PeerConfig) -> Arc<Self> {
        Arc::new(Self {
            lanes: (0..count).map(|_| Lane::new(dialer.clone())).collect(),
            load: Mutex::new(vec![0; count]),
            seats: Arc::new(Semaphore::new(count * streams)),
            stall: config.stall,
            window: u64::from(config.connection_window),
        })
    }

    async fn seat(self: Arc<Self>) -> Seat {
        let permit = self.seats.clone().acquire_owned().await.expect("the semaphore is never closed");
        let lane = self.take_idlest();
        Seat { lanes: self, lane, _permit: permit }
    }

    /// As there is a permit for each request, the idlest lane has room.
    fn take_idlest(&self) -> usize {
        let mut load = self.load.lock().unwrap_or_else(PoisonError::into_inner);
        let idlest = (0..load.len()).min_by_key(|&lane| load[lane]).expect("there is at least one lane");
        load[idlest] += 1;
        idlest
    }
}

/// The right to have one request under way.
pub(super) struct Seat {
    lanes: Arc<Lanes>,
    lane: usize,
    _permit: OwnedSemaphorePermit,
}

impl Seat {
    /// Sends the request and waits for the head. One that never left, because its connection had just been closed,
    /// is sent once more on a fresh one; for no other reason is anything sent twice.
    ///
    /// `patience`: a peer from whose connection nothing at all came for so long hangs. One that is merely busy answers pings, or is
    /// sending to us; it has [`PATIENCES`] times as long.
    pub(super) async fn send(self, mut request: Request<SentBody>, patience: Duration) -> Result<Answer, WireError> {
        let mut first = true;
        loop {
            let link = self.lanes.lanes[self.lane].link().await?;
            let under_way = link.begin();
            let Some(sent) = while_alive(&link, link.send(request), patience).await else {
                return Err(WireError::Broken(format!("no answer began within {} ms", patience.as_millis())));
            };
            match sent {
                Ok(response) => return Ok(Answer::new(response, link, self, under_way)),
                Err(mut error) => match error.take_message().filter(|_| first) {
                    Some(unsent) => request = unsent,
                    None => return Err(WireError::broken(error.error())),
                },
            }
            first = false;
        }
    }

    /// How long a body may pause.
    pub(super) fn stall(&self) -> Duration {
        self.lanes.stall
    }

    /// Bytes that may be under way on the connection.
    pub(super) fn window(&self) -> u64 {
        self.lanes.window
    }
}

/// How many times its patience an asker waits for who shows life, but does not begin to answer.
const PATIENCES: u32 = 5;

/// What is waited for; `None` where the connection brought nothing within `patience`.
async fn while_alive<T>(link: &Link, wanted: impl Future<Output = T>, patience: Duration) -> Option<T> {
    let (mut wanted, mut before) = (pin!(wanted), link.received());
    for _ in 0..PATIENCES {
        if let Ok(came) = timeout(patience, &mut wanted).await {
            return Some(came);
        }
        let now = link.received();
        if std::mem::replace(&mut before, now) == now {
            return None;
        }
    }
    None
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.lanes.load.lock().unwrap_or_else(PoisonError::into_inner)[self.lane] -= 1;
    }
}
