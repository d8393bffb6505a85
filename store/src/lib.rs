//! The local disk: what this node holds of blobs and of origins' objects.
//!
//! Each thing is one plain sparse file, its chunks at their natural offsets, beside a small `.meta` file that says which
//! chunks are present. Every read is verified: a chunk written by this process was checked before it was written, one
//! found on disk is checked at its first read, piece by piece, and again when somebody else wrote to its file. [`Store`] shows the layout, [`Entry`] says what survives a crash.
//!
//! All disk I/O happens on the runtime's blocking threads, inside the async calls. The synchronous calls only look at
//! memory, or at the page cache without waiting for the disk, but for [`Store::open`], which reads the whole layout, and for
//! [`Entry::read_into`] and [`Entry::release_pages`], which are for threads that may wait. [`Entry::native_path`] and
//! [`Store::free`] ask the file system for a name and a number, which takes microseconds.

mod blocking;
mod buffers;
mod claims;
mod commit;
mod custody;
mod description;
mod disk;
mod entry;
mod evict;
mod files;
mod layout;
mod lost;
mod mapped;
mod meta;
pub mod metrics;
mod read;
mod records;
mod scan;
mod scrub;
mod space;
mod store;
mod table;
mod upload;
mod verify;
mod weight;
mod witness;
mod write;

pub use custody::MAX_REPLICAS;
pub use description::Description;
pub use entry::Entry;
pub use layout::{FORMAT, OpenError};
pub use read::ReadError;
pub use records::{Change, RecordError, Records, Table};
pub use scrub::Scrubbed;
pub use space::{Floors, Usage};
pub use store::{Store, StoreConfig};
pub use upload::{MAX_UPLOADS, Upload};
pub use write::WriteError;

#[cfg(test)]
mod tests;
