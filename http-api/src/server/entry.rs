//! What a new connection may ask, by how it came.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;

use super::came::Came;
use super::{ApiError, ErrorKind, observe};
use crate::tls::{self, Accepted, ServerTls, Shown};

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
    /// What people may ask, where peers must show who they are.
    public: Router,
    /// For who speaks in clear where TLS is spoken.
    refusing: Router,
    patience: Duration,
    closing: CancellationToken,
}

impl Entry {
    /// `patience`: how long a handshake may take.
    pub(super) fn new(all: Router, tls: Option<ServerTls>, patience: Duration, closing: CancellationToken) -> Self {
        let public = all.clone().layer(from_fn(no_peers));
        Self { tls, all, public, refusing: Router::new().fallback(speak_tls), patience, closing }
    }

    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// `None` where it may ask nothing, or hung up without a word.
    pub(super) async fn admit(&self, stream: TcpStream, from: SocketAddr) -> Option<Admitted> {
        let Some(tls) = &self.tls else { return Some(in_clear(stream, &self.all, from)) };
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
            return Ok(Some(in_clear(stream, &self.refusing, from)));
        }
        let stream = tls.accept(stream).await?;
        observe::handshake(if tls::is_resumed(&stream) { "resumed" } else { "full" });
        let shown = tls::shown(&stream);
        let may_be_peer = !tls.asks_clients() || matches!(shown, Shown::Certificate(_));
        let router = if may_be_peer { &self.all } else { &self.public }.clone();
        Ok(Some(Admitted { socket: Either::Right(stream), router, came: Came { from, shown: Some(shown) } }))
    }
}

fn in_clear(stream: TcpStream, router: &Router, from: SocketAddr) -> Admitted {
    Admitted { socket: Either::Left(stream), router: router.clone(), came: Came { from, shown: None } }
}

async fn no_peers(request: Request, next: Next) -> Response {
    if request.uri().path().starts_with("/peer/") {
        let detail = "this is for nodes, which show a certificate of the swarm's authority; this connection showed none";
        return ApiError::new(ErrorKind::Forbidden, detail).into_response();
    }
    next.run(request).await
}

async fn speak_tls() -> ApiError {
    ApiError::new(ErrorKind::BadRequest, "this port speaks TLS: write https://, and give the swarm's authority (--ca FILE)")
}
