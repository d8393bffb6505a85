//! Who this node is.

use std::io::ErrorKind;
use std::path::Path;

use herring_http_api::tls::Identity;
use herring_ring::NodeId;

use crate::config::NodeConfig;
use crate::error::{Failure, OrFail};
use crate::tls;

/// The file in the data directory that makes a restarted node the same node.
const FILE: &str = "node-id";

/// As it was told, as it was before, as its certificate says, or made up. The last two are kept in the data directory.
pub fn choose(config: &NodeConfig, identity: Option<&Identity>) -> Result<NodeId, Failure> {
    if let Some(id) = &config.id {
        return Ok(id.clone());
    }
    kept(&config.data_dir, || match config.tls.as_ref().zip(identity) {
        Some((files, identity)) => tls::id_of(files, identity.card()),
        None => format!("n-{}", &uuid::Uuid::new_v4().simple().to_string()[..12]).parse().map_err(Failure::failed),
    })
}

fn kept(data_dir: &Path, new: impl FnOnce() -> Result<NodeId, Failure>) -> Result<NodeId, Failure> {
    let path = data_dir.join(FILE);
    let told = || format!("the node's id in {}", path.display());
    match std::fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().or_fail(told),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let id = new()?;
            // Written beside and renamed, so that a crash leaves a whole id or none.
            let draft = data_dir.join(format!("{FILE}.new"));
            std::fs::write(&draft, id.as_str()).and_then(|()| std::fs::rename(&draft, &path)).or_fail(told)?;
            Ok(id)
        }
        Err(error) => Err(error).or_fail(told),
    }
}
