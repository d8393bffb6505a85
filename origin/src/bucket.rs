use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt};
use herring_blob::ByteRange;
use object_store::client::HttpError;
use object_store::list::{PaginatedListOptions, PaginatedListResult, PaginatedListStore};
use object_store::path::Path;
use object_store::{Error, GetOptions, GetRange, ListResult, ObjectMeta, ObjectStore, ObjectStoreExt};

use crate::backend::{Backend, Body, Found};
use crate::error::Fault;
use crate::key::is_name;
use crate::listing::LeftOut;
use crate::web::{Throttled, causes};
use crate::{Listed, PAGE, Page};

/// A bucket of any store that `object_store` speaks to, or the part of it below a prefix.
pub(crate) struct Bucket<S> {
    store: S,
    /// The origin's.
    name: String,
    /// Empty, or ends with a slash.
    prefix: String,
    /// What to set where no credentials were found.
    hint: &'static str,
}

impl<S: ObjectStore + PaginatedListStore> Bucket<S> {
    /// A prefix without slashes around it.
    pub(crate) fn new(store: S, name: &str, prefix: String, hint: &'static str) -> Self {
        Self { store, name: name.to_owned(), prefix: closed(prefix), hint }
    }

    fn path(&self, key: &str) -> Result<Path, Fault> {
        Path::parse(format!("{}{key}", self.prefix)).map_err(|error| Fault::Unavailable(error.to_string()))
    }

    async fn page(&self, below: &str, delimiter: bool, most: usize, token: Option<&str>) -> Result<PaginatedListResult, Fault> {
        let options = PaginatedListOptions {
            delimiter: delimiter.then_some(Cow::Borrowed("/")),
            max_keys: Some(most),
            page_token: token.map(str::to_owned),
            ..Default::default()
        };
        let page = self.store.list_paginated(Some(below).filter(|below| !below.is_empty()), options).await;
        page.map_err(|error| self.fault(error))
    }

    fn below(&self, prefix: &str) -> String {
        format!("{}{}", self.prefix, closed(prefix.to_owned()))
    }

    fn fault(&self, error: Error) -> Fault {
        fault(error, self.hint)
    }

    /// What the store could not explain may be that the object is shorter now (416 from a server that ignores If-Match).
    async fn explain(&self, key: &str, version: &str, size: u64, error: Error) -> Fault {
        let unexplained = matches!(error, Error::Generic { .. }) && !is_transport(&error) && !has_status(&error, "code: 5");
        if unexplained && self.head(key).await.is_ok_and(|now| now.version != version || now.size != size) {
            return Fault::Changed;
        }
        self.fault(error)
    }
}

#[async_trait]
impl<S: ObjectStore + PaginatedListStore> Backend for Bucket<S> {
    async fn head(&self, key: &str) -> Result<Found, Fault> {
        match self.store.head(&self.path(key)?).await {
            Ok(meta) => Ok(found(&meta)),
            // A server over a filesystem may stumble over a directory, of which S3 says that there is no such key.
            Err(error) if has_status(&error, "code: 500") && self.is_directory(key).await? => Err(Fault::NotFound),
            Err(error) => Err(self.fault(error)),
        }
    }

    /// Asks with If-Match and compares the answer's version as well, for servers that ignore it.
    async fn read(&self, key: &str, version: &str, size: u64, range: ByteRange) -> Result<Body, Fault> {
        let options = GetOptions {
            range: Some(GetRange::Bounded(range.start..range.end)),
            if_match: if_match(version),
            ..Default::default()
        };
        let answer = match self.store.get_opts(&self.path(key)?, options).await {
            Ok(answer) => answer,
            Err(error) => return Err(self.explain(key, version, size, error).await),
        };
        if version_of(&answer.meta) != version || answer.meta.size != size {
            return Err(Fault::Changed);
        }
        Ok(answer.into_stream().map_err(Fault::from).boxed())
    }

