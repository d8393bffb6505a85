//! S3's dialect, for reading: every origin is a bucket.

mod answer;
mod buckets;
mod walk;

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use herring_swarm::Swarm;
use http::HeaderValue;
use http::{Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use percent_encoding::percent_decode_str;
use s3s::dto::Range;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::validation::NameValidation;
use s3s::{HttpError, HttpResponse, S3Error, S3ErrorCode};

use crate::{Asked, Body};
use url::form_urlencoded;

/// Answers S3's requests to read: GetObject, HeadObject, ListObjects in both versions, ListBuckets, HeadBucket and GetBucketLocation.
/// The path of a request is `/BUCKET/KEY`, and any credentials will do.
#[derive(Clone)]
pub struct S3Door(S3Service);

impl S3Door {
    pub fn new(swarm: Swarm) -> Self {
        let mut builder = S3ServiceBuilder::new(buckets::Buckets { swarm });
        builder.set_validation(OriginNames);
        Self(builder.build())
    }

    /// What a request would read; `None` where it would not. s3s decodes a path whole and cuts it then, so this does.
    pub fn asked(method: &Method, uri: &Uri) -> Option<Asked> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return None;
        }
        let path = percent_decode_str(uri.path()).decode_utf8().ok()?;
        let path = path.strip_prefix('/')?;
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        Some(match (bucket, key) {
            ("", _) => Asked::All,
            (origin, "") => Asked::Below { origin: origin.to_owned(), prefix: listed_below(uri) },
            (origin, key) => Asked::Object { origin: origin.to_owned(), key: key.to_owned() },
        })
    }

    /// The answer to who is not let in.
    pub fn refusal(status: StatusCode, why: &str) -> Response<Body> {
        let code = match status {
            StatusCode::UNAUTHORIZED => "InvalidAccessKeyId",
            StatusCode::TOO_MANY_REQUESTS => "SlowDown",
            _ => "AccessDenied",
        };
        let why = why.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let text =
            format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{why}</Message></Error>");
        let mut response = Response::new(Full::from(text).map_err(|never| match never {}).boxed_unsync());
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        response
    }
}

/// The directory of a bucket that is listed: where a prefix ends within a name, the one that has that name. A continuation token, which
/// anybody can write, leads nowhere else.
fn listed_below(uri: &Uri) -> String {
    let query = uri.query().unwrap_or_default();
    let mut prefixes = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "prefix").map(|(_, prefix)| prefix);
    match (prefixes.next(), prefixes.next()) {
        (Some(prefix), None) => prefix[..prefix.rfind('/').map_or(0, |slash| slash + 1)].to_owned(),
        // s3s heeds no prefix that is there twice.
        _ => String::new(),
    }
}

/// S3's own rules want three characters and no underscore; an origin that has such a name is asked for all the same.
struct OriginNames;

impl NameValidation for OriginNames {
    fn validate_bucket_name(&self, name: &str) -> bool {
        !name.is_empty()
    }
}

impl<B> tower::Service<Request<B>> for S3Door {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    /// No request to read has a body.
    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (service, request) = (self.0.clone(), request.map(|_| s3s::Body::empty()));
        Box::pin(async move {
            Ok(answer(match *request.method() {
                Method::GET | Method::HEAD => service.call(plain(unsigned(request))).await,
                _ => refused(request.method()),
            }))
        })
    }
}

fn refused(method: &Method) -> Result<HttpResponse, HttpError> {
    let why = format!("{method} would change something; this node only gives what is there");
    // What is not implemented some clients try again, for 45 s.
    let refusal = S3Error::with_message(S3ErrorCode::MethodNotAllowed, why);
    refusal.to_http_response().map_err(|error| HttpError::new(Box::new(error)))
}

fn answer(answer: Result<HttpResponse, HttpError>) -> Response<Body> {
    let response = answer.unwrap_or_else(|error| {
        tracing::error!(?error, "a request to the S3 door was not answered");
        let mut response = HttpResponse::new(s3s::Body::empty());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    });
    response.map(BodyExt::boxed_unsync)
}

/// Without a range that nobody understands, or several: S3 gives all then, and s3s refuses.
fn plain(mut request: Request<s3s::Body>) -> Request<s3s::Body> {
    let is_range = |value: &HeaderValue| value.to_str().is_ok_and(|range| Range::parse(range).is_ok());
    if !request.headers().get_all(header::RANGE).iter().all(is_range) {
        request.headers_mut().remove(header::RANGE);
    }
    request
}

/// The request without its signature: s3s refuses those that it cannot check.
fn unsigned(mut request: Request<s3s::Body>) -> Request<s3s::Body> {
    request.headers_mut().remove(header::AUTHORIZATION);
    if let Some(query) = request.uri().query() {
        let rest: Vec<&str> = query.split('&').filter(|part| !is_signature(part)).collect();
        let (path, rest) = (request.uri().path(), rest.join("&"));
        *request.uri_mut() = format!("{path}?{rest}").parse().expect("a URI without a part of its query is one");
    }
    request
}

