use herring_blob::ByteRange;

/// What one request asks for, as far as this origin understands it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub head: bool,
    /// Without the slash in front.
    pub path: String,
    pub range: Option<Asked>,
    pub if_match: Option<String>,
    /// The asker sends nothing more on this connection.
    pub last: bool,
}

/// `bytes=FIRST-LAST`, `bytes=FIRST-` or `bytes=-SUFFIX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    first: Option<u64>,
    last: Option<u64>,
}

impl Request {
    /// From the lines of its head; `None` where it is neither GET nor HEAD, or no HTTP/1.1.
    pub fn parse(head: &str) -> Option<Self> {
        let mut lines = head.split("\r\n");
        let mut first = lines.next()?.split(' ');
        let (method, path) = (first.next()?, first.next()?.strip_prefix('/')?);
        let fields: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(':')).collect();
        let field = |name: &str| fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim());
        Some(Self {
            head: match method {
                "HEAD" => true,
                "GET" => false,
                _ => return None,
            },
            path: path.to_owned(),
            range: field("range").and_then(Asked::parse),
            if_match: field("if-match").filter(|etag| *etag != "*").map(str::to_owned),
            last: field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")),
        })
    }
}

impl Asked {
    /// `None` for several ranges and other units: those may be ignored.
    fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
        let number = |text: &str| if text.is_empty() { Some(None) } else { text.parse().ok().map(Some) };
        let asked = Self { first: number(first)?, last: number(last)? };
        (asked.first.is_some() || asked.last.is_some()).then_some(asked)
    }

    /// Of an object of `size` bytes; `None` where it has none of these.
    pub fn within(self, size: u64) -> Option<ByteRange> {
        let (start, end) = match (self.first, self.last) {
            (Some(first), last) => (first, last.map_or(size, |last| last.saturating_add(1)).min(size)),
            (None, suffix) => (size.saturating_sub(suffix.unwrap_or(0)), size),
        };
        (start < end).then(|| ByteRange::new(start, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_understood() {
        let text = "GET /d1/2-3 HTTP/1.1\r\nHost: a:1\r\nrange: bytes=1-2\r\nIf-Match: \"x\"\r\nConnection: close";
        let request = Request::parse(text).unwrap();
        assert_eq!((request.path.as_str(), request.if_match.as_deref()), ("d1/2-3", Some("\"x\"")));
        assert!(!request.head && request.last);
        assert_eq!(request.range.unwrap().within(3), Some(ByteRange::new(1, 3)));
        assert_eq!(Request::parse("PUT / HTTP/1.1"), None);
        assert_eq!(Request::parse("HEAD / HTTP/1.1\r\nIf-Match: *").unwrap().if_match, None);
    }

    #[test]
    fn ranges_are_cut_at_the_end_and_none_lie_behind_it() {
        let within = |text: &str| Asked::parse(text).unwrap().within(10);
        assert_eq!(within("bytes=0-99"), Some(ByteRange::new(0, 10)));
        assert_eq!(within("bytes=9-"), Some(ByteRange::new(9, 10)));
        assert_eq!(within("bytes=-3"), Some(ByteRange::new(7, 10)));
        assert_eq!((within("bytes=10-"), within("bytes=-0"), within("bytes=5-4")), (None, None, None));
        assert_eq!((Asked::parse("bytes=-"), Asked::parse("bytes=0-1,3-4"), Asked::parse("lines=1-2")), (None, None, None));
    }
}
