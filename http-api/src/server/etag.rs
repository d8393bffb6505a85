//! Entity tags and the preconditions that name them, RFC 9110 section 13.

use std::time::SystemTime;

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// The name of one state of a body. Holds neither a comma nor a quote inside, so a list of tags can be cut at its commas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ETag(String);

impl ETag {
    /// The tag of what an origin calls `version`: as it is where it is a tag already, `W/"…"` included, else quoted.
    /// Bytes that a tag cannot hold, and commas, are written `%2C`.
    pub(super) fn of_version(version: &str) -> Self {
        let (weak, rest) = version.strip_prefix("W/").map_or(("", version), |rest| ("W/", rest));
        match rest.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            Some(inner) => Self(format!("{weak}\"{}\"", escape(inner))),
            None => Self(format!("\"{}\"", escape(version))),
        }
    }

    pub(super) fn value(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).expect("escape leaves visible ASCII only")
    }

    /// Byte for byte the same: a weak tag never is.
    fn is_strongly(&self, other: &str) -> bool {
        self.0 == other && !other.starts_with("W/")
    }

    fn is_weakly(&self, other: &str) -> bool {
        strong_part(&self.0) == strong_part(other)
    }
}

fn strong_part(tag: &str) -> &str {
    tag.strip_prefix("W/").unwrap_or(tag)
}

fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b',');
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// What the preconditions of a GET or HEAD lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// 412.
    Failed,
    /// 304.
    NotModified,
    Proceed,
}

/// In the order of RFC 9110 section 13.2.2: a date counts only where no tag is given.
pub(super) fn judge(headers: &HeaderMap, etag: &ETag, modified: Option<SystemTime>) -> Verdict {
    let newer_than = |name| Some(seconds(modified?) > seconds(date(headers, name)?));
    let holds = match any_tag(headers, header::IF_MATCH, |tag| etag.is_strongly(tag)) {
        Some(matches) => matches,
        None => newer_than(header::IF_UNMODIFIED_SINCE) != Some(true),
    };
    if !holds {
        return Verdict::Failed;
    }
    let known = match any_tag(headers, header::IF_NONE_MATCH, |tag| etag.is_weakly(tag)) {
        Some(matches) => matches,
        None => newer_than(header::IF_MODIFIED_SINCE) == Some(false),
    };
    if known { Verdict::NotModified } else { Verdict::Proceed }
}

/// Whether `Range` counts: without `If-Range`, or where that names this very state.
pub(super) fn if_range(headers: &HeaderMap, etag: &ETag, modified: Option<SystemTime>) -> bool {
    let Some(value) = headers.get(header::IF_RANGE) else { return true };
    let same_date = || Some(seconds(date(headers, header::IF_RANGE)?) == seconds(modified?));
    value.to_str().is_ok_and(|tag| etag.is_strongly(tag.trim())) || same_date() == Some(true)
}

/// Whether a header that lists tags, or says `*`, has one that fits; `None` where it is absent.
fn any_tag(headers: &HeaderMap, name: HeaderName, fits: impl Fn(&str) -> bool) -> Option<bool> {
    headers.contains_key(&name).then(|| {
        let lists = headers.get_all(&name).iter().filter_map(|value| value.to_str().ok());
        lists.flat_map(|list| list.split(',')).map(str::trim).any(|tag| tag == "*" || fits(tag))
    })
}

/// The tag, or the `*`, that such a header names; `None` where it names none or several.
pub(super) fn only_tag(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let tag = values.next()?.to_str().ok()?.trim();
    (values.next().is_none() && !tag.contains(',')).then_some(tag)
}

fn date(headers: &HeaderMap, name: HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()
}

