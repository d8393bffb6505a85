//! The kernel's view: blobs and origins as read-only files below one directory.
//!
//! `fs.rs` is the filesystem: inodes, listings and reads, with no kernel in sight; `layout.rs` is what its names mean, `trees.rs` has the trees that names
//! lead to. `adapter.rs` translates the kernel's requests to it, `mount.rs` makes the mount and takes it away, `errno.rs` is the only place that knows which
//! failure is which errno.
//!
//! | path | what |
//! | --- | --- |
//! | `blobs/<64 hex digits>` | any blob of the swarm; the listing has those that this node knows |
//! | `names/<name>` | what a name points at: a tree's directory, or a file |
//! | `origins/<origin>/<key…>` | the origin's keys, read through the swarm |
//! | `.local/` | not listed: where blobs that are read natively are linked to |

mod adapter;
mod attr;
mod branch;
mod buffer;
mod errno;
mod error;
mod found;
mod freshness;
mod fs;
mod inodes;
mod layout;
mod listing;
pub mod metrics;
mod mount;
mod mountpoint;
mod native;
mod node;
mod opening;
mod pages;
mod place;
mod readers;
mod recall;
mod trees;
mod waiting;

pub use mount::{Mount, MountConfig, MountError, UnmountError, Unmounted};
