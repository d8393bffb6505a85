use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path;
use object_store::{BackoffConfig, ClientConfigKey, RetryConfig};
use url::Url;

use crate::bucket::Bucket;
use crate::key::check_prefix;
use crate::spec::has_credentials;
use crate::{ConfigError, OriginSpec};

/// A connection takes one round trip, at most 0.3 s around the world; 2 s also survive one lost packet (1 s until it is sent again).
const CONNECT: &str = "2 seconds";

/// A chunk of 64 MiB at 2.2 MB/s; slower than that, another source is the better one.
const REQUEST: &str = "30 seconds";

/// Three tries in all, and none begins later than 20 s after the first: long enough for S3's `SlowDown`, short enough for
/// a reader who waits.
const RETRIES: RetryConfig = RetryConfig {
    max_retries: 2,
    retry_timeout: Duration::from_secs(20),
    backoff: BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(5), base: 3.0 },
};

const OPTIONS: &str = "endpoint=URL, region=NAME, anonymous=true|false, path_style=true|false, ttl=SECONDS";

/// The bucket of `s3://bucket/prefix?options`. What the URL does not say is taken from the environment: `AWS_REGION`,
/// `AWS_ENDPOINT_URL` and the usual chain of credentials.
pub(crate) fn open(spec: &OriginSpec) -> Result<Bucket<AmazonS3>, ConfigError> {
    let builder = AmazonS3Builder::from_env()
        .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::ConnectTimeout), CONNECT)
        .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::Timeout), REQUEST)
        .with_retry(RETRIES)
        .with_bucket_name(bucket_of(spec)?);
    let builder = spec.options().try_fold(builder, |builder, (option, value)| {
        with_option(builder, &option, &value).ok_or_else(|| bad_option(spec, &option))
    })?;
    let prefix = prefix_of(spec)?;
    let store = with_http(builder, spec)?.build().map_err(|error| rejected(spec, error))?;
    Ok(Bucket::new(store, prefix))
}

fn bucket_of(spec: &OriginSpec) -> Result<&str, ConfigError> {
    let url = spec.url();
    if url.port().is_some() {
        let why = "the host is the bucket and has no port; a server of your own is written ?endpoint=http://HOST:PORT".to_owned();
        return Err(ConfigError::Url { name: spec.name().to_owned(), why });
    }
    url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| ConfigError::NoBucket(spec.name().to_owned()))
}

fn prefix_of(spec: &OriginSpec) -> Result<String, ConfigError> {
    let unusable = |why: String| ConfigError::Url { name: spec.name().to_owned(), why };
    let prefix = Path::from_url_path(spec.url().path()).map_err(|error| unusable(error.to_string()))?;
    check_prefix(prefix.as_ref()).map_err(|error| unusable(format!("its prefix {error}")))?;
    Ok(prefix.into())
}

/// `None` where there is no such option or the value is none for it.
fn with_option(builder: AmazonS3Builder, option: &str, value: &str) -> Option<AmazonS3Builder> {
    Some(match option {
        // This key wins over both AWS_ENDPOINT_URL and AWS_ENDPOINT_URL_S3.
        "endpoint" => builder.with_config(AmazonS3ConfigKey::S3Endpoint, value),
        "region" => builder.with_region(value),
        "anonymous" => builder.with_skip_signature(value.parse().ok()?),
        "path_style" => builder.with_virtual_hosted_style_request(!value.parse::<bool>().ok()?),
        _ => return None,
    })
}

fn bad_option(spec: &OriginSpec, option: &str) -> ConfigError {
    ConfigError::Option { name: spec.name().to_owned(), option: option.to_owned(), known: OPTIONS.to_owned() }
}

/// Unencrypted requests only where the endpoint itself says http.
fn with_http(builder: AmazonS3Builder, spec: &OriginSpec) -> Result<AmazonS3Builder, ConfigError> {
    let endpoint =
        [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint].iter().find_map(|key| builder.get_config_value(key));
    let Some(endpoint) = endpoint else { return Ok(builder.with_allow_http(false)) };
    let url = Url::parse(&endpoint).map_err(|error| rejected(spec, format!("its endpoint is not a URL: {error}")))?;
    match url.scheme() {
        _ if has_credentials(&url) => Err(ConfigError::Credentials(spec.name().to_owned())),
        "http" | "https" => Ok(builder.with_allow_http(url.scheme() == "http")),
        other => Err(rejected(spec, format!("its endpoint has the scheme {other}, not http or https"))),
    }
}

fn rejected(spec: &OriginSpec, why: impl ToString) -> ConfigError {
    ConfigError::Rejected { name: spec.name().to_owned(), why: why.to_string() }
}
