//! What is counted. All three are labelled with the origin's name.

/// Bytes that [`read`](crate::Origin::read) returned.
pub const BYTES: &str = "herring_origin_bytes_total";
/// Questions asked, by `op`: head, read, list. Retries inside one question are not counted.
pub const REQUESTS: &str = "herring_origin_requests_total";
/// Questions that failed, by `kind`: the error's variant.
pub const ERRORS: &str = "herring_origin_errors_total";