    async fn begin(&self, key: &str, most: u64) -> Result<(Found, Option<Body>), Fault> {
        let options = GetOptions { range: Some(GetRange::Bounded(0..most)), ..Default::default() };
        match self.store.get_opts(&self.path(key)?, options).await {
            Ok(answer) => Ok((found(&answer.meta), Some(answer.into_stream().map_err(Fault::from).boxed()))),
            // What is empty has no bytes to ask for, of which some servers say `bytes 0--1/0`, 206 or 200; and it may be a directory.
            Err(error) if UNGIVEN.iter().any(|text| chain(&error).contains(text)) => Ok((self.head(key).await?, None)),
            Err(error) => Err(self.fault(error)),
        }
    }

    async fn list(&self, prefix: &str, token: Option<&str>) -> Result<Page, Fault> {
        let below = self.below(prefix);
        let PaginatedListResult { result, page_token: next } = self.page(&below, true, PAGE, token).await?;
        // An object named `prefix/` marks an empty directory; it has no name of its own.
        if !has_any(&result, &below) && next.is_none() && token.is_none() && !prefix.is_empty() {
            return Err(Fault::NotFound);
        }
        if let Some(LeftOut { keys, such_as }) = result.extensions.get() {
            let origin = &self.name;
            tracing::warn!(%origin, directory = prefix, keys, ?such_as, "keys that no path can spell were left out of a listing: rename them");
        }
        let directories = result.common_prefixes.iter().filter_map(|path| list_directory(&below, path));
        let objects = result.objects.iter().filter_map(|meta| list_object(&below, meta));
        Ok(Page { entries: directories.chain(objects).collect(), next })
    }

    fn tells_by_listing(&self) -> bool {
        true
    }

    async fn is_directory(&self, key: &str) -> Result<bool, Fault> {
        let below = self.below(key);
        let PaginatedListResult { result, page_token } = self.page(&below, false, 1, None).await?;
        Ok(has_any(&result, &below) || page_token.is_some())
    }
}

/// What cannot be shown is there all the same. An object named `below` that has bytes marks no empty directory: nobody could be given them.
fn has_any(page: &ListResult, below: &str) -> bool {
    let marks_or_lies_below = |meta: &ObjectMeta| meta.size == 0 || Some(meta.location.as_ref()) != below.strip_suffix('/');
    page.objects.iter().any(marks_or_lies_below) || !page.common_prefixes.is_empty() || page.extensions.get::<LeftOut>().is_some()
}

/// With the slash without which `a` would also find `ab/c`.
fn closed(prefix: String) -> String {
    if prefix.is_empty() { prefix } else { prefix + "/" }
}

/// A weak tag never matches, and a version that we made up is not the server's.
pub(crate) fn if_match(version: &str) -> Option<String> {
    version.starts_with('"').then(|| version.to_owned())
}

/// The ETag; without one, the modification time in seconds (HTTP has no finer one) and the size.
fn version_of(meta: &ObjectMeta) -> String {
    let made_up = || {
        let since_epoch = modified(meta).duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        format!("{:x}-{:x}", since_epoch.as_secs(), meta.size)
    };
    meta.e_tag.clone().unwrap_or_else(made_up)
}

/// In whole seconds, as HTTP tells it: some listings are finer, and what was listed must have the time that it has when it is asked for.
fn modified(meta: &ObjectMeta) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(meta.last_modified.timestamp()).unwrap_or(0))
}

fn found(meta: &ObjectMeta) -> Found {
    Found { version: version_of(meta), size: meta.size, modified: modified(meta) }
}

fn list_directory(below: &str, path: &Path) -> Option<Listed> {
    Some(Listed::Directory { name: name_below(below, path)? })
}

fn list_object(below: &str, meta: &ObjectMeta) -> Option<Listed> {
    let name = name_below(below, &meta.location)?;
    Some(Listed::Object { name, size: meta.size, modified: modified(meta), version: meta.e_tag.clone().map(quoted) })
}

/// Azure's listings, and those of some servers that speak S3, have the tag without the quotes that it has everywhere else.
fn quoted(tag: String) -> String {
    if tag.ends_with('"') { tag } else { format!("\"{tag}\"") }
}

fn name_below(below: &str, path: &Path) -> Option<String> {
    path.as_ref().strip_prefix(below).filter(|name| is_name(name)).map(str::to_owned)
}

