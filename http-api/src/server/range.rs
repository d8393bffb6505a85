//! The `Range` header, RFC 9110 section 14.
//!
//! `http-range-header` is not used: its check of a suffix longer than the body fails where the RFC wants the whole, it
//! calls a reversed range unsatisfiable where the RFC wants it ignored, and what is left of it, a parser that knows
//! neither `Bytes=` nor leading zeros, is longer to call than to write.

use herring_blob::ByteRange;
use http::header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE};
use http::{HeaderMap, HeaderValue};

/// What a `Range` header asks of a body of a known size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// Nothing that we answer with a part: absent, malformed, of another unit, or several ranges, which a server may
    /// ignore. Answering those in parts is rarely used, and lets a small request ask for the same bytes many times.
    Whole,
    Part(ByteRange),
    Unsatisfiable,
}

/// One range as it is written: `2-5`, `2-` or `-5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spec {
    Between(u64, u64),
    From(u64),
    Last(u64),
}

impl Asked {
    pub(super) fn of(header: Option<&HeaderValue>, size: u64) -> Self {
        match header.and_then(|value| Spec::parse(value.to_str().ok()?)) {
            Some(spec) => spec.within(size).map_or(Self::Unsatisfiable, Self::Part),
            None => Self::Whole,
        }
    }
}

/// How many bytes from the beginning on are asked for; 0 where it is something else, or may be nothing.
pub(super) fn first_bytes(headers: &HeaderMap) -> u64 {
    let conditions = [IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE, IF_RANGE];
    if conditions.iter().any(|name| headers.contains_key(name)) {
        return 0;
    }
    match headers.get(RANGE).map(|value| value.to_str().ok().and_then(Spec::parse)) {
        None | Some(Some(Spec::From(0))) => u64::MAX,
        Some(Some(Spec::Between(0, last))) => last.saturating_add(1),
        Some(_) => 0,
    }
}

impl Spec {
    fn parse(header: &str) -> Option<Self> {
        let (unit, set) = header.split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        match set.trim().split_once('-')? {
            ("", last) => Some(Self::Last(digits(last)?)),
            (first, "") => Some(Self::From(digits(first)?)),
            (first, last) => Some(Self::Between(digits(first)?, digits(last)?)).filter(Self::is_forward),
        }
    }

    fn is_forward(&self) -> bool {
        !matches!(self, Self::Between(first, last) if last < first)
    }

    /// The bytes meant, of a body of `size`; `None` where there are none.
    fn within(self, size: u64) -> Option<ByteRange> {
        let range = match self {
            Self::Between(first, last) => ByteRange::new(first, last.saturating_add(1)),
            Self::From(first) => ByteRange::new(first, u64::MAX),
            Self::Last(count) => ByteRange::new(size.saturating_sub(count), size),
        };
        Some(range.clamp_to(size)).filter(|range| !range.is_empty())
    }
}

