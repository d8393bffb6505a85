use std::fmt;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;

use super::Refusal;
use crate::access::{Grant, Resource, Scope};
use crate::server::{ApiError, ErrorKind};
use crate::tls::Card;

/// Who asks: an extension of every request that was let in.
#[derive(Debug, Clone)]
pub(in crate::server) enum Caller {
    /// This node asks nobody who they are.
    Anyone,
    /// Showed nothing that this node knows, and asks what all may.
    Stranger,
    /// Showed a certificate of the swarm's authority.
    Node(Arc<Card>),
    Token(Arc<Grant>),
}

impl Caller {
    pub(super) fn may(&self, scope: Scope, resource: &Resource) -> Result<(), Refusal> {
        let grant = match self {
            Self::Anyone | Self::Node(_) => return Ok(()),
            Self::Stranger => return Err(Refusal::unauthorized("missing", super::shown::HOW)),
            Self::Token(grant) => grant,
        };
        let name = grant.name();
        if grant.scope() < scope {
            let detail =
                format!("the token {name:?} has the scope {}, and this needs {scope}: show one that has it", grant.scope());
            return Err(Refusal::forbidden("scope", detail));
        }
        if grant.covers(resource) {
            return Ok(());
        }
        let only = grant.only().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let detail =
            format!("the token {name:?} is for {only} alone, and this is not wholly within: show one that is not so limited");
        Err(Refusal::forbidden("prefix", detail))
    }

    /// Whether it may touch this besides what the route itself is about.
    pub(in crate::server) fn check(&self, scope: Scope, resource: &Resource) -> Result<(), ApiError> {
        self.may(scope, resource).map_err(|refusal| refusal.error)
    }

    /// Whether it may know how this node and the others are.
    pub(in crate::server) fn may_look(&self) -> bool {
        self.may(Scope::Read, &Resource::Everything).is_ok()
    }
}

/// As an audit names it.
impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anyone | Self::Stranger => f.write_str("anyone"),
            Self::Node(card) => match card.names().first() {
                Some(id) => write!(f, "node {id}"),
                None => write!(f, "node {card}"),
            },
            Self::Token(grant) => f.write_str(grant.name()),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    /// A route that was not guarded lets nobody in.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let forgotten = || ApiError::new(ErrorKind::Internal, "this node did not ask who you are, so it does not answer");
        parts.extensions.get::<Self>().cloned().ok_or_else(forgotten)
    }
}
