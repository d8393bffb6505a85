//! Origins behind one interface: whatever is the truth for its keys, be it a directory or a bucket.
//!
//! An [`Origin`] answers three questions about a key: what is it now ([`head`](Origin::head)), which bytes has this
//! version of it ([`read`](Origin::read)), and what lies below it ([`list`](Origin::list)). A new kind of origin is one
//! implementation of the private `Backend` trait and one line in `backend.rs`.

mod backend;
mod bucket;
mod directory;
mod error;
mod key;
mod metrics;
mod origin;
mod origins;
mod question;
mod s3;
mod spec;

pub use error::{ConfigError, OriginError};
pub use key::KeyError;
pub use origin::{DEADLINE, Listed, MAX_LISTED, ObjectInfo, Origin, Parts};
pub use origins::Origins;
pub use spec::OriginSpec;
