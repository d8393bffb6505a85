//! Who may ask a node for what: tokens, their scopes, and the prefixes that limit them. docs/adr/0027-tokens.md says why.
//!
//! [`Token`] is the secret itself, which programs show. A node keeps [`Tokens`]: digests alone, each with its [`Grant`].

#[cfg(feature = "server")]
mod grant;
#[cfg(feature = "server")]
mod prefix;
#[cfg(feature = "server")]
mod resource;
mod token;
#[cfg(feature = "server")]
mod tokens;

#[cfg(feature = "server")]
pub use grant::{Digest, Grant, GrantError, Scope, ScopeError};
#[cfg(feature = "server")]
pub use prefix::{Prefix, PrefixError};
#[cfg(feature = "server")]
pub use resource::Resource;
pub use token::{Token, TokenError};
#[cfg(feature = "server")]
pub use tokens::{Stranger, Tokens};
