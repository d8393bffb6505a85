//! What a new connection may ask, by how it came.

use std::io;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;

use super::observe;
use super::{ApiError, ErrorKind};
use crate::tls::{self, Accepted, ServerTls};

/// The first byte of every TLS connection; no HTTP begins with it.
const HANDSHAKE: u8 = 0x16;

pub(super) type Socket = Either<TcpStream, Accepted>;

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
        Self { tls, all, public, refusing: Router::new().fallback(in_clear), patience, closing }
    }

    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// The connection as it is spoken over, and what it may ask; `None` where it may ask nothing, or hung up without a word.
    pub(super) async fn admit(&self, stream: TcpStream) -> Option<(Socket, Router)> {
        let Some(tls) = &self.tls else { return Some((Either::Left(stream), self.all.clone())) };
        // Nothing was asked yet, so a shutdown need not wait.
        match self.closing.run_until_cancelled(timeout(self.patience, self.greet(tls, stream))).await? {
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

    async fn greet(&self, tls: &ServerTls, stream: TcpStream) -> io::Result<Option<(Socket, Router)>> {
        let mut first = [0];
        if stream.peek(&mut first).await? == 0 {
            return Ok(None);
        }
        if first[0] != HANDSHAKE {
            return Ok(Some((Either::Left(stream), self.refusing.clone())));
        }
        let stream = tls.accept(stream).await?;
        observe::handshake(if tls::is_resumed(&stream) { "resumed" } else { "full" });
        let may_be_peer = !tls.asks_clients() || tls::is_peer(&stream);
        Ok(Some((Either::Right(stream), if may_be_peer { &self.all } else { &self.public }.clone())))
    }
}

async fn no_peers(request: Request, next: Next) -> Response {
    if request.uri().path().starts_with("/peer/") {
        let detail = "this is for nodes, which show a certificate of the swarm's authority; this connection showed none";
        return ApiError::new(ErrorKind::Forbidden, detail).into_response();
    }
    next.run(request).await
}

async fn in_clear() -> ApiError {
    ApiError::new(ErrorKind::BadRequest, "this port speaks TLS: write https://, and give the swarm's authority (--ca FILE)")
}
