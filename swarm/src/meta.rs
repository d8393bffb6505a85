//! What origins have: keys, listings and documents.

use std::sync::Arc;

use bytes::Bytes;
use herring_origin::Listed;

use crate::{Content, OpenError, Swarm, Tried};

/// What is at a key of an origin.
#[derive(Debug, Clone)]
pub enum Found {
    Object(Content),
    Directory,
}

/// A part of what lies directly below a prefix.
#[derive(Debug, Clone)]
pub struct Page {
    /// Sorted by name.
    pub entries: Vec<Listed>,
    /// There is more: ask again with this token.
    pub next: Option<String>,
}

impl Swarm {
    /// What is at a key of an origin; [`OpenError::NotFound`] where there is neither an object nor a directory.
    pub async fn look_up(&self, origin: &str, key: &str) -> Result<Found, OpenError> {
        match self.open_object(origin, key).await {
            Ok(content) => Ok(Found::Object(content)),
            Err(OpenError::NotFound { .. }) => self.list_page(origin, key, None).await.map(|_| Found::Directory),
            Err(error) => Err(error),
        }
    }

    /// A page of what lies directly below `prefix`; `token`: `next` of the page before.
    pub async fn list_page(&self, origin: &str, prefix: &str, token: Option<&str>) -> Result<Arc<Page>, OpenError> {
        let _ = token;
        let entries = self.list_origin(origin, prefix).await?;
        Ok(Arc::new(Page { entries, next: None }))
    }

    /// A document of a hub's API, JSON; `path` is what follows `/api/`.
    pub async fn document(&self, origin: &str, path: &str) -> Result<Bytes, OpenError> {
        Err(OpenError::NotFound { what: format!("{origin}/{path}"), tried: Tried::default() })
    }
}
