//! How long a lease lasts, as people write it.

use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

/// A lease's time: `7d`, `36h`, `90m`, `30s`, `2w`, or seconds; from a second to ten years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Ttl(pub Duration);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no time: write it like 7d, 36h, 90m, 30s or 2w, or in seconds; from 1s to 3650d")]
pub struct TtlError(String);

const DAY: u64 = 24 * 3600;
const MOST: u64 = 3650 * DAY;

impl Default for Ttl {
    /// A week.
    fn default() -> Self {
        Self(Duration::from_secs(7 * DAY))
    }
}

impl FromStr for Ttl {
    type Err = TtlError;

    fn from_str(text: &str) -> Result<Self, TtlError> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = match &text[digits.len()..] {
            "" | "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => DAY,
            "w" => 7 * DAY,
            _ => return Err(TtlError(text.to_owned())),
        };
        let seconds = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(unit));
        let lasts = seconds.filter(|seconds| (1..=MOST).contains(seconds)).map(Duration::from_secs);
        lasts.map(Self).ok_or_else(|| TtlError(text.to_owned()))
    }
}

impl TryFrom<String> for Ttl {
    type Error = TtlError;

    fn try_from(text: String) -> Result<Self, TtlError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_people_write_them() {
        let seconds = |text: &str| text.parse::<Ttl>().map(|ttl| ttl.0.as_secs());
        for (text, expected) in [("7d", 604_800), ("2w", 1_209_600), ("36h", 129_600), ("90m", 5400), ("30s", 30), ("1", 1)] {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
        assert_eq!(seconds("3650d"), Ok(MOST));
        assert_eq!(Ttl::default(), "7d".parse().unwrap());
        for wrong in
            ["", "0", "0d", "-1", "d", "7 d", "7y", "7dd", "1.5h", "3651d", "99999999999999999999", "18446744073709551615w"]
        {
            let error = seconds(wrong).unwrap_err().to_string();
            assert!(error.contains("write it like 7d"), "{wrong}: {error}");
        }
    }
}
