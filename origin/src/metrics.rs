//! What is counted. All are labelled with the origin's name.

/// Bytes that [`read`](crate::Origin::read) returned.
pub const BYTES: &str = "herring_origin_bytes_total";
/// Bytes of bodies that nobody wanted any more, from where they were let go: at most so many may have been sent besides [`BYTES`].
pub const LET_GO: &str = "herring_origin_let_go_bytes_total";
/// Questions asked, by `op`: head, read, list, is_directory, document, resolve. Retries inside one question are not counted.
pub const REQUESTS: &str = "herring_origin_requests_total";
/// Questions that failed, by `kind`: the error's variant.
pub const ERRORS: &str = "herring_origin_errors_total";
/// Tries after the first of a question, whatever was wrong with the one before.
pub const RETRIES: &str = "herring_origin_retries_total";
/// Tries that the origin answered with 429 or 503.
pub const THROTTLED: &str = "herring_origin_throttled_total";
