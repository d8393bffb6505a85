//! What a new connection may ask, by how it came.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::Router;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;

use super::came::Came;
use super::{ApiError, ErrorKind, observe};
use crate::tls::{self, Accepted, ServerTls};

/// The first byte of every TLS connection; no HTTP begins with it.
const HANDSHAKE: u8 = 0x16;

pub(super) type Socket = Either<TcpStream, Accepted>;

/// A connection as it is spoken over, what it may ask, and how it came.
pub(super) struct Admitted {
    pub socket: Socket,
    pub router: Router,
    pub came: Came,
}

/// The door of a server.
pub(super) struct Entry {
    tls: Option<ServerTls>,
    all: Router,
    /// For who speaks in clear where TLS is spoken.
    refusing: Router,
    patience: Duration,
    closing: CancellationToken,
}

impl Entry {
    /// `patience`: how long a handshake may take.
    pub(super) fn new(all: Router, tls: Option<ServerTls>, patience: Duration, closing: CancellationToken) -> Self {
        Self { tls, all, refusing: Router::new().fallback(speak_tls), patience, closing }
    }

    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// `None` where it may ask nothing, or hung up without a word.
    pub(super) async fn admit(&self, stream: TcpStream, from: SocketAddr) -> Option<Admitted> {
        let Some(tls) = &self.tls else { return Some(self.in_clear(stream, &self.all, from)) };
        // Nothing was asked yet, so a shutdown need not wait.
        match self.closing.run_until_cancelled(timeout(self.patience, self.greet(tls, stream, from))).await? {
            Ok(Ok(admitted)) => admitted,
            Ok(Err(error)) => {
                observe::handshake("failed");
                tracing::debug!(error = tls::told(&error), "a TLS handshake failed");
                None
            }
            Err(_) => {
                observe::handshake("failed");
                tracing::debug!("a TLS handshake took too long");
                None
            }
        }
    }

    async fn greet(&self, tls: &ServerTls, stream: TcpStream, from: SocketAddr) -> io::Result<Option<Admitted>> {
        let mut first = [0];
        if stream.peek(&mut first).await? == 0 {
            return Ok(None);
        }
        if first[0] != HANDSHAKE {
            return Ok(Some(self.in_clear(stream, &self.refusing, from)));
        }
        let came = self.came(&stream, from);
        let (stream, shown) = tls.accept(stream).await?;
        observe::handshake(if tls::is_resumed(&stream) { "resumed" } else { "full" });
        let came = Came { shown: Some(shown), ..came };
        Ok(Some(Admitted { socket: Either::Right(stream), router: self.all.clone(), came }))
    }

    fn in_clear(&self, stream: TcpStream, router: &Router, from: SocketAddr) -> Admitted {
        let came = self.came(&stream, from);
        Admitted { socket: Either::Left(stream), router: router.clone(), came }
    }

    fn came(&self, stream: &TcpStream, from: SocketAddr) -> Came {
        // Unknown only where the connection is gone already.
        let to = stream.local_addr().map_or(Ipv4Addr::UNSPECIFIED.into(), |to| to.ip());
        Came { from, to: to.to_canonical(), shown: None, slots: Default::default(), leave: self.closing.child_token() }
    }
}

async fn speak_tls() -> ApiError {
    ApiError::new(ErrorKind::BadRequest, "this port speaks TLS: write https://, and give the swarm's authority (--ca FILE)")
}
