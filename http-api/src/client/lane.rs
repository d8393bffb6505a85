use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::PeerConfig;
use super::error::WireError;
use super::link::Link;

/// Dials one address for all its lanes, one at a time, and remembers the last failure for a while.
pub(super) struct Dialer {
    target: String,
    /// Which node must be there, where it is known.
    whom: Option<String>,
    config: PeerConfig,
    failed: tokio::sync::Mutex<Option<Failure>>,
}

struct Failure {
    at: Instant,
    detail: String,
}

impl Dialer {
    pub(super) fn new(target: String, whom: Option<String>, config: PeerConfig) -> Self {
        Self { target, whom, config, failed: tokio::sync::Mutex::new(None) }
    }

    pub(super) fn whom(&self) -> Option<&str> {
        self.whom.as_deref()
    }

    pub(super) fn base(&self) -> String {
        let scheme = if self.config.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.target)
    }

    /// A new connection. Whoever waited here while another dial failed is told of that one.
    async fn dial(&self) -> Opened {
        let mut failed = self.failed.lock().await;
        if let Some(failure) = failed.as_ref().filter(|failure| failure.at.elapsed() < self.config.redial_after) {
            return Err(format!("failed {} ms ago: {}", failure.at.elapsed().as_millis(), failure.detail));
        }
        let opened = Link::open(&self.target, self.whom(), &self.config).await;
        *failed = opened.as_ref().err().map(|detail| Failure { at: Instant::now(), detail: detail.clone() });
        opened.map(Arc::new)
    }
}

type Opened = Result<Arc<Link>, String>;

/// A place for one connection: opened on demand, by one dial that all who wait share, and replaced once it is closed.
pub(super) struct Lane {
    dialer: Arc<Dialer>,
    current: Mutex<Option<Attempt>>,
}

/// A dial, under way or done. It runs on its own, so that an asker who gives up does not end it for the others.
struct Attempt {
    opened: watch::Receiver<Option<Opened>>,
    _dial: AbortOnDropHandle<()>,
}

impl Lane {
    pub(super) fn new(dialer: Arc<Dialer>) -> Self {
        Self { dialer, current: Mutex::new(None) }
    }

    /// The open connection. Takes no longer than two dials: another lane's, and this one's; one more where what is shown was replaced meanwhile.
    pub(super) async fn link(&self) -> Result<Arc<Link>, WireError> {
        match self.open().await? {
            link if link.is_outdated() => self.open().await,
            link => Ok(link),
        }
    }

    async fn open(&self) -> Result<Arc<Link>, WireError> {
        let mut opened = self.attempt();
        let opened = opened.wait_for(Option::is_some).await.map(|opened| opened.clone());
        match opened {
            Ok(Some(opened)) => opened.map_err(WireError::Connect),
            // The lane, and with it the dial, was dropped under the asker.
            _ => Err(WireError::Connect("the dial was given up".to_owned())),
        }
    }

    fn attempt(&self) -> watch::Receiver<Option<Opened>> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let usable = current.as_ref().filter(|attempt| attempt.is_usable()).map(|attempt| attempt.opened.clone());
        usable.unwrap_or_else(|| current.insert(Attempt::start(self.dialer.clone())).opened.clone())
    }
}

impl Attempt {
    fn start(dialer: Arc<Dialer>) -> Self {
        let (done, opened) = watch::channel(None);
        let dial = tokio::spawn(async move {
            done.send_replace(Some(dialer.dial().await));
        });
        Self { opened, _dial: AbortOnDropHandle::new(dial) }
    }

    fn is_usable(&self) -> bool {
        match &*self.opened.borrow() {
            None => true,
            Some(Ok(link)) => !link.is_closed() && !link.is_outdated(),
            Some(Err(_)) => false,
        }
    }
}
