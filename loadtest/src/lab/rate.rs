use std::fmt;
use std::str::FromStr;

/// Of a link, in each direction; written as `tc` writes it: `100mbit`.
#[derive(Debug, Clone, PartialEq)]
pub struct Rate {
    text: String,
    bits: f64,
}

impl Rate {
    /// Seconds that so many bytes take at least.
    pub fn seconds(&self, bytes: u64) -> f64 {
        bytes as f64 * 8.0 / self.bits
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let units = [("kbit", 1e3), ("mbit", 1e6), ("gbit", 1e9)];
        let parsed = units.into_iter().find_map(|(unit, factor)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * factor));
        match parsed {
            Some(bits) if bits.is_finite() && bits > 0.0 => Ok(Self { text: text.to_owned(), bits }),
            _ => Err(format!("{text:?} is no rate: write it like 100mbit, 1gbit or 500kbit")),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_what_tc_means() {
        let rate: Rate = "100mbit".parse().unwrap();
        assert_eq!((rate.seconds(12_500_000), rate.to_string()), (1.0, "100mbit".to_owned()));
        assert_eq!("2.5gbit".parse::<Rate>().unwrap().seconds(2_500_000_000), 8.0);
        for wrong in ["", "100", "mbit", "-1mbit", "0kbit", "100mbps", "nanmbit"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }
}
