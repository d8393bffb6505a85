//! Origins behind one interface: whatever is the truth for its keys, be it a directory or a bucket.
//!
//! An [`Origin`] answers three questions about a key: what is it now ([`head`](Origin::head)), which bytes has this
//! version of it ([`read`](Origin::read)), and what lies below it ([`list`](Origin::list)). It asks again where that helps, and
//! leaves an origin alone that says it has too much to do ([`held`](Origin::held)). A new kind of origin is one implementation of
//! the private `Backend` trait and one line in `backend.rs`.

mod above;
mod azure;
mod backend;
mod bucket;
mod cloud;
mod directory;
mod error;
mod gcs;
mod hold;
mod https;
mod hub;
mod index;
mod key;
mod listing;
mod metrics;
mod names;
mod origin;
mod origins;
mod page;
mod question;
mod retry;
mod s3;
mod shelf;
mod spec;
mod web;

pub use error::{ConfigError, OriginError};
pub use hold::Hold;
pub use key::KeyError;
pub use origin::{DEADLINE, Lifetime, ObjectInfo, Origin, Parts};
pub use origins::Origins;
pub use page::{Listed, PAGE, Page};
pub use spec::OriginSpec;
