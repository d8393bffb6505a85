use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, header};

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
    pub by_browser: bool,
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
}
