//! What origins have, without a store for it: a question about an origin has owners on the ring as a chunk has, and one of them asks the
//! origin for all nodes. What was answered is believed for its origin's time to live by everyone who heard it, its age travelling with
//! it, and remembered longer than that, for when the origin does not answer.

mod answer;
mod ask;
mod commit;
mod holds;
mod json;
mod keep;
mod kept;
mod known;
mod listed;
mod owners;
mod pages;
mod question;
mod word;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use herring_blob::Geometry;
use herring_http_api::peer::MetaQuestion;
use herring_origin::{ObjectInfo, Origin, Page};

use crate::{Content, OpenError, Source, Swarm, Tried};
use known::Known;
pub(crate) use known::Meta;
use listed::first_page;
use word::Word;

#[cfg(test)]
mod tests;

/// What is at a key of an origin.
#[derive(Debug, Clone)]
pub enum Found {
    Object(Content),
    Directory,
}

impl Swarm {
    /// What is at a key of an origin, in one question. The root, `""`, is a directory. [`OpenError::NotFound`] where there is nothing; of an
    /// object and a directory of one name it is the object.
    pub async fn look_up(&self, origin: &str, key: &str) -> Result<Found, OpenError> {
        self.look_up_to_read(origin, key, 0).await
    }

    /// The same for who will read so many of the object's first bytes: where the origin must be asked, it is asked for them at once.
    pub async fn look_up_to_read(&self, origin: &str, key: &str, reading: u64) -> Result<Found, OpenError> {
        self.find(origin, key, reading, false).await
    }

    /// Opens the present version of an origin's object; [`OpenError::NotFound`] for a directory.
    pub async fn open_object(&self, origin: &str, key: &str) -> Result<Content, OpenError> {
        self.open_to_read(origin, key, 0).await
    }

    /// The same for who will read so many of its first bytes.
    pub async fn open_to_read(&self, origin: &str, key: &str, reading: u64) -> Result<Content, OpenError> {
        match self.find(origin, key, reading, true).await? {
            Found::Object(content) => Ok(content),
            Found::Directory => {
                let tried = Tried::of(format!("origin {origin}"), "has a directory there");
                Err(OpenError::NotFound { what: format!("{origin}/{key}"), tried })
            }
        }
    }

    /// The version that the caller was told of a moment ago, without another question where this node remembers it and nothing speaks against it;
    /// else the present one.
    pub async fn open_version(&self, origin: &str, key: &str, version: &str) -> Result<Content, OpenError> {
        match self.remembered_version(origin, key, version) {
            Some(content) => Ok(content),
            None => self.open_object(origin, key).await,
        }
    }

    fn remembered_version(&self, origin: &str, key: &str, version: &str) -> Option<Content> {
        let (meta, question) = (&self.0.meta, key_of(origin, key));
        let known = meta.answers.get(&question).filter(|known| !meta.is_doubtful(&question, known))?;
        match &known.word {
            Word::Object(info) if info.object.version == version => self.opened(&known, info).ok(),
            _ => None,
        }
    }

    /// A page of what lies directly below `prefix`, sorted by name; the root is `""`. `token`: `next` of the page before.
    /// [`OpenError::Unlisted`] where the origin has no listing that a program could read.
    pub async fn list_page(&self, origin: &str, prefix: &str, token: Option<&str>) -> Result<Arc<Page>, OpenError> {
        let (origin, prefix, token) = (origin.to_owned(), prefix.to_owned(), token.map(str::to_owned));
        let question = MetaQuestion::Page { origin, prefix, token };
        match &self.enquire(&question, 0).await?.word {
            Word::Page(page) => Ok(Arc::clone(page)),
            _ => Ok(Arc::default()),
        }
    }

    /// A document of a hub's API: JSON, at most 32 MiB. `path` is what follows `/api/` there. Other origins have none.
    pub async fn document(&self, origin: &str, path: &str) -> Result<Bytes, OpenError> {
        let question = MetaQuestion::Document { origin: origin.to_owned(), path: path.to_owned() };
        match &self.enquire(&question, 0).await?.word {
            Word::Document(bytes) => Ok(bytes.clone()),
            _ => Ok(Bytes::new()),
        }
    }

    /// After it changed: what was said of it before is not believed any more, here or by its owner. Only where the origin does not answer
    /// is it still given.
    pub fn forget_object(&self, origin: &str, key: &str) {
        self.0.meta.doubt(first_page(origin, key));
        self.0.meta.doubt(key_of(origin, key));
    }

    /// The same after this version turned out to be gone. Where another one is remembered that is known already: who goes on reading an old
    /// version does not make all others ask again with each of its chunks.
    pub(crate) fn forget_content(&self, content: &Content) {
        let Source::Object(object) = content.source() else { return };
        let known = self.0.meta.answers.get(&key_of(&object.origin, &object.key));
        let is_this = |known: &Arc<Known>| matches!(&known.word, Word::Object(info) if info.object == *object);
        if known.as_ref().is_none_or(is_this) {
            self.forget_object(&object.origin, &object.key);
        }
    }

    /// How long what an origin says of an object or a directory is believed; of one that is not configured, nothing.
    pub fn origin_ttl(&self, origin: &str) -> Duration {
        self.0.origins.get(origin).map_or(Duration::ZERO, Origin::ttl)
    }

    /// Whether the origin answered when it was last asked, as far as this node knows. While it does not, old answers are given.
    pub fn origin_answers(&self, origin: &str) -> bool {
        !self.0.meta.is_ill(origin)
    }

    pub(crate) fn origin(&self, name: &str) -> Result<&Origin, OpenError> {
        let known = || self.0.origins.names().collect::<Vec<_>>().join(", ");
        let unknown = || OpenError::NoOrigin { origin: name.to_owned(), known: known() };
        self.0.origins.get(name).ok_or_else(unknown)
    }

    async fn find(&self, origin: &str, key: &str, reading: u64, opens: bool) -> Result<Found, OpenError> {
        let from = self.origin(origin)?;
        if key.is_empty() {
            return Ok(Found::Directory);
        }
        let question = key_of(from.name(), key);
        let known = self.enquire(&question, reading).await?;
        if opens {
            self.0.meta.note_opened(&question, &known);
        }
        match &known.word {
            Word::Object(info) => Ok(Found::Object(self.opened(&known, info)?)),
            _ => Ok(Found::Directory),
        }
    }

    /// The object as all who open it share it.
    fn opened(&self, known: &Known, info: &ObjectInfo) -> Result<Content, OpenError> {
        if let Some(content) = known.content.get() {
            return Ok(content.clone());
        }
        let content = self.object_content(info)?;
        Ok(known.content.get_or_init(|| content).clone())
    }

    fn object_content(&self, info: &ObjectInfo) -> Result<Content, OpenError> {
        let (origin, key, size) = (&info.object.origin, &info.object.key, info.object.size);
        let too_large =
            || OpenError::InvalidKey { detail: format!("{origin}/{key} has {size} bytes, more than can be cut into chunks") };
        let geometry = Geometry::new(size, self.0.config.chunk_size).ok_or_else(too_large)?;
        Ok(Content::object(info.object.clone(), geometry, info.modified))
    }
}

fn key_of(origin: &str, key: &str) -> MetaQuestion {
    MetaQuestion::Key { origin: origin.to_owned(), key: key.to_owned() }
}
