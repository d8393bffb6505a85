use axum::extract::Request;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, Method, header};

use super::Refusal;

/// What is told to who shows nothing.
pub(super) const HOW: &str = "this node asks for a token: set HERRING_TOKEN or give --token-file for herring's own commands, \
                              Authorization: Bearer for others; S3 clients show it as their access key";

/// Longer than any token.
const LONGEST: usize = 256;

/// A token as it was shown, whatever it is worth.
pub(super) struct ShownToken {
    pub token: String,
    /// Browsers show it by themselves, for whatever page asks them to.
    by_browser: bool,
}

/// The token in the request's head: `Bearer TOKEN`, `Basic base64(anything:TOKEN)`, or an S3 client's access key, whose signature is not
/// looked at. Never one in a URL, which is logged on its way.
pub(super) fn shown(headers: &HeaderMap) -> Result<ShownToken, Refusal> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let Some(shown) = all.next() else { return Err(Refusal::unauthorized("missing", HOW)) };
    let malformed = || {
        Refusal::unauthorized(
            "malformed",
            "the Authorization header is not one that this node understands: it is Bearer TOKEN, Basic of any name and TOKEN, or S3's with TOKEN as the access key",
        )
    };
    let text = shown.to_str().ok().filter(|_| all.next().is_none()).ok_or_else(malformed)?;
    parse(text).filter(|shown| (1..=LONGEST).contains(&shown.token.len())).ok_or_else(malformed)
}

fn parse(text: &str) -> Option<ShownToken> {
    let (scheme, rest) = text.split_once(' ')?;
    let rest = rest.trim();
    let token = |token: &str, by_browser| Some(ShownToken { token: token.to_owned(), by_browser });
    match scheme.to_ascii_lowercase().as_str() {
        "bearer" => token(rest, false),
        "basic" => token(&of_basic(rest)?, true),
        "aws4-hmac-sha256" => token(of_s3(rest)?, false),
        _ => None,
    }
}

fn of_basic(encoded: &str) -> Option<String> {
    let text = String::from_utf8(BASE64_STANDARD.decode(encoded).ok()?).ok()?;
    text.split_once(':').map(|(_, token)| token.to_owned())
}

/// `Credential=TOKEN/20260101/us-east-1/s3/aws4_request, SignedHeaders=…, Signature=…`
fn of_s3(parts: &str) -> Option<&str> {
    let credential = parts.split(',').find_map(|part| part.trim().strip_prefix("Credential="))?;
    credential.split_once('/').map(|(token, _)| token)
}

impl ShownToken {
    /// A page of another site must not change anything here with what the browser remembers.
    pub(super) fn check_site(&self, request: &Request) -> Result<(), Refusal> {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let site = request.headers().get("sec-fetch-site").map(|site| site.as_bytes());
        let elsewhere = site.is_some_and(|site| site != b"same-origin" && site != b"none");
        if is_read || !self.by_browser || !elsewhere {
            return Ok(());
        }
        Err(Refusal::forbidden("site", "a page of another site asked the browser for this".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn token(values: &[&str]) -> Result<String, &'static str> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        shown(&headers).map(|shown| shown.token).map_err(|refusal| refusal.reason)
    }

    #[test]
    fn a_token_is_shown_in_several_ways() {
        let basic = |text: &str| format!("Basic {}", BASE64_STANDARD.encode(text));
        let s3 = "AWS4-HMAC-SHA256 Credential=herring_1/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";
        for text in
            ["Bearer herring_1", "bearer  herring_1", &basic("me:herring_1"), &basic(":herring_1"), s3, &s3.replace(", ", ",")]
        {
            assert_eq!(token(&[text]), Ok("herring_1".into()), "{text}");
        }
    }

    #[test]
    fn what_is_no_token_is_told_from_nothing() {
        assert_eq!(token(&[]), Err("missing"));
        let long = format!("Bearer {}", "x".repeat(257));
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            "herring_1",
            "Digest x",
            "Basic !",
            "Basic eA==",
            "AWS4-HMAC-SHA256 Signature=0",
            "AWS x:y",
            &long,
        ] {
            assert_eq!(token(&[wrong]), Err("malformed"), "{wrong}");
        }
        assert_eq!(token(&["Bearer a", "Bearer b"]), Err("malformed"), "which of them?");
    }

    #[test]
    fn other_sites_change_nothing() {
        let check = |method: &str, site: &str, by_browser| {
            let request =
                Request::builder().method(method).header("sec-fetch-site", site).body(axum::body::Body::empty()).unwrap();
            ShownToken { token: String::new(), by_browser }.check_site(&request).is_ok()
        };
        assert!(check("GET", "cross-site", true) && check("POST", "same-origin", true) && check("POST", "none", true));
        assert!(check("POST", "cross-site", false), "no browser shows a bearer's token by itself");
        assert!(!check("POST", "cross-site", true) && !check("DELETE", "same-site", true));
    }
}
