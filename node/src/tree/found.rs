use bytes::BytesMut;
use futures_util::TryStreamExt;
use herring_blob::{BlobId, ByteRange, Tree, TreeError};
use herring_http_api::client::{ApiClient, ClientError};
use herring_http_api::types::NameInfo;

use crate::commands::Target;
use crate::error::{Failure, OrFail};

/// What `ID`, `NAME`, or either with a path behind it, means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub id: BlobId,
    /// Where it was found under a name.
    pub name: Option<NameInfo>,
    /// What follows the id or the name, without a slash in front; empty where nothing does.
    pub path: String,
}

/// Looks up what a command line means. What can be an id is one. Of `a/b/c`, the longest of `a/b/c`, `a/b` and `a` that is a name is taken.
pub async fn find(client: &ApiClient, target: &Target) -> Result<Found, Failure> {
    let in_blob = |id: BlobId, path: &str| Found { id, name: None, path: path.to_owned() };
    let text = match target {
        Target::Blob(id) => return Ok(in_blob(*id, "")),
        Target::Name(text) => text.as_str(),
    };
    if let Some((Ok(id), path)) = text.split_once('/').map(|(first, path)| (first.parse(), path)) {
        return Ok(in_blob(id, path));
    }
    let mut refusal = None;
    let ends = text.match_indices('/').map(|(at, _)| at).chain([text.len()]);
    for end in ends.collect::<Vec<_>>().into_iter().rev() {
        match client.name(&text[..end]).await {
            Ok(info) => {
                let path = text[end..].trim_start_matches('/').to_owned();
                return Ok(Found { id: info.target, name: Some(info), path });
            }
            Err(ClientError::Problem(problem)) if matches!(problem.status, 400 | 404) => {
                refusal.get_or_insert(problem.detail);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(Failure::failed(refusal.unwrap_or_else(|| format!("there is no name {text:?}"))))
}

/// The tree that a blob is; `None` where it is an ordinary blob.
pub async fn load(client: &ApiClient, id: BlobId) -> Result<Option<Tree>, Failure> {
    let size = client.blob_info(id).await?.size;
    let magic = Tree::MAGIC.as_bytes();
    if size < magic.len() as u64 || read(client, id, Some(ByteRange::new(0, magic.len() as u64))).await? != magic {
        return Ok(None);
    }
    if size > Tree::MAX_BYTES {
        let most = Tree::MAX_BYTES;
        return Err(Failure::failed(format_args!("{id} may be a tree, but has {size} bytes: more than {most} are not read")));
    }
    let bytes = read(client, id, None).await?;
    if BlobId::of(&bytes) != id {
        return Err(Failure::failed(format_args!("the node sent other bytes than {id}: try again, or ask another node")));
    }
    match Tree::decode(&bytes) {
        Ok(tree) => Ok(Some(tree)),
        Err(error @ (TreeError::Version { .. } | TreeError::TooLarge)) => {
            Err(Failure::failed(format_args!("the tree {id}: {error}")))
        }
        // What begins as a tree and is none is an ordinary blob.
        Err(_) => Ok(None),
    }
}

async fn read(client: &ApiClient, id: BlobId, range: Option<ByteRange>) -> Result<Vec<u8>, Failure> {
    let (_, body) = client.get(id, range).await?;
    let whole = body.try_fold(BytesMut::new(), |mut whole, piece| async move {
        whole.extend_from_slice(&piece);
        Ok(whole)
    });
    Ok(whole.await.or_fail(|| format!("{id} broke off"))?.to_vec())
}
