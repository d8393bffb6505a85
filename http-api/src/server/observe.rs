//! What is counted and logged of every request.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use http::{Method, StatusCode};
use metrics::{counter, gauge, histogram};

/// Requests answered, by `route` (the pattern), `method` and `status` (`2xx` …).
const REQUESTS: &str = "herring_http_requests_total";
/// Seconds from a request's head to its answer's head, by `route` and `method`.
const LATENCY: &str = "herring_http_request_duration_seconds";
/// Bytes of blobs, objects and chunks sent.
const SENT: &str = "herring_http_sent_bytes_total";
/// TLS handshakes, by `kind`: `full`, `resumed`, `failed`.
const HANDSHAKES: &str = "herring_http_tls_handshakes_total";
/// 1 for the congestion control that answers are sent under, by `name`.
const CONGESTION: &str = "herring_http_congestion_info";
/// Bytes of request bodies taken in.
const RECEIVED: &str = "herring_http_received_bytes_total";

pub(super) fn sent(bytes: u64) {
    counter!(SENT).increment(bytes);
}

pub(super) fn received(bytes: u64) {
    counter!(RECEIVED).increment(bytes);
}

pub(super) fn handshake(kind: &'static str) {
    counter!(HANDSHAKES, "kind" => kind).increment(1);
}

pub(super) fn congestion(name: &str) {
    gauge!(CONGESTION, "name" => name.to_owned()).set(1);
}

pub(super) async fn observe(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let route = request.extensions().get::<MatchedPath>().map_or_else(|| "unmatched".into(), |path| path.as_str().to_owned());
    let method = request.method().clone();
    // Without its query, which may hold what is nobody's business.
    let path = request.uri().clone();
    let response = next.run(request).await;
    let (status, elapsed) = (response.status(), started.elapsed());
    let method_label = label(&method);
    histogram!(LATENCY, "route" => route.clone(), "method" => method_label).record(elapsed);
    counter!(REQUESTS, "route" => route, "method" => method_label, "status" => class(status)).increment(1);
    tracing::debug!(%method, path = path.path(), status = status.as_u16(), ?elapsed, "answered");
    response
}

/// A client can invent methods, and each label would cost memory for ever.
pub(super) fn label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

fn class(status: StatusCode) -> &'static str {
    match status.as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}
