//! Answers as JSON, from node to node and in the records.

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task::spawn_blocking;

/// Above this it is written and read off the runtime's threads: 1 MiB takes about 2 ms, and a hub's document may have 32.
pub(super) const INLINE: usize = 1 << 20;

/// `weight`: nearly the bytes of it.
pub(super) async fn write<T: Serialize + Send + 'static>(said: T, weight: usize) -> Result<String, String> {
    apart(weight, move || serde_json::to_string(&said)).await
}

pub(super) async fn read<T: DeserializeOwned + Send + 'static>(json: impl Into<Vec<u8>>) -> Result<T, String> {
    let json = json.into();
    apart(json.len(), move || serde_json::from_slice(&json)).await
}

async fn apart<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> serde_json::Result<T> + Send + 'static,
) -> Result<T, String> {
    let done = if bytes > INLINE { spawn_blocking(work).await.map_err(|error| error.to_string())? } else { work() };
    done.map_err(|error| error.to_string())
}
