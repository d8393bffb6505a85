use herring_http_api::client::ApiClient;
use herring_http_api::types::Condition;
use serde_json::json;

use crate::commands::Target;
use crate::error::Failure;
use crate::output::Output;

pub async fn run(client: &ApiClient, output: Output, what: Target) -> Result<(), Failure> {
    match what {
        Target::Blob(id) => {
            client.delete(id).await?;
            output.show(&json!({ "id": id, "deleted": true }), || format!("deleted {id}\n"))
        }
        Target::Name(name) => unname(client, output, &name).await,
    }
}

/// Only if it still points at what is said to stay.
async fn unname(client: &ApiClient, output: Output, name: &str) -> Result<(), Failure> {
    let info = client.name(name).await?;
    client.delete_name(name, Condition::Version(info.version)).await?;
    let said = || {
        format!(
            "deleted the name {name}; what it pointed at stays ({}), for other names may lead to the same bytes\n",
            info.target
        )
    };
    output.show(&json!({ "name": name, "deleted": true, "target": info.target }), said)
}
