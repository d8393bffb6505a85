//! What a test asks of a node, as its users do.

use std::process::Command;

use bytes::Bytes;
use futures_util::TryStreamExt;
use herring_blob::BlobId;
use herring_http_api::client::ClientError;
use herring_http_api::types::OriginEntry;
use serde_json::Value;

use crate::swarm::{HERRING, Swarm, collect, stream};

impl Swarm {
    /// Puts bytes into node `n`.
    pub fn put(&self, n: usize, bytes: &[u8]) -> BlobId {
        let body = Bytes::copy_from_slice(bytes);
        let stored = self.block(async { self.api(n).put(None, Some(body.len() as u64), stream(body)).await });
        let (stored, _) = stored.unwrap();
        assert_eq!(stored.id, BlobId::of(bytes));
        stored.id
    }

    /// Reads a blob whole over HTTP from node `n`.
    pub fn get(&self, n: usize, id: BlobId) -> Vec<u8> {
        self.block(async {
            let (_, body) = self.api(n).get(id, None).await.unwrap();
            collect(body).await
        })
    }

    /// Reads an origin's object whole over HTTP from node `n`.
    pub fn object(&self, n: usize, origin: &str, key: &str) -> Result<Vec<u8>, ClientError> {
        self.block(async {
            let (_, body) = self.api(n).get_object(origin, key, None).await?;
            let whole: Result<Vec<Bytes>, std::io::Error> = body.try_collect().await;
            whole
                .map(|pieces| pieces.concat())
                .map_err(|error| ClientError::Broken { url: key.into(), detail: error.to_string() })
        })
    }

    /// What is directly below an origin's directory, page by page over HTTP from node `n`.
    pub fn list(&self, n: usize, origin: &str, prefix: &str) -> Vec<String> {
        let (mut names, mut token) = (Vec::new(), None);
        loop {
            let page = self.block(async { self.api(n).list(origin, prefix, token.as_deref()).await }).unwrap();
            names.extend(page.entries.into_iter().map(|entry| match entry {
                OriginEntry::Directory { name } | OriginEntry::Object { name, .. } => name,
            }));
            token = page.next;
            if token.is_none() {
                return names;
            }
        }
    }

    /// A client's command to node `n`: its JSON, or its complaint.
    pub fn ask(&self, n: usize, args: &[&str]) -> Result<Value, String> {
        let mut command = Command::new(HERRING);
        command.args(args).args(["--json", "--node", &self.nodes[n].url()]);
        self.nodes[n].ca.iter().for_each(|ca| {
            command.arg("--ca").arg(ca);
        });
        let output = command.output().unwrap();
        match output.status.success() {
            true => Ok(serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)),
            false => Err(String::from_utf8(output.stderr).unwrap()),
        }
    }

    /// One counter, summed over all its labels.
    pub fn metric(&self, n: usize, name: &str) -> u64 {
        let text = self.block(async { self.api(n).metrics().await }).unwrap();
        let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{') || rest.starts_with(' '));
        text.lines().filter(of_name).filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }
}
