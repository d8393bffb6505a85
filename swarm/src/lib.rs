//! The engine: puts bytes to their owners, reads them from wherever they are nearest, and keeps what it read.
//!
//! A read goes local disk → owners on the ring → origin; see `read.rs` and `fetch.rs`. A put goes to all owners at
//! once while the body still arrives, the manifest last; see `put.rs`. What this node answers its peers is `serve.rs`.

mod ahead;
mod ask;
mod ballot;
mod candidates;
mod config;
mod content;
mod custody;
mod cut;
mod error;
mod explain;
mod fates;
mod fetch;
mod flight;
mod give;
mod givers;
mod health;
mod jobs;
mod landing;
mod local;
mod memory;
mod meta;
mod metrics;
mod names;
mod open;
mod pins;
mod profile;
mod proof;
mod put;
mod race;
mod read;
mod readers;
mod remove;
mod run;
mod serve;
mod streams;
mod swarm;
mod tracker;
mod trees;

pub use config::SwarmConfig;
pub use content::{Content, Source};
pub use error::{Attempt, OpenError, PutError, ReadError, RemoveError, Tried};
pub use herring_http_api::types::Custody;
pub use herring_origin::{Listed, Page};
pub use herring_store::Usage;
pub use jobs::JobError;
pub use meta::Found;
pub use names::{Condition, NameError, NameFault, NameInfo, NameList, NamePut};
pub use pins::PinError;
pub use put::{Put, PutOptions};
pub use serve::ServeError;
pub use swarm::{LocalBlob, Swarm};
pub use trees::OpenTree;
