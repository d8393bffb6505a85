//! Who asks, and whether they may: before anything is looked up, for every path but the peers'.
//!
//! * `rules`: what each route needs; what is not in that table is for admins.
//! * `shown`: the token in a request's head, in each of its forms.
//! * `caller`: who asks, and what they may.
//! * `failures`: how often an address failed.

mod caller;
mod failures;
mod rules;
mod shown;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use metrics::counter;
use tokio::sync::watch;

pub(super) use caller::Caller;
use failures::{Failures, Verdict};
use rules::{Asked, Need, asked};
use shown::shown;

use super::came::Came;
use super::door::Guide;
use super::observe::label;
use super::upload::turn_away;
use super::{ApiError, ErrorKind};
use crate::access::{Stranger, Tokens};
use crate::tls::Shown;

/// Requests that were refused for who sent them, by `reason`: `missing`, `malformed`, `unknown`, `expired`, `scope`, `prefix`, `site`.
const FAILURES: &str = "herring_http_auth_failures_total";

/// Bytes of a path that are logged; a path may have 64 KiB.
const LOGGED: usize = 256;

/// What routes of peers are below: they ask for certificates, see `entry.rs`.
const PEERS: &str = "/peer/v1/";

/// The door-keeper of a router.
pub(super) struct Guard {
    /// `None`: everybody may everything.
    tokens: Option<watch::Receiver<Arc<Tokens>>>,
    failures: Failures,
    doors: Vec<Arc<Guide>>,
}

/// Why a request is refused.
pub(super) struct Refusal {
    reason: &'static str,
    error: ApiError,
}

impl Refusal {
    fn unauthorized(reason: &'static str, detail: &str) -> Self {
        Self { reason, error: ApiError::new(ErrorKind::Unauthorized, detail) }
    }

    fn forbidden(reason: &'static str, detail: String) -> Self {
        Self { reason, error: ApiError::new(ErrorKind::Forbidden, detail) }
    }

    /// Whether somebody showed what opens nothing: tried too often, it is a search for what does.
    fn is_guess(&self) -> bool {
        self.error.kind == ErrorKind::Unauthorized && self.reason != "missing"
    }
}

/// What is written down of a request that changes something, or is refused.
struct Entry {
    from: IpAddr,
    method: &'static str,
    resource: String,
}

impl Entry {
    fn of(request: &Request) -> Self {
        let from = request.extensions().get::<Came>().map_or(Ipv4Addr::UNSPECIFIED.into(), |came| came.from.ip());
        // As it came, percent-encoded: no line can be made of it. A query may hold what is nobody's business.
        let resource = request.uri().path().chars().take(LOGGED).collect();
        Self { from: from.to_canonical(), method: label(request.method()), resource }
    }

    fn log(&self, who: &Caller, status: u16) {
        let Self { from, method, resource } = self;
        tracing::info!(target: "audit", %who, %from, method, resource, status);
    }
}

impl Guard {
    pub(super) fn new(tokens: Option<watch::Receiver<Arc<Tokens>>>, doors: Vec<Arc<Guide>>) -> Self {
        Self { tokens, failures: Failures::default(), doors }
    }

    fn door(&self, pattern: &str) -> Option<&Arc<Guide>> {
        self.doors.iter().find(|door| door.is_at(pattern))
    }

    /// Who asks. A good token is good whatever was tried before.
    fn caller(&self, request: &Request) -> Result<Caller, Refusal> {
        let Some(tokens) = &self.tokens else { return Ok(Caller::Anyone) };
        if let Some(Came { shown: Some(Shown::Certificate(card)), .. }) = request.extensions().get() {
            return Ok(Caller::Node(Arc::clone(card)));
        }
        let shown = shown(request.headers())?;
        shown.check_site(request)?;
        let tokens = Arc::clone(&tokens.borrow());
        let grant = tokens.find(&shown.token, SystemTime::now()).map_err(|stranger| match stranger {
            Stranger::Unknown => Refusal::unauthorized(
                "unknown",
                "this node does not know the token that was shown: it was removed, or is another swarm's",
            ),
            Stranger::Expired => {
                Refusal::unauthorized("expired", "the token that was shown has expired; ask for a new one (herring token new)")
            }
        })?;
        Ok(Caller::Token(Arc::clone(grant)))
    }

    fn admit(&self, request: &Request, asked: &Asked) -> Result<Caller, (Caller, Refusal)> {
        let caller = match (self.caller(request), asked.need) {
            (Ok(caller), _) => caller,
            // It may be asked by all, and says less to who is not known: trying tokens there is trying them.
            (Err(refusal), Need::Nothing) => {
                if refusal.is_guess() {
                    self.note(&Entry::of(request), &refusal);
                }
                return Ok(Caller::Stranger);
            }
            (Err(refusal), Need::Scope(_)) => return Err((Caller::Stranger, refusal)),
        };
        match asked.need {
            Need::Nothing => Ok(caller),
            Need::Scope(scope) => {
                caller.may(scope, &asked.resource).map(|()| caller.clone()).map_err(|refusal| (caller, refusal))
            }
        }
    }

    fn note(&self, entry: &Entry, refusal: &Refusal) -> Verdict {
        counter!(FAILURES, "reason" => refusal.reason).increment(1);
        self.failures.note(entry.from, refusal.is_guess(), Instant::now())
    }

    /// The answer to what is refused, in the words of its door.
    fn refuse(&self, entry: &Entry, caller: &Caller, refusal: Refusal, door: Option<&Guide>) -> Response {
        let verdict = self.note(entry, &refusal);
        let error = match verdict.wait {
            None => refusal.error,
            Some(wait) => ApiError::new(
                ErrorKind::TooManyFailures,
                "too many wrong tokens were shown from this address; a right one is taken at once",
            )
            .retry_after(wait),
        };
        if verdict.tell {
            entry.log(caller, error.kind.status().as_u16());
        }
        match door {
            Some(door) => door.refuse(error),
            None => error.into_response(),
        }
    }
}

/// Lets a request in, with its [`Caller`], or refuses it.
pub(super) async fn guard(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let pattern = request.extensions().get::<MatchedPath>().cloned();
    let pattern = pattern.as_ref().map_or("", MatchedPath::as_str);
    if pattern.starts_with(PEERS) {
        return next.run(request).await;
    }
    let door = guard.door(pattern);
    let (mut head, body) = request.into_parts();
    let asked = asked(pattern, &mut head, door.map(|door| &**door)).await;
    let mut request = Request::from_parts(head, body);
    match guard.admit(&request, &asked) {
        Ok(caller) => {
            let entry = asked.changes.then(|| Entry::of(&request));
            request.extensions_mut().insert(caller.clone());
            let response = next.run(request).await;
            entry.inspect(|entry| entry.log(&caller, response.status().as_u16()));
            response
        }
        Err((caller, refusal)) => {
            let response = guard.refuse(&Entry::of(&request), &caller, refusal, door.map(|door| &**door));
            turn_away(request).await;
            response
        }
    }
}