/// A decimal number of any length: what does not fit is past any end there is. No sign, no space.
fn digits(text: &str) -> Option<u64> {
    let valid = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    valid.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn asked(header: &str, size: u64) -> Asked {
        Asked::of(Some(&HeaderValue::from_str(header).unwrap()), size)
    }

    #[test]
    fn what_begins_at_the_beginning_is_told_from_the_rest() {
        let of = |pairs: &[(http::HeaderName, &str)]| {
            let value = |text: &str| HeaderValue::from_str(text).unwrap();
            first_bytes(&pairs.iter().map(|(name, text)| (name.clone(), value(text))).collect())
        };
        assert_eq!(of(&[]), u64::MAX);
        assert_eq!(of(&[(RANGE, "bytes=0-99")]), 100);
        assert_eq!(of(&[(RANGE, "bytes=0-")]), u64::MAX);
        for other in ["bytes=1-", "bytes=5-9", "bytes=-5", "bytes=x"] {
            assert_eq!(of(&[(RANGE, other)]), 0, "{other}");
        }
        assert_eq!(of(&[(RANGE, "bytes=0-99"), (IF_NONE_MATCH, "*")]), 0);
    }

    #[test]
    fn what_is_malformed_or_unknown_is_ignored() {
        for header in [
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=5",
            "bytes=5-2",
            "bytes=a-b",
            "bytes=+1-2",
            "bytes=1 - 2",
            "bytes=--5",
            "bytes=1-2-3",
            "items=0-1",
            "bytes=0-1,4-5",
            "=0-1",
            "bytes 0-1",
            "bytes=1-é",
        ] {
            assert_eq!(asked(header, 10), Asked::Whole, "{header}");
        }
        assert_eq!(Asked::of(None, 10), Asked::Whole);
    }

    #[test]
    fn the_edges_of_the_rfc() {
        let part = |start, end| Asked::Part(ByteRange::new(start, end));
        assert_eq!(asked("bytes=0-0", 10), part(0, 1));
        assert_eq!(asked("Bytes=007-", 10), part(7, 10));
        assert_eq!(asked("bytes=-500", 100), part(0, 100));
        assert_eq!(asked("bytes=9-99999999999999999999999", 10), part(9, 10));
        assert_eq!(asked("bytes=99999999999999999999999-", 10), Asked::Unsatisfiable);
        assert_eq!(asked("bytes=18446744073709551615-18446744073709551615", u64::MAX), Asked::Unsatisfiable);
        assert_eq!(asked("bytes=10-", 10), Asked::Unsatisfiable);
        assert_eq!(asked("bytes=200-300", 100), Asked::Unsatisfiable);
        assert_eq!(asked("bytes=-0", 10), Asked::Unsatisfiable);
        for header in ["bytes=0-", "bytes=0-0", "bytes=-1"] {
            assert_eq!(asked(header, 0), Asked::Unsatisfiable, "{header}");
        }
    }

    /// The bytes that a range means, one by one.
    fn model(size: u64, means: impl Fn(u64) -> bool) -> Vec<u64> {
        (0..size).filter(|&at| means(at)).collect()
    }

    fn bytes_of(asked: Asked) -> Vec<u64> {
        match asked {
            Asked::Part(range) => (range.start..range.end).collect(),
            Asked::Unsatisfiable => vec![],
            Asked::Whole => panic!("a well-formed range was ignored"),
        }
    }

    proptest! {
        #[test]
        fn a_range_means_what_a_plain_model_says(size in 0u64..40, a in 0u64..50, more in 0u64..50) {
            let b = a + more;
            prop_assert_eq!(bytes_of(asked(&format!("bytes={a}-{b}"), size)), model(size, |at| a <= at && at <= b));
            prop_assert_eq!(bytes_of(asked(&format!("bytes={a}-"), size)), model(size, |at| a <= at));
            prop_assert_eq!(bytes_of(asked(&format!("bytes=-{a}"), size)), model(size, |at| size - at <= a));
        }

        #[test]
        fn whatever_is_sent_a_part_lies_within_the_body(header in "\\PC{0,30}", tail in "[-0-9, ]{0,12}", size: u64) {
            for text in [header, format!("bytes={tail}")] {
                if let Ok(value) = HeaderValue::from_str(&text)
                    && let Asked::Part(range) = Asked::of(Some(&value), size)
                {
                    prop_assert!(range.start < range.end && range.end <= size);
                }
            }
        }
    }

    /// Pieces of ranges in any order, with numbers at the edges.
    #[test]
    fn fuzz_ranges() {
        const PARTS: [&str; 16] = [
            "bytes",
            "Bytes",
            "=",
            "-",
            ",",
            "0",
            "1",
            "9",
            "4294967296",
            "9223372036854775808",
            "18446744073709551615",
            "99999999999999999999",
            " ",
            "\t",
            "*",
            "+",
        ];
        bolero::check!().with_type::<(Vec<u8>, u64, bool)>().with_iterations(6000).for_each(|(picks, size, bytes)| {
            let parts = picks.iter().take(12).map(|pick| PARTS[usize::from(*pick) % PARTS.len()]);
            let text: String = bytes.then_some("bytes=").into_iter().chain(parts).collect();
            let header = HeaderValue::from_str(&text).unwrap();
            let first = first_bytes(&HeaderMap::from_iter([(RANGE, header.clone())]));
            match Asked::of(Some(&header), *size) {
                Asked::Part(range) => {
                    assert!(range.start < range.end && range.end <= *size, "{text}");
                    // Who says beforehand how much is read from the beginning says no less than what is read then.
                    assert!(first == 0 || (range.start == 0 && range.end <= first), "{text}");
                }
                // One range is meant where a hyphen parts numbers, and a comma never makes one.
                Asked::Unsatisfiable => assert!(!text.contains(',') && text.contains('-'), "{text}"),
                Asked::Whole => {}
            }
        });
    }
}
