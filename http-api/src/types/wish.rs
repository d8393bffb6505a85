use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

/// How a put wants its blob kept: the query of `PUT /v1/blobs/{id}` and `POST /v1/blobs`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PutWish {
    /// How many nodes keep it; where it is not said, as many as the swarm's nodes are told. The highest number that any put of the same bytes asked for counts
    #[param(minimum = 1, maximum = 200)]
    pub replicas: Option<u8>,
    /// How many of them must have all of it on disk before the put is answered; where it is not said two, or all where there are fewer
    #[param(minimum = 1, maximum = 200)]
    pub ack: Option<u8>,
}

/// Why a put cannot be as it is wished.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PutWishError {
    #[error("{what} must be from 1 to {}, not {said}", PutWish::MAX_REPLICAS)]
    Figure { what: &'static str, said: String },
    #[error("ack={ack} would wait for more nodes than keep it, {replicas}: wait for fewer, or ask for more replicas")]
    TooFew { ack: u8, replicas: usize },
}

/// The same as it stands in a query: so what cannot be is told in our own words, and not in a parser's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct PutWishText {
    pub replicas: Option<String>,
    pub ack: Option<String>,
}

impl PutWishText {
    pub fn parse(self) -> Result<PutWish, PutWishError> {
        let figure = |what, said: Option<String>| {
            let parsed = said.map(|said| said.parse().map_err(|_| PutWishError::Figure { what, said: format!("{said:?}") }));
            parsed.transpose()
        };
        PutWish { replicas: figure("replicas", self.replicas)?, ack: figure("ack", self.ack)? }.check(None)
    }
}

impl PutWish {
    /// No swarm is as large that more would help; a byte of the store's layout holds it.
    pub const MAX_REPLICAS: u8 = 200;

    /// Fails where it is wished that more nodes confirm than keep it. `replicas`: as many as there are where none are wished, if that is known.
    pub fn check(self, replicas: Option<usize>) -> Result<Self, PutWishError> {
        for (what, said) in [("replicas", self.replicas), ("ack", self.ack)] {
            if let Some(said) = said.filter(|said| !(1..=Self::MAX_REPLICAS).contains(said)) {
                return Err(PutWishError::Figure { what, said: said.to_string() });
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
    fn what_is_no_figure_is_told_with_those_that_there_are() {
        let told = |said: &str| PutWishText { replicas: Some(said.to_owned()), ack: None }.parse().unwrap_err().to_string();
        assert_eq!(told("-1"), "replicas must be from 1 to 200, not \"-1\"");
        assert_eq!(told("0"), "replicas must be from 1 to 200, not 0");
        assert_eq!(PutWishText::default().parse(), Ok(PutWish::default()));
    }

    #[test]
    fn no_more_confirm_than_keep() {
        let check = |replicas, ack, usual| PutWish { replicas, ack }.check(usual).is_ok();
        assert!(check(None, None, Some(1)) && check(Some(2), Some(2), Some(1)) && check(None, Some(3), Some(3)));
        assert!(check(None, Some(3), None), "nobody said how many there are");
        assert!(!check(Some(2), Some(3), Some(5)) && !check(None, Some(4), Some(3)));
        assert!(!check(Some(0), None, None) && !check(Some(201), None, None) && !check(None, Some(0), None));
    }
}
