//! What a new connection may ask, by how it came.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;

use super::came::Came;
use super::{ApiError, ErrorKind, observe};
use crate::peer::FROM;
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
    /// For who speaks in clear where TLS is spoken.
    refusing: Router,
    patience: Duration,
    closing: CancellationToken,
}

impl Entry {
    /// `patience`: how long a handshake may take.
    pub(super) fn new(all: Router, tls: Option<ServerTls>, patience: Duration, closing: CancellationToken) -> Self {
        let asks_clients = tls.as_ref().is_some_and(ServerTls::asks_clients);
        let all = if asks_clients { all.layer(from_fn(members_alone)) } else { all };
        Self { tls, all, refusing: Router::new().fallback(speak_tls), patience, closing }
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
        let came = Came { from, shown: Some(tls::shown(&stream)?) };
        Ok(Some(Admitted { socket: Either::Right(stream), router: self.all.clone(), came }))
    }
}

fn in_clear(stream: TcpStream, router: &Router, from: SocketAddr) -> Admitted {
    Admitted { socket: Either::Left(stream), router: router.clone(), came: Came { from, shown: None } }
}

/// What peers ask is for who shows that it is one, and in its own name.
async fn members_alone(request: Request, next: Next) -> Response {
    let stranger = request.uri().path().starts_with("/peer/").then(|| disbelief(&request)).flatten();
    match stranger {
        Some(why) => {
            let from = request.extensions().get::<Came>().map(|came| came.from);
            tracing::debug!(?from, why, "refused to answer as to a peer");
            ApiError::new(ErrorKind::Forbidden, why).into_response()
        }
        None => next.run(request).await,
    }
}

/// Why this is no question of the node that it says it is of.
fn disbelief(request: &Request) -> Option<String> {
    let Some(Came { shown: Some(Shown::Certificate(card)), .. }) = request.extensions().get() else {
        return Some(
            "this is for nodes, which show a certificate of the swarm's authority; this connection showed none".to_owned(),
        );
    };
    match request.headers().get(FROM).map(HeaderValue::to_str) {
        Some(Ok(from)) if card.is_for(from) => None,
        Some(Ok(from)) => {
            Some(format!("this connection's certificate is for {card}, and not for {from:?}, whom its {FROM} names"))
        }
        _ => Some(format!("a node says its id in {FROM}; this connection's certificate is for {card}")),
    }
}

async fn speak_tls() -> ApiError {
    ApiError::new(ErrorKind::BadRequest, "this port speaks TLS: write https://, and give the swarm's authority (--ca FILE)")
}
