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
/// Counter, chunks: found on disk with other bytes than their digest says, and dropped. Anything but 0 is a bad disk or a power loss.
pub const ROTTEN_CHUNKS: &str = "herring_store_rotten_chunks_total";
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
    describe_counter!(REFUSED_WRITES, Unit::Count, "Writes refused because the cap was reached");
    describe_histogram!(COMMIT_SECONDS, Unit::Seconds, "Commit of an upload, with its fsyncs");
}