/// Of a presigned URL, versions 4 and 2. The rest of their parameters ask for nothing.
fn is_signature(part: &str) -> bool {
    const PARAMETERS: [&str; 10] = [
        "x-amz-algorithm",
        "x-amz-credential",
        "x-amz-date",
        "x-amz-expires",
        "x-amz-signedheaders",
        "x-amz-signature",
        "x-amz-security-token",
        "awsaccesskeyid",
        "signature",
        "expires",
    ];
    let name = part.split('=').next().unwrap_or_default();
    PARAMETERS.iter().any(|parameter| name.eq_ignore_ascii_case(parameter))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(uri: &str) -> Uri {
        unsigned(Request::builder().uri(uri).header("authorization", "AWS4").body(s3s::Body::empty()).unwrap()).uri().clone()
    }

    fn asked(uri: &str) -> Option<Asked> {
        S3Door::asked(&Method::GET, &uri.parse().unwrap())
    }

    #[test]
    fn what_is_asked_is_told_before() {
        let object = |origin: &str, key: &str| Some(Asked::Object { origin: origin.into(), key: key.into() });
        for (uri, origin, key) in [
            ("/m/k", "m", "k"),
            ("/m/a/b", "m", "a/b"),
            ("/m%2Fk", "m", "k"),
            ("/m/%2e%2e/x", "m", "../x"),
            ("/m//x", "m", "/x"),
            ("/m/a%252Fb?list-type=2&prefix=z", "m", "a%2Fb"),
            ("/m/a+b", "m", "a+b"),
        ] {
            assert_eq!(asked(uri), object(origin, key), "{uri}");
        }
        assert_eq!((asked("/"), asked("//x"), asked("/%2Fx")), (Some(Asked::All), Some(Asked::All), Some(Asked::All)));
        assert_eq!(S3Door::asked(&Method::PUT, &"/m/k".parse().unwrap()), None);
        assert_eq!(asked("/m/%ff"), None);
    }

    #[test]
    fn a_list_is_of_the_directory_that_is_walked() {
        let below = |prefix: &str| Some(Asked::Below { origin: "m".into(), prefix: prefix.into() });
        for (uri, prefix) in [
            ("/m", ""),
            ("/m/", ""),
            ("/m?list-type=2&prefix=a/b/", "a/b/"),
            ("/m?prefix=a%2Fb%2F", "a/b/"),
            ("/m?list-type=2&prefix=a/b", "a/"),
            ("/m?prefix=a", ""),
            ("/m?prefix=a/&prefix=b/", ""),
            ("/m?%70refix=a/", "a/"),
        ] {
            assert_eq!(asked(uri), below(prefix), "{uri}");
        }
    }

    #[tokio::test]
    async fn who_is_refused_hears_it_as_s3_says_it() {
        let response = S3Door::refusal(StatusCode::FORBIDDEN, "not <you> & me");
        assert_eq!(
            (response.status(), &response.headers()["content-type"]),
            (StatusCode::FORBIDDEN, &"application/xml".parse().unwrap())
        );
        let text = response.into_body().collect().await.unwrap().to_bytes();
        assert!(text.ends_with(b"<Error><Code>AccessDenied</Code><Message>not &lt;you&gt; &amp; me</Message></Error>"));
    }

    #[test]
    fn a_signature_is_taken_off_and_nothing_else() {
        let signed = "/m/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&list-type=2&X-Amz-Signature=00&prefix=a%26b";
        assert_eq!(stripped(signed), "/m/k?list-type=2&prefix=a%26b");
        assert_eq!(stripped("/m/a%20b"), "/m/a%20b");
        assert_eq!(stripped("/m/k?Signature=x&Expires=1&AWSAccessKeyId=y"), "/m/k?");
    }

    /// Taking off a signature keeps the path and leaves nothing of the signature.
    #[test]
    fn fuzz_signatures() {
        const PARTS: [&str; 18] = [
            "/m/k",
            "?",
            "&",
            "=",
            "X-Amz-Signature",
            "x-amz-date",
            "Signature",
            "prefix",
            "%2e%2e",
            "..",
            "%00",
            "#",
            "/",
            "list-type=2",
            "%",
            "//",
            "@",
            "expires",
        ];
        bolero::check!().with_type::<Vec<u8>>().with_iterations(4000).for_each(|picks| {
            let text: String =
                ["/"].into_iter().chain(picks.iter().take(12).map(|pick| PARTS[usize::from(*pick) % PARTS.len()])).collect();
            let Ok(uri) = text.parse::<Uri>() else { return };
            if uri.path_and_query().is_none_or(|whole| !whole.as_str().starts_with('/')) || uri.authority().is_some() {
                return;
            }
            let left = unsigned(Request::builder().uri(uri.clone()).body(s3s::Body::empty()).unwrap()).uri().clone();
            assert_eq!(left.path(), uri.path());
            assert!(left.query().unwrap_or_default().split('&').all(|part| !is_signature(part)), "{uri}");
        });
    }
}
