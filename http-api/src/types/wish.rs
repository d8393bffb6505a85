use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

/// How a put wants its blob kept: the query of `PUT /v1/blobs/{id}` and `POST /v1/blobs`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PutWish {
    /// How many nodes keep it; where it is not said, as many as the swarm's nodes are told
    #[param(minimum = 1, maximum = 200)]
    pub replicas: Option<u8>,
    /// How many of them must have all of it on disk before the put is answered; where it is not said two, or all where there are fewer
    #[param(minimum = 1, maximum = 200)]
    pub ack: Option<u8>,
}

/// Why a put cannot be as it is wished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PutWishError {
    #[error("{what} must be from 1 to {}, not {said}", PutWish::MAX_REPLICAS)]
    Figure { what: &'static str, said: u8 },
    #[error("ack={ack} would wait for more nodes than keep it, {replicas}: wait for fewer, or ask for more replicas")]
    TooFew { ack: u8, replicas: usize },
}

impl PutWish {
    /// No swarm is as large that more would help; a byte of the store's layout holds it.
    pub const MAX_REPLICAS: u8 = 200;

    /// Fails where it is wished that more nodes confirm than keep it. `replicas`: as many as there are where none are wished, if that is known.
    pub fn check(self, replicas: Option<usize>) -> Result<Self, PutWishError> {
        for (what, said) in [("replicas", self.replicas), ("ack", self.ack)] {
            if let Some(said) = said.filter(|said| !(1..=Self::MAX_REPLICAS).contains(said)) {
                return Err(PutWishError::Figure { what, said });
            }
        }
        match (self.ack, self.replicas.map(usize::from).or(replicas)) {
            (Some(ack), Some(replicas)) if usize::from(ack) > replicas => Err(PutWishError::TooFew { ack, replicas }),
            _ => Ok(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_confirm_than_keep() {
        let check = |replicas, ack, usual| PutWish { replicas, ack }.check(usual).is_ok();
        assert!(check(None, None, Some(1)) && check(Some(2), Some(2), Some(1)) && check(None, Some(3), Some(3)));
        assert!(check(None, Some(3), None), "nobody said how many there are");
        assert!(!check(Some(2), Some(3), Some(5)) && !check(None, Some(4), Some(3)));
        assert!(!check(Some(0), None, None) && !check(Some(201), None, None) && !check(None, Some(0), None));
    }
}
