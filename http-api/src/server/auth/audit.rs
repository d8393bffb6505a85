use std::net::{IpAddr, Ipv4Addr};
use std::thread;

use axum::extract::Request;

use super::Caller;
use crate::server::came::Came;
use crate::server::observe::label;

/// Bytes of a path that are logged; a path may have 64 KiB.
const LOGGED: usize = 256;

/// What is written down of a request that changes something, or is refused.
pub(super) struct Entry {
    pub from: IpAddr,
    method: &'static str,
    resource: String,
}

impl Entry {
    pub(super) fn of(request: &Request) -> Self {
        let from = request.extensions().get::<Came>().map_or(Ipv4Addr::UNSPECIFIED.into(), |came| came.from.ip());
        // As it came, percent-encoded: no line can be made of it. A query may hold what is nobody's business.
        let resource = request.uri().path().chars().take(LOGGED).collect();
        Self { from: from.to_canonical(), method: label(request.method()), resource }
    }

    pub(super) fn log(&self, who: &Caller, status: u16) {
        let Self { from, method, resource } = self;
        let why = (status == 0).then_some("the client left before it was answered; it may have happened");
        tracing::info!(target: "audit", %who, %from, method, resource, status, why);
    }
}

/// A request that changes something, while it does: told when it is dropped, however that comes about.
pub(super) struct Doing {
    entry: Entry,
    who: Caller,
    status: Option<u16>,
}

impl Doing {
    pub(super) fn new(entry: Entry, who: Caller) -> Self {
        Self { entry, who, status: None }
    }

    pub(super) fn answered(mut self, status: u16) {
        self.status = Some(status);
    }
}

impl Drop for Doing {
    fn drop(&mut self) {
        // What panics is answered with 500 further out.
        let status = self.status.unwrap_or(if thread::panicking() { 500 } else { 0 });
        self.entry.log(&self.who, status);
    }
}
