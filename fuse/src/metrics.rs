//! What is counted.

/// Requests of the kernel that reached this process, by `op`. Opens and reads of cached pages never do.
pub const REQUESTS: &str = "herring_fuse_requests_total";
/// Requests that were answered with an error, by `op` and `errno` (the number).
pub const ERRORS: &str = "herring_fuse_errors_total";
/// Bytes of files that were given to the kernel.
pub const READ_BYTES: &str = "herring_fuse_read_bytes_total";
/// Requests that wait for the swarm: a gauge.
pub const IN_FLIGHT: &str = "herring_fuse_in_flight";
/// Names that the kernel was told to believe no more.
pub const TAKEN_BACK: &str = "herring_fuse_names_taken_back_total";
