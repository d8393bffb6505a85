//! What the URLs of all buckets have in common.

use std::time::Duration;

use object_store::path::Path;
use object_store::{BackoffConfig, ClientConfigKey, RetryConfig};
use url::Url;

use crate::key::check_prefix;
use crate::spec::has_credentials;
use crate::{ConfigError, OriginSpec};

/// As in `web.rs`; that an answer takes no longer than a question's deadline is seen to above.
pub(crate) const CLIENT: [(ClientConfigKey, &str); 3] = [
    (ClientConfigKey::ConnectTimeout, "2 seconds"),
    (ClientConfigKey::ReadTimeout, "20 seconds"),
    (ClientConfigKey::Timeout, "60 seconds"),
];

/// Asking again is `retry.rs`'s business: it knows what other questions were told.
pub(crate) const NO_RETRIES: RetryConfig = RetryConfig {
    max_retries: 0,
    retry_timeout: Duration::ZERO,
    backoff: BackoffConfig { init_backoff: Duration::ZERO, max_backoff: Duration::ZERO, base: 2.0 },
};

/// The bucket, or container, is where other URLs have their host.
pub(crate) fn bucket_of(spec: &OriginSpec) -> Result<&str, ConfigError> {
    let url = spec.url();
    if url.port().is_some() {
        let why = "the host is the bucket and has no port; a server of your own is written ?endpoint=http://HOST:PORT".to_owned();
        return Err(ConfigError::Url { name: spec.name().to_owned(), why });
    }
    let none = || ConfigError::NoBucket { name: spec.name().to_owned(), scheme: url.scheme().to_owned() };
    url.host_str().filter(|host| !host.is_empty()).ok_or_else(none)
}

pub(crate) fn prefix_of(spec: &OriginSpec) -> Result<String, ConfigError> {
    let unusable = |why: String| ConfigError::Url { name: spec.name().to_owned(), why };
    let prefix = Path::from_url_path(spec.url().path()).map_err(|error| unusable(error.to_string()))?;
    check_prefix(prefix.as_ref()).map_err(|error| unusable(format!("its prefix {error}")))?;
    Ok(prefix.into())
}

pub(crate) fn bad_option(spec: &OriginSpec, option: &str, known: &str) -> ConfigError {
    ConfigError::Option { name: spec.name().to_owned(), option: option.to_owned(), known: known.to_owned() }
}

/// Whether an endpoint is asked unencrypted: only where it says http itself.
pub(crate) fn allows_http(spec: &OriginSpec, endpoint: &str) -> Result<bool, ConfigError> {
    let url = Url::parse(endpoint).map_err(|error| rejected(spec, format!("its endpoint is not a URL: {error}")))?;
    match url.scheme() {
        _ if has_credentials(&url) => Err(ConfigError::Credentials(spec.name().to_owned())),
        "http" | "https" => Ok(url.scheme() == "http"),
        other => Err(rejected(spec, format!("its endpoint has the scheme {other}, not http or https"))),
    }
}

pub(crate) fn rejected(spec: &OriginSpec, why: impl ToString) -> ConfigError {
    ConfigError::Rejected { name: spec.name().to_owned(), why: why.to_string() }
}
