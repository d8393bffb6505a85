//! Nodes, which show certificates.

use axum::extract::Request;
use http::HeaderValue;

use super::{Caller, Refusal};
use crate::peer::FROM;
use crate::server::came::Came;
use crate::tls::{Member, Shown};

/// The node that a request is of.
fn member(request: &Request) -> Option<&Member> {
    match request.extensions().get()? {
        Came { shown: Some(Shown::Certificate(member)), .. } => Some(member),
        _ => None,
    }
}

/// Who asks by its certificate.
pub(super) fn caller(request: &Request) -> Option<Caller> {
    member(request).map(|member| Caller::Node(member.card().clone()))
}

/// What was shown when the connection began must be good still: where it is not, the connection ends with this answer. And what peers ask is for
/// who shows that it is one, and in its own name.
pub(super) fn check(request: &Request) -> Result<(), Refusal> {
    if let Some(why) = member(request).and_then(Member::distrust) {
        request.extensions().get().into_iter().for_each(|came: &Came| came.leave.cancel());
        return Err(Refusal::forbidden("certificate", format!("{why}: connect again with one that is good")));
    }
    let stranger = request.uri().path().starts_with("/peer/").then(|| disbelief(request)).flatten();
    stranger.map_or(Ok(()), |why| Err(Refusal::forbidden("peer", why)))
}

/// Why this is no question of the node that it says it is of.
fn disbelief(request: &Request) -> Option<String> {
    let member = match &request.extensions().get::<Came>()?.shown {
        // Nodes show nothing here.
        None | Some(Shown::Unasked) => return None,
        Some(Shown::Nothing) => {
            let why = "this is for nodes, which show a certificate of the swarm's authority; this connection showed none";
            return Some(why.to_owned());
        }
        Some(Shown::Certificate(member)) => member.card(),
    };
    match request.headers().get(FROM).map(HeaderValue::to_str) {
        Some(Ok(from)) if member.is_for(from) => None,
        Some(Ok(from)) => {
            Some(format!("this connection's certificate is for {member}, and not for {from:?}, whom its {FROM} names"))
        }
        _ => Some(format!("a node says its id in {FROM}; this connection's certificate is for {member}")),
    }
}
