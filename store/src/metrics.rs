//! The names of this room's metrics, with unit and meaning.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Gauge, bytes: on disk as `du` shows them, or reserved for a write that is running.
pub const USED_BYTES: &str = "herring_store_used_bytes";
/// Gauge, bytes: those that stay, uploads included.
pub const DURABLE_BYTES: &str = "herring_store_durable_bytes";
/// Gauge, bytes: those that go when room is needed.
pub const CACHED_BYTES: &str = "herring_store_cached_bytes";
/// Counter, chunks: that went to make room.
pub const EVICTED_CHUNKS: &str = "herring_store_evicted_chunks_total";
/// Counter, bytes: that this freed.
pub const EVICTED_BYTES: &str = "herring_store_evicted_bytes_total";
/// Gauge, bytes: the configured cap.
pub const CAPACITY_BYTES: &str = "herring_store_capacity_bytes";
/// Gauge, chunks on disk, those of uploads included.
pub const CHUNKS: &str = "herring_store_chunks";
/// Counter, bytes: given to readers.
pub const READ_BYTES: &str = "herring_store_read_bytes_total";
/// Counter, bytes: of chunks that were written and recorded.
pub const WRITTEN_BYTES: &str = "herring_store_written_bytes_total";
/// Counter, chunks: found on disk with other bytes than their digest says, and dropped. Anything but 0 is a bad disk, a power loss or
/// somebody who writes to the store's files.
pub const ROTTEN_CHUNKS: &str = "herring_store_rotten_chunks_total";
/// Counter, bytes: of chunks that were read from the disk only to see whether they are still right.
pub const SCRUBBED_BYTES: &str = "herring_store_scrubbed_bytes_total";
/// Counter: how often somebody else was found to have written to a file of the store, so that all of it was verified anew.
pub const FOREIGN_WRITES: &str = "herring_store_foreign_writes_total";
/// Counter, entries: given up because their files were not on the disk any more.
pub const LOST_ENTRIES: &str = "herring_store_lost_entries_total";
/// Counter, writes: refused because the cap was reached and nothing could be evicted.
pub const REFUSED_WRITES: &str = "herring_store_refused_writes_total";
/// Histogram, seconds: one commit of an upload, with its fsyncs.
pub const COMMIT_SECONDS: &str = "herring_store_commit_seconds";

/// Tells the recorder what each metric means. Call once, after the recorder is installed.
pub fn describe() {
    describe_gauge!(USED_BYTES, Unit::Bytes, "Bytes on disk or reserved");
    describe_gauge!(DURABLE_BYTES, Unit::Bytes, "Bytes that stay, uploads included");
    describe_gauge!(CACHED_BYTES, Unit::Bytes, "Bytes that go when room is needed");
    describe_counter!(EVICTED_CHUNKS, Unit::Count, "Chunks that went to make room");
    describe_counter!(EVICTED_BYTES, Unit::Bytes, "Bytes freed by eviction");
    describe_gauge!(CAPACITY_BYTES, Unit::Bytes, "The configured cap");
    describe_gauge!(CHUNKS, Unit::Count, "Chunks on disk, uploads included");
    describe_counter!(READ_BYTES, Unit::Bytes, "Bytes given to readers");
    describe_counter!(WRITTEN_BYTES, Unit::Bytes, "Bytes of chunks written");
    describe_counter!(ROTTEN_CHUNKS, Unit::Count, "Chunks dropped because their bytes did not match their digest");
    describe_counter!(SCRUBBED_BYTES, Unit::Bytes, "Bytes read only to see whether they are still right");
    describe_counter!(FOREIGN_WRITES, Unit::Count, "Times somebody else wrote to a file of the store");
    describe_counter!(LOST_ENTRIES, Unit::Count, "Entries whose files somebody took away, or the disk lost");
    describe_counter!(REFUSED_WRITES, Unit::Count, "Writes refused because the cap was reached");
    describe_histogram!(COMMIT_SECONDS, Unit::Seconds, "Commit of an upload, with its fsyncs");
}
