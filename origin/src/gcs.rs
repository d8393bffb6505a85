use object_store::ClientConfigKey;
use object_store::gcp::{GoogleCloudStorage, GoogleCloudStorageBuilder, GoogleConfigKey};

use crate::bucket::Bucket;
use crate::cloud::{CLIENT, NO_RETRIES, allows_http, bad_option, bucket_of, prefix_of, rejected};
use crate::web::Connector;
use crate::{ConfigError, OriginSpec};

const OPTIONS: &str = "endpoint=URL, anonymous=true|false, ttl=SECONDS";
const HINT: &str = "set GOOGLE_APPLICATION_CREDENTIALS to a file of them";

/// The bucket of `gs://bucket/prefix?options`. Credentials come from the environment (`GOOGLE_APPLICATION_CREDENTIALS`,
/// `GOOGLE_SERVICE_ACCOUNT`, `GOOGLE_SERVICE_ACCOUNT_KEY`), from what gcloud left, or from the machine itself.
pub(crate) fn open(spec: &OriginSpec) -> Result<Bucket<GoogleCloudStorage>, ConfigError> {
    let builder = GoogleCloudStorageBuilder::from_env().with_retry(NO_RETRIES).with_http_connector(Connector);
    let client = |builder: GoogleCloudStorageBuilder, (key, value)| builder.with_config(GoogleConfigKey::Client(key), value);
    let builder = CLIENT.into_iter().fold(builder, client).with_bucket_name(bucket_of(spec)?);
    let builder = spec.options().try_fold(builder, |builder, (option, value)| with_option(builder, spec, &option, &value))?;
    let prefix = prefix_of(spec)?;
    let store = builder.build().map_err(|error| rejected(spec, error))?;
    Ok(Bucket::new(store, spec.name(), prefix, HINT))
}

fn with_option(
    builder: GoogleCloudStorageBuilder,
    spec: &OriginSpec,
    option: &str,
    value: &str,
) -> Result<GoogleCloudStorageBuilder, ConfigError> {
    let malformed = || bad_option(spec, option, OPTIONS);
    Ok(match option {
        "endpoint" => {
            let allow_http = allows_http(spec, value)?.to_string();
            let builder = builder.with_config(GoogleConfigKey::Client(ClientConfigKey::AllowHttp), allow_http);
            builder.with_base_url(value.trim_end_matches('/'))
        }
        "anonymous" => builder.with_skip_signature(value.parse().map_err(|_| malformed())?),
        _ => return Err(malformed()),
    })
}
