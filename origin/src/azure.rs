use object_store::azure::{AzureConfigKey, MicrosoftAzure, MicrosoftAzureBuilder};

use crate::bucket::Bucket;
use crate::cloud::{CLIENT, NO_RETRIES, allows_http, bad_option, bucket_of, prefix_of, rejected};
use crate::web::Connector;
use crate::{ConfigError, OriginSpec};

const OPTIONS: &str = "account=NAME, endpoint=URL, anonymous=true|false, emulator=true|false, ttl=SECONDS";
/// The account of every emulator, and its key, which is no secret: they are in Azurite's documentation.
const EMULATED: (&str, &str) =
    ("devstoreaccount1", "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==");
const HINT: &str = "set AZURE_STORAGE_ACCOUNT_KEY, or AZURE_STORAGE_SAS_KEY";

/// The container of `az://container/prefix?account=NAME`. The account may also be in `AZURE_STORAGE_ACCOUNT_NAME`; credentials
/// come from the environment (`AZURE_STORAGE_ACCOUNT_KEY`, `AZURE_STORAGE_SAS_KEY`, `AZURE_CLIENT_ID` and its secret) or from the machine.
pub(crate) fn open(spec: &OriginSpec) -> Result<Bucket<MicrosoftAzure>, ConfigError> {
    let builder = MicrosoftAzureBuilder::from_env().with_retry(NO_RETRIES).with_http_connector(Connector);
    let client = |builder: MicrosoftAzureBuilder, (key, value)| builder.with_config(AzureConfigKey::Client(key), value);
    let builder = CLIENT.into_iter().fold(builder, client).with_container_name(bucket_of(spec)?);
    let builder = spec.options().try_fold(builder, |builder, (option, value)| with_option(builder, spec, &option, &value))?;
    let builder = elsewhere(builder);
    let prefix = prefix_of(spec)?;
    let store = builder.build().map_err(|error| rejected(spec, error))?;
    Ok(Bucket::new(store, spec.name(), prefix, HINT))
}

fn with_option(
    builder: MicrosoftAzureBuilder,
    spec: &OriginSpec,
    option: &str,
    value: &str,
) -> Result<MicrosoftAzureBuilder, ConfigError> {
    let malformed = || bad_option(spec, option, OPTIONS);
    let flag = || value.parse().map_err(|_| malformed());
    Ok(match option {
        "account" => builder.with_account(value),
        "endpoint" => builder.with_allow_http(allows_http(spec, value)?).with_endpoint(value.trim_end_matches('/').to_owned()),
        "anonymous" => builder.with_skip_signature(flag()?),
        // It listens on 127.0.0.1:10000, in clear, where no endpoint is given.
        "emulator" => builder.with_use_emulator(flag()?),
        _ => return Err(malformed()),
    })
}

/// An emulator at an endpoint: a server's builder knows it only where it listens by default.
fn elsewhere(builder: MicrosoftAzureBuilder) -> MicrosoftAzureBuilder {
    let said = |key| builder.get_config_value(&key);
    let emulated = said(AzureConfigKey::UseEmulator).is_some_and(|value| value == "true");
    let Some(endpoint) = said(AzureConfigKey::Endpoint).filter(|_| emulated) else { return builder };
    let account = said(AzureConfigKey::AccountName).unwrap_or_else(|| EMULATED.0.to_owned());
    let key = said(AzureConfigKey::AccessKey).unwrap_or_else(|| EMULATED.1.to_owned());
    // There the account is in the path, and not in the host.
    let host = endpoint.strip_suffix(&format!("/{account}")).unwrap_or(&endpoint);
    let endpoint = format!("{host}/{account}");
    builder.with_use_emulator(false).with_endpoint(endpoint).with_account(account).with_access_key(key)
}
