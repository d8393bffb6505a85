//! What browsers do for pages that are none of this node's. They show by themselves what they remember, and where a node asks nobody who they are, that
//! they are on its machine is all that they need.

use std::net::IpAddr;

use axum::extract::Request;
use http::uri::Authority;
use http::{HeaderValue, Method, header};

use super::Refusal;
use crate::server::came::Came;

/// A page of another site must not change anything here.
pub(super) fn check_site(request: &Request) -> Result<(), Refusal> {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return Ok(());
    }
    let said = |name| request.headers().get(name).map(HeaderValue::as_bytes);
    let elsewhere = match (said("sec-fetch-site"), said("origin")) {
        (Some(site), _) => site != b"same-origin" && site != b"none",
        // Browsers leave the first out in clear text off loopback, and old ones everywhere.
        (None, Some(origin)) => !is_own(origin, request),
        (None, None) => false,
    };
    if elsewhere {
        Err(Refusal::forbidden("site", "a page of another site asked the browser for this".to_owned()))
    } else {
        Ok(())
    }
}

/// Whether the page came from where it asks now.
fn is_own(origin: &[u8], request: &Request) -> bool {
    let Some((scheme, page)) = std::str::from_utf8(origin).ok().and_then(|origin| origin.split_once("://")) else { return false };
    let port = if scheme == "https" { ":443" } else { ":80" };
    let bare = |authority: &str| authority.strip_suffix(port).unwrap_or(authority).to_ascii_lowercase();
    let mut asked = asked(request).peekable();
    asked.peek().is_some() && asked.all(|asked| bare(asked) == bare(page))
}

/// A page whose name was made to lead to this machine is of the same site, for the browser: but it asks by that name. Over TLS no certificate would be for
/// it; and what comes from elsewhere may know this node by any name.
pub(super) fn check_host(request: &Request) -> Result<(), Refusal> {
    let Some(Came { to, shown: None, .. }) = request.extensions().get() else { return Ok(()) };
    if !to.is_loopback() || asked(request).all(is_this_machine) {
        return Ok(());
    }
    let why = "this node asks nobody who they are, so on its own machine it is asked by address or as localhost, and not by a name that any page \
               could lead here: write 127.0.0.1 (a proxy before it: in Host), or give the node tokens";
    Err(Refusal::forbidden("host", why.to_owned()))
}

/// Whom a request is for, in each way in which it says so.
fn asked(request: &Request) -> impl Iterator<Item = &str> {
    let hosts = request.headers().get_all(header::HOST).into_iter().map(|host| host.to_str().unwrap_or("?"));
    request.uri().authority().map(Authority::as_str).into_iter().chain(hosts).filter(|host| !host.is_empty())
}

fn is_this_machine(authority: &str) -> bool {
    let Ok(authority) = authority.parse::<Authority>() else { return false };
    let host = authority.host().to_ascii_lowercase();
    let ip = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host);
    ip.parse::<IpAddr>().is_ok() || host == "localhost" || host.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::tls::Shown;

    fn request(method: &str, uri: &str, headers: &[(&str, &str)]) -> Request {
        let request = Request::builder().method(method).uri(uri);
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).body(Body::empty()).unwrap()
    }

    #[test]
    fn other_sites_change_nothing() {
        let check = |method: &str, site: &str| check_site(&request(method, "/", &[("sec-fetch-site", site)])).is_ok();
        assert!(check("GET", "cross-site") && check("POST", "same-origin") && check("POST", "none"));
        assert!(!check("POST", "cross-site") && !check("DELETE", "same-site"));
    }

    #[test]
    fn where_the_browser_does_not_say_the_pages_origin_counts() {
        let check = |origin: &str, host: &str| {
            let headers = [("origin", origin), ("host", host)];
            check_site(&request("POST", "/v1/blobs", &headers[..if host.is_empty() { 1 } else { 2 }])).is_ok()
        };
        for (origin, host) in [
            ("http://127.0.0.1:7070", "127.0.0.1:7070"),
            ("https://Node.example", "node.example:443"),
            ("http://node.example:80", "node.example"),
        ] {
            assert!(check(origin, host), "{origin} {host}");
        }
        for (origin, host) in [
            ("http://evil.example", "127.0.0.1:7070"),
            ("http://127.0.0.1:8080", "127.0.0.1:7070"),
            ("null", "127.0.0.1:7070"),
            ("null", ""),
            ("http://127.0.0.1:7070", ""),
        ] {
            assert!(!check(origin, host), "{origin} {host}");
        }
        let http2 = request("POST", "http://127.0.0.1:7070/v1/blobs", &[("origin", "http://127.0.0.1:7070")]);
        assert!(check_site(&http2).is_ok());
        assert!(check_site(&request("GET", "/", &[("origin", "http://evil.example")])).is_ok());
    }

    #[test]
    fn names_that_lead_to_this_machine_are_not_taken() {
        let check = |to: &str, uri: &str, hosts: &[&str], shown: Option<Shown>| {
            let hosts: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
            let mut request = request("GET", uri, &hosts);
            let (from, leave) = ("127.0.0.1:1".parse().unwrap(), CancellationToken::new());
            request.extensions_mut().insert(Came { from, to: to.parse().unwrap(), shown, slots: Default::default(), leave });
            check_host(&request).is_ok()
        };
        for host in
            ["127.0.0.1:7070", "[::1]:7070", "10.0.0.1", "localhost:7070", "LOCALHOST", "node.localhost", "0.0.0.0:7070", ""]
        {
            assert!(check("127.0.0.1", "/", &[host], None), "{host}");
        }
        assert!(check("::1", "/", &[], None) && check("::1", "http://localhost/x", &[], None));
        for host in [
            "evil.example",
            "evil.example:7070",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "127.0.0.1@evil.example",
            "h",
            "[::1",
        ] {
            assert!(!check("127.0.0.1", "/", &[host], None), "{host}");
            assert!(check("10.0.0.1", "/", &[host], None), "another machine may call it so: {host}");
            assert!(check("127.0.0.1", "/", &[host], Some(Shown::Nothing)), "its certificate says it: {host}");
        }
        assert!(!check("127.0.0.1", "http://evil.example/", &["127.0.0.1"], None));
        assert!(!check("127.0.0.1", "/", &["127.0.0.1", "evil.example"], None));
    }
}
