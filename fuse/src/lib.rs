//! The kernel's view: blobs and origins as read-only files below one directory.
//!
//! `fs.rs` is the filesystem: inodes, listings and reads, with no kernel in sight; `tree.rs` is what its names mean. `adapter.rs` translates the
//! kernel's requests to it, `mount.rs` makes the mount and takes it away, `errno.rs` is the only place that knows which
//! failure is which errno.
//!
//! | path | what |
//! | --- | --- |
//! | `blobs/<64 hex digits>` | any blob of the swarm; the listing has those that this node knows |
//! | `origins/<origin>/<key…>` | the origin's keys, read through the swarm |
//! | `.local/` | not listed: where blobs that are read natively are linked to |

mod adapter;
mod buffer;
mod errno;
mod error;
mod freshness;
mod fs;
mod inodes;
mod listing;
pub mod metrics;
mod mount;
mod mountpoint;
mod names;
mod native;
mod node;
mod pages;
mod readers;
mod tree;
mod waiting;

pub use mount::{Mount, MountConfig, MountError, UnmountError, Unmounted};