/// Of credentials that could not be had, why the machine itself gives none is said last and least.
fn fault(error: Error, hint: &str) -> Fault {
    let bottom = causes(&error).last().map(ToString::to_string).unwrap_or_default();
    match Fault::from(error) {
        Fault::Unavailable(detail) | Fault::Denied(detail) | Fault::Unusable(detail) if detail.contains(METADATA) => {
            let public = "or add ?anonymous=true to the URL of a public bucket";
            Fault::Denied(format!("no credentials were found: {hint}, {public} (this machine has none of its own: {bottom})"))
        }
        fault => fault,
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        if let Some(Throttled(retry_after)) = causes(&error).find_map(|cause| cause.downcast_ref()) {
            return Self::Throttled(*retry_after);
        }
        let detail = chain(&error);
        match error {
            Error::NotFound { .. } => Self::NotFound,
            Error::Precondition { .. } | Error::NotModified { .. } => Self::Changed,
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => Self::Denied(detail),
            _ if has_status(&error, "code: 403") || has_status(&error, "code: 401") => Self::Denied(detail),
            // A key in a listing that its paths cannot be.
            Error::InvalidPath { .. } => Self::Unusable(detail),
            // S3 says 400 to credentials that were good once.
            _ if ["ExpiredToken", "InvalidToken", "TokenRefreshRequired"].iter().any(|code| detail.contains(code)) => {
                Self::Denied(detail)
            }
            // Of a key it would be an error of its own.
            _ if has_status(&error, "code: 404") => Self::Denied(format!("there is no such bucket or container ({detail})")),
            _ if has_status(&error, "code: 4") => Self::Unusable(detail),
            _ => Self::Unavailable(detail),
        }
    }
}

/// Where all clouds give credentials to their own machines: the last place that is asked for them.
const METADATA: &str = "//169.254.169.254/";

/// What errors say where there are no first bytes, though there may be an object.
const UNGIVEN: [&str; 5] = ["code: 416", "code: 500", "0--1/0", "object was only 0 bytes long", "non-partial response"];

/// The error and the one at the bottom of it: the top says what was tried, the bottom why it failed.
fn chain(error: &Error) -> String {
    let top = error.to_string();
    match causes(error).last().map(ToString::to_string) {
        Some(bottom) if !top.contains(&bottom) => format!("{top}: {bottom}"),
        _ => top,
    }
}

/// Not all statuses become a kind of error, and the type that holds them is private: only the text is left.
fn has_status(error: &Error, status: &str) -> bool {
    causes(error).any(|cause| cause.to_string().contains(status))
}

/// Whether the server did not answer at all.
fn is_transport(error: &Error) -> bool {
    causes(error).any(|cause| cause.is::<HttpError>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_credentials_say_what_to_set() {
        let asked = "Error performing PUT http://169.254.169.254/latest/api/token";
        for said in [asked.to_owned(), format!("{asked}: status code: 404"), format!("{asked}: status code: 403")] {
            let fault = fault(Error::Generic { store: "S3", source: said.into() }, "set AWS_ACCESS_KEY_ID");
            let Fault::Denied(detail) = fault else { panic!("{fault:?}") };
            assert!(detail.starts_with("no credentials were found: set AWS_ACCESS_KEY_ID"), "{detail}");
        }
    }

    #[test]
    fn a_listing_that_cannot_be_read_is_not_asked_for_again() {
        let error = Error::from(Path::parse("a//b").unwrap_err());
        assert!(matches!(Fault::from(error), Fault::Unusable(detail) if detail.contains("a//b")));
    }

    #[test]
    fn what_is_listed_has_the_time_that_a_head_tells() {
        let last_modified = "2026-01-01T00:00:00.678Z".parse().unwrap();
        let meta = ObjectMeta { location: Path::from("k"), last_modified, size: 1, e_tag: None, version: None };
        assert_eq!(modified(&meta), SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600));
    }

    #[test]
    fn only_a_strong_tag_of_the_servers_is_sent_back() {
        assert_eq!(if_match("\"abc\""), Some("\"abc\"".to_owned()));
        assert_eq!(if_match("W/\"abc\""), None);
        assert_eq!(if_match("65a-3"), None);
    }
}
