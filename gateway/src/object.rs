//! An origin's object as both doors show it.

use std::time::{Duration, SystemTime};

use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt, stream};
use herring_blob::ByteRange;
use herring_swarm::{Content, OpenError, ReadError, Source, Swarm};
use http::{HeaderMap, header};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use s3s::dto::{ETag, ETagCondition, Range};

/// The first second that HTTP's dates cannot write.
const YEAR_10000: u64 = 253_402_300_800;

/// What an entity tag cannot hold; commas stand between tags, and the percent sign keeps two versions apart.
const UNTAGGABLE: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b',').add(b'%');

pub(crate) struct Object {
    pub content: Content,
    pub etag: ETag,
}

/// What the preconditions of a request lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Failed,
    NotModified,
    Proceed,
}

pub(crate) type Pieces = BoxStream<'static, Result<bytes::Bytes, ReadError>>;

impl Object {
    /// `reading`: so many of its first bytes will be read next.
    pub async fn open(swarm: &Swarm, origin: &str, key: &str, reading: u64) -> Result<Self, OpenError> {
        let content = swarm.open_to_read(origin, key, reading).await?;
        let etag = match content.source() {
            Source::Object(object) => tag(&object.version),
            Source::Blob(manifest) => ETag::Strong(manifest.id().to_string()),
        };
        Ok(Self { content, etag })
    }

    /// When it was made, if HTTP can say it.
    pub fn modified(&self) -> Option<SystemTime> {
        sayable(self.content.modified())
    }

    /// Whether `Range` counts: without `If-Range`, or where that names what is here now. A client that goes on elsewhere would have two versions in one.
    pub fn is_range_heeded(&self, headers: &HeaderMap) -> bool {
        let Some(value) = headers.get(header::IF_RANGE) else { return true };
        let tagged = ETag::parse_http_header(value.as_bytes()).is_ok_and(|tag| self.is_strongly(&tag));
        let date = || httpdate::parse_http_date(value.to_str().ok()?).ok();
        tagged || date().is_some_and(|date| self.modified().map(whole_second) == Some(date))
    }

    fn is_strongly(&self, tag: &ETag) -> bool {
        tag.strong_cmp(&self.etag) || self.is_listed_as(tag)
    }

    /// What a listing says where an origin's own has no versions; it is given back as a condition.
    fn is_listed_as(&self, tag: &ETag) -> bool {
        *tag == listed_tag(self.content.size(), self.content.modified())
    }

    pub fn judge(&self, if_match: Option<&ETagCondition>, if_none_match: Option<&ETagCondition>) -> Verdict {
        let is = |condition: &ETagCondition, same: &dyn Fn(&ETag) -> bool| match condition {
            ETagCondition::Any => true,
            ETagCondition::ETag(etag) => same(etag),
        };
        match (if_match, if_none_match) {
            (Some(wanted), _) if !is(wanted, &|tag| self.is_strongly(tag)) => Verdict::Failed,
            (_, Some(known)) if is(known, &|tag| tag.weak_cmp(&self.etag) || self.is_listed_as(tag)) => Verdict::NotModified,
            _ => Verdict::Proceed,
        }
    }

    /// The bytes of `range`. Waits for the first ones: a read that fails at once is an error that can still be told, where later ones
    /// only break the body.
    pub async fn read(&self, swarm: &Swarm, range: ByteRange) -> Result<Pieces, ReadError> {
        let mut pieces = swarm.stream(&self.content, range).boxed();
        let first = pieces.try_next().await?;
        Ok(stream::iter(first.map(Ok)).chain(pieces).boxed())
    }
}

/// At least one byte; `None` where there is none. s3s takes the last bytes of nothing for something.
pub(crate) fn bytes_of(asked: &Range, size: u64) -> Option<ByteRange> {
    let range = asked.check(size).ok().filter(|range| !range.is_empty())?;
    Some(ByteRange::new(range.start, range.end))
}

pub(crate) fn sayable(time: SystemTime) -> Option<SystemTime> {
    let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    (since_epoch.as_secs() < YEAR_10000).then_some(time)
}

/// HTTP's dates know no less.
pub(crate) fn whole_second(time: SystemTime) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds(time))
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The tag of what is only known by size and time: nginx makes its own of the same, and so gives this one.
pub(crate) fn listed_tag(size: u64, modified: SystemTime) -> ETag {
    ETag::Strong(format!("{:x}-{size:x}", seconds(modified)))
}

/// The tag of what an origin calls `version`: as it is where it is a tag already, else quoted.
pub(crate) fn tag(version: &str) -> ETag {
    let escape = |text: &str| utf8_percent_encode(text, UNTAGGABLE).to_string();
    let inner = |text: &str| text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).map(str::to_owned);
    if let Some(inner) = inner(version) {
        return ETag::Strong(escape(&inner));
    }
    match version.strip_prefix("W/").and_then(inner) {
        Some(weak) => ETag::Weak(escape(&weak)),
        None => ETag::Strong(escape(version)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_is_a_tag_stays_one() {
        assert_eq!(tag("\"abc\""), ETag::Strong("abc".into()));
        assert_eq!(tag("W/\"abc\""), ETag::Weak("abc".into()));
        assert_eq!(tag("65f0-3"), ETag::Strong("65f0-3".into()));
    }

    #[test]
    fn any_version_is_a_valid_tag_and_no_other_versions() {
        let odd = ["", "a b", "a%20b", "a,b", "a\"b", "ü", "\"", "W/", "W/\""];
        let tags = odd.map(|version| tag(version).to_http_header().unwrap());
        for (at, one) in tags.iter().enumerate() {
            assert!(!tags[..at].contains(one), "{one:?}");
        }
    }

    #[test]
    fn dates_that_http_cannot_write_are_left_out() {
        let at = |seconds| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        assert_eq!(sayable(at(YEAR_10000)), None);
        assert_eq!(sayable(at(YEAR_10000 - 1)), Some(at(YEAR_10000 - 1)));
        assert_eq!(sayable(SystemTime::UNIX_EPOCH - std::time::Duration::from_secs(1)), None);
    }
}