/// HTTP's dates know no less than a second.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    fn judged(name: HeaderName, value: &str, tag: &str) -> Verdict {
        judge(&headers(&[(name, value)]), &ETag(tag.into()), None)
    }

    #[test]
    fn a_version_becomes_one_tag() {
        let tag = |version| ETag::of_version(version).0;
        assert_eq!(tag("abc"), "\"abc\"");
        assert_eq!(tag("\"abc\""), "\"abc\"");
        assert_eq!(tag("W/\"abc\""), "W/\"abc\"");
        assert_eq!(tag("W/abc"), "\"W/abc\"");
        assert_eq!(tag("a,\"b é"), "\"a%2C%22b%20%C3%A9\"");
        assert_eq!(tag("\""), "\"%22\"");
    }

    #[test]
    fn if_none_match_compares_weakly_through_lists() {
        for list in ["*", "\"a\"", "W/\"a\"", "\"x\" , \"a\"", "x,,\"a\""] {
            assert_eq!(judged(header::IF_NONE_MATCH, list, "\"a\""), Verdict::NotModified, "{list}");
        }
        for list in ["", "a", "\"b\"", "\"A\"", "\"a", "w/\"a\""] {
            assert_eq!(judged(header::IF_NONE_MATCH, list, "\"a\""), Verdict::Proceed, "{list}");
        }
    }

    #[test]
    fn if_match_compares_strongly() {
        assert_eq!(judged(header::IF_MATCH, "\"b\", \"a\"", "\"a\""), Verdict::Proceed);
        assert_eq!(judged(header::IF_MATCH, "*", "W/\"a\""), Verdict::Proceed);
        assert_eq!(judged(header::IF_MATCH, "\"b\"", "\"a\""), Verdict::Failed);
        assert_eq!(judged(header::IF_MATCH, "W/\"a\"", "W/\"a\""), Verdict::Failed);
    }

    #[test]
    fn dates_count_where_no_tag_is_given() {
        let modified = SystemTime::UNIX_EPOCH + Duration::from_millis(1_000_500);
        let (same, before) = ("Thu, 01 Jan 1970 00:16:40 GMT", "Thu, 01 Jan 1970 00:16:39 GMT");
        let judged = |pairs: &[(HeaderName, &str)]| judge(&headers(pairs), &ETag("\"a\"".into()), Some(modified));
        assert_eq!(judged(&[(header::IF_MODIFIED_SINCE, same)]), Verdict::NotModified);
        assert_eq!(judged(&[(header::IF_MODIFIED_SINCE, before)]), Verdict::Proceed);
        assert_eq!(judged(&[(header::IF_MODIFIED_SINCE, "yesterday")]), Verdict::Proceed);
        assert_eq!(judged(&[(header::IF_UNMODIFIED_SINCE, same)]), Verdict::Proceed);
        assert_eq!(judged(&[(header::IF_UNMODIFIED_SINCE, before)]), Verdict::Failed);
        assert_eq!(judged(&[(header::IF_MODIFIED_SINCE, same), (header::IF_NONE_MATCH, "\"b\"")]), Verdict::Proceed);
        assert_eq!(judged(&[(header::IF_UNMODIFIED_SINCE, before), (header::IF_MATCH, "\"a\"")]), Verdict::Proceed);
    }

    #[test]
    fn if_range_wants_this_very_state() {
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let counts = |value, tag: &str| if_range(&headers(&[(header::IF_RANGE, value)]), &ETag(tag.into()), Some(modified));
        assert!(counts("\"a\"", "\"a\""));
        assert!(!counts("\"b\"", "\"a\""));
        assert!(!counts("W/\"a\"", "W/\"a\""));
        assert!(counts("Thu, 01 Jan 1970 00:16:40 GMT", "\"a\""));
        assert!(!counts("Thu, 01 Jan 1970 00:16:41 GMT", "\"a\""));
        assert!(!counts("garbage", "\"a\""));
        assert!(if_range(&HeaderMap::new(), &ETag("\"a\"".into()), None));
    }

    proptest! {
        #[test]
        fn any_version_is_a_valid_tag_that_finds_itself(version in "\\PC{0,20}", others in proptest::collection::vec("[a-z,\"]{0,5}", 0..4)) {
            let tag = ETag::of_version(&version);
            let list = others.iter().map(String::as_str).chain([tag.0.as_str()]).collect::<Vec<_>>().join(", ");
            prop_assert_eq!(HeaderValue::from_str(&list).is_ok(), true);
            prop_assert_eq!(judge(&headers(&[(header::IF_NONE_MATCH, &list)]), &tag, None), Verdict::NotModified);
        }
    }
}
