use herring_blob::BlobId;
use herring_http_api::client::ApiClient;
use serde_json::json;

use crate::error::Failure;
use crate::output::Output;

pub async fn run(client: &ApiClient, output: Output, id: BlobId) -> Result<(), Failure> {
    client.delete(id).await?;
    output.show(&json!({ "id": id, "deleted": true }), || format!("deleted {id}\n"))
}
