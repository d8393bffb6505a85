//! Who asks, and whether they may: before anything is looked up, for every path.
//!
//! * `rules`: what each route needs; what is not in that table is for admins.
//! * `shown`: the token in a request's head, in each of its forms.
//! * `members`: nodes, and what they ask of each other.
//! * `site`: what browsers do for pages of others.
//! * `caller`: who asks, and what they may.
//! * `failures`: how often an address, or a token, failed.
//! * `audit`: what is written down.

mod audit;
mod caller;
mod failures;
mod members;
mod rules;
mod shown;
mod site;

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use metrics::counter;
use tokio::sync::watch;

use audit::{Doing, Entry};
pub(super) use caller::Caller;
use failures::{Failures, Verdict};
use rules::{Asked, Need, asked};
use shown::shown;
use site::{check_host, check_site};

use super::door::Guide;
use super::upload::turn_away;
use super::{ApiError, ErrorKind};
use crate::access::{Stranger, Tokens};

/// Requests that were refused for who sent them, by `reason`: `missing`, `malformed`, `unknown`, `expired`, `scope`, `prefix`, `site`,
/// `host`, `peer`, `certificate`.
const FAILURES: &str = "herring_http_auth_failures_total";

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

impl Guard {
    pub(super) fn new(tokens: Option<watch::Receiver<Arc<Tokens>>>, doors: Vec<Arc<Guide>>) -> Self {
        Self { tokens, failures: Failures::default(), doors }
    }

    fn door(&self, pattern: &str) -> Option<&Arc<Guide>> {
        self.doors.iter().find(|door| door.is_at(pattern))
    }

    /// Who asks. A good token is good whatever was tried before.
    fn caller(&self, request: &Request) -> Result<Caller, Refusal> {
        if let Some(node) = members::caller(request) {
            return check_site(request).map(|()| node);
        }
        let Some(tokens) = &self.tokens else { return check_page(request).map(|()| Caller::Anyone) };
        let shown = shown(request.headers())?;
        // No page makes a browser show the others.
        if shown.by_browser {
            check_site(request)?;
        }
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
        let node = || members::caller(request);
        members::check(request).map_err(|refusal| (node().unwrap_or(Caller::Stranger), refusal))?;
        match asked.need {
            Need::Member => {
                let caller = node().unwrap_or(Caller::Anyone);
                check_page(request).map(|()| caller.clone()).map_err(|refusal| (caller, refusal))
            }
            // It may be asked by all, and says less to who is not known: trying tokens there is trying them.
            Need::Nothing => Ok(self.caller(request).unwrap_or_else(|refusal| {
                let entry = Entry::of(request);
                if refusal.is_guess() && self.note(&entry, &Caller::Stranger, &refusal).tell {
                    entry.log(&Caller::Stranger, refusal.error.kind.status().as_u16());
                }
                Caller::Stranger
            })),
            Need::Scope(scope) => {
                let caller = self.caller(request).map_err(|refusal| (Caller::Stranger, refusal))?;
                caller.may(scope, &asked.resource).map(|()| caller.clone()).map_err(|refusal| (caller, refusal))
            }
        }
    }

    fn note(&self, entry: &Entry, caller: &Caller, refusal: &Refusal) -> Verdict {
        counter!(FAILURES, "reason" => refusal.reason).increment(1);
        match caller {
            Caller::Token(grant) => self.failures.note_token(grant.name(), Instant::now()),
            _ => self.failures.note(entry.from, refusal.is_guess(), Instant::now()),
        }
    }

    /// The answer to what is refused, in the words of its door.
    fn refuse(&self, entry: &Entry, caller: &Caller, refusal: Refusal, door: Option<&Guide>) -> Response {
        let verdict = self.note(entry, caller, &refusal);
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

/// Where nobody is asked who they are.
fn check_page(request: &Request) -> Result<(), Refusal> {
    check_host(request).and_then(|()| check_site(request))
}

/// Lets a request in, with its [`Caller`], or refuses it.
pub(super) async fn guard(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let pattern = request.extensions().get::<MatchedPath>().cloned();
    let pattern = pattern.as_ref().map_or("", MatchedPath::as_str);
    let door = guard.door(pattern);
    let (mut head, body) = request.into_parts();
    let asked = asked(pattern, &mut head, door.map(|door| &**door)).await;
    let mut request = Request::from_parts(head, body);
    match guard.admit(&request, &asked) {
        Ok(caller) => {
            let doing = asked.changes.then(|| Doing::new(Entry::of(&request), caller.clone()));
            request.extensions_mut().insert(caller);
            let response = next.run(request).await;
            doing.into_iter().for_each(|doing| doing.answered(response.status().as_u16()));
            response
        }
        Err((caller, refusal)) => {
            let response = guard.refuse(&Entry::of(&request), &caller, refusal, door.map(|door| &**door));
            turn_away(request).await;
            response
        }
    }
}
