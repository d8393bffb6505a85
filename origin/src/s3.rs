mod profile;

use std::sync::Arc;

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};

use crate::bucket::Bucket;
use crate::cloud::{CLIENT, NO_RETRIES, allows_http, bad_option, bucket_of, prefix_of, rejected};
use crate::web::Connector;
use crate::{ConfigError, OriginSpec};
use profile::{Keys, Profile};

const OPTIONS: &str = "endpoint=URL, region=NAME, profile=NAME, anonymous=true|false, path_style=true|false, ttl=SECONDS";
const HINT: &str = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ?profile=NAME";

/// The bucket of `s3://bucket/prefix?options`. What the URL does not say is taken from the environment (`AWS_REGION`,
/// `AWS_ENDPOINT_URL`), and what that does not say from the profile of the AWS tools. Credentials are those of the profile that the URL names, else
/// of the environment, else of the profile in `AWS_PROFILE` or the default one, else of the machine itself.
pub(crate) fn open(spec: &OriginSpec) -> Result<Bucket<AmazonS3>, ConfigError> {
    let builder = AmazonS3Builder::from_env().with_retry(NO_RETRIES).with_http_connector(Connector);
    let client = |builder: AmazonS3Builder, (key, value)| builder.with_config(AmazonS3ConfigKey::Client(key), value);
    let builder = CLIENT.into_iter().fold(builder, client).with_bucket_name(bucket_of(spec)?);
    let builder = spec.options().try_fold(builder, |builder, (option, value)| {
        with_option(builder, &option, &value).ok_or_else(|| bad_option(spec, &option, OPTIONS))
    })?;
    let builder = with_profile(builder, spec)?;
    let prefix = prefix_of(spec)?;
    let store = with_http(builder, spec)?.build().map_err(|error| rejected(spec, error))?;
    Ok(Bucket::new(store, spec.name(), prefix, HINT))
}

/// `None` where there is no such option or the value is none for it.
fn with_option(builder: AmazonS3Builder, option: &str, value: &str) -> Option<AmazonS3Builder> {
    Some(match option {
        // This key wins over both AWS_ENDPOINT_URL and AWS_ENDPOINT_URL_S3.
        "endpoint" => builder.with_config(AmazonS3ConfigKey::S3Endpoint, value),
        "region" => builder.with_region(value),
        "profile" if !value.is_empty() => builder,
        "anonymous" => builder.with_skip_signature(value.parse().ok()?),
        "path_style" => builder.with_virtual_hosted_style_request(!value.parse::<bool>().ok()?),
        _ => return None,
    })
}

/// Fills in what neither the URL nor the environment says.
fn with_profile(mut builder: AmazonS3Builder, spec: &OriginSpec) -> Result<AmazonS3Builder, ConfigError> {
    let named = spec.options().find(|(option, _)| option == "profile").map(|(_, value)| value.into_owned());
    let variable = |name: &str| std::env::var(name).ok();
    let must = named.is_some() || variable("AWS_PROFILE").is_some_and(|name| !name.is_empty());
    let Some(profile) = Profile::find(named.clone(), variable) else { return Ok(builder) };
    let unsaid =
        |builder: &AmazonS3Builder, keys: &[AmazonS3ConfigKey]| keys.iter().all(|key| builder.get_config_value(key).is_none());
    if unsaid(&builder, &[AmazonS3ConfigKey::Region, AmazonS3ConfigKey::DefaultRegion])
        && let Some(region) = profile.setting("region")
    {
        builder = builder.with_region(region);
    }
    if unsaid(&builder, &[AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint])
        && let Some(endpoint) = profile.setting("endpoint_url")
    {
        builder = builder.with_endpoint(endpoint);
    }
    let anonymous = builder.get_config_value(&AmazonS3ConfigKey::SkipSignature).is_some_and(|value| value == "true");
    let in_environment = [AmazonS3ConfigKey::AccessKeyId, AmazonS3ConfigKey::WebIdentityTokenFile];
    if anonymous || (named.is_none() && !unsaid(&builder, &in_environment)) {
        return Ok(builder);
    }
    match Keys::of(profile.clone()) {
        Some(keys) => Ok(builder.with_credentials(Arc::new(keys))),
        None if must => Err(rejected(spec, profile.without_keys())),
        None => Ok(builder),
    }
}

/// Unencrypted requests only where the endpoint itself says http.
fn with_http(builder: AmazonS3Builder, spec: &OriginSpec) -> Result<AmazonS3Builder, ConfigError> {
    let endpoint =
        [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint].iter().find_map(|key| builder.get_config_value(key));
    let allow_http = endpoint.map_or(Ok(false), |endpoint| allows_http(spec, &endpoint))?;
    Ok(builder.with_allow_http(allow_http))
}
