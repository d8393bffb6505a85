use std::fs;
use std::ops::{Add, Sub};

use serde::Serialize;

use super::error::LabError;

/// Of the namespace of the thread that asks: `/sys/class/net` shows that of whoever mounted it.
const DEVICES: &str = "/proc/thread-self/net/dev";
const STAT: &str = "/proc/stat";
/// A host's link.
const LINK: &str = "eth0";

/// Bytes that a link carried, with all headers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Carried {
    pub sent: u64,
    pub received: u64,
}

impl Carried {
    /// By the link of the host that this thread is on, from the beginning.
    pub fn here() -> Result<Self, LabError> {
        Self::by(LINK)
    }

    /// By a device of the namespace that this thread is in.
    pub fn by(device: &str) -> Result<Self, LabError> {
        let text = fs::read_to_string(DEVICES).map_err(LabError::io(DEVICES))?;
        parse_device(&text, device).ok_or_else(|| LabError::Wires { what: DEVICES.into(), detail: format!("no {device}") })
    }
}

impl Sub for Carried {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self { sent: self.sent - before.sent, received: self.received - before.received }
    }
}

impl Add for Carried {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { sent: self.sent + other.sent, received: self.received + other.received }
    }
}

/// Received bytes come first behind the name, sent ones ninth.
fn parse_device(text: &str, device: &str) -> Option<Carried> {
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix(device)?.strip_prefix(':'))?;
    let figures: Vec<&str> = line.split_whitespace().collect();
    Some(Carried { received: figures.first()?.parse().ok()?, sent: figures.get(8)?.parse().ok()? })
}

/// What this machine's cores have done, in ticks of all of them.
#[derive(Debug, Clone, Copy)]
pub struct Busy {
    busy: u64,
    all: u64,
}

impl Busy {
    /// From the beginning; none where the kernel does not say.
    pub fn now() -> Self {
        fs::read_to_string(STAT).ok().and_then(|text| parse_busy(&text)).unwrap_or(Self { busy: 0, all: 0 })
    }

    /// The share of all cores that was busy since then.
    pub fn share_since(self, before: Self) -> f64 {
        (self.busy - before.busy) as f64 / (self.all - before.all).max(1) as f64
    }
}

fn parse_busy(text: &str) -> Option<Busy> {
    // user, nice, system, idle, iowait, irq, softirq, steal; what guests use is in user already.
    let ticks: Vec<u64> =
        text.lines().next()?.split_whitespace().skip(1).take(8).filter_map(|ticks| ticks.parse().ok()).collect();
    let all = ticks.iter().sum::<u64>();
    Some(Busy { busy: all - ticks.get(3)? - ticks.get(4)?, all })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_found_by_its_name() {
        let text = "Inter-|   Receive                            |  Transmit\n face |bytes    packets errs\n    \
                    lo:     100       1    0    0    0     0          0         0      100       1\n  \
                    eth0: 5000      10    0    0    0     0          0         0     7000      20    0    0    0     0       0          0\n";
        assert_eq!(parse_device(text, "eth0"), Some(Carried { sent: 7000, received: 5000 }));
        assert_eq!(parse_device(text, "eth"), None);
    }

    #[test]
    fn waiting_for_disks_is_not_work() {
        let before = parse_busy("cpu  10 0 10 100 50 0 0 0 0 0\ncpu0 1 1 1 1").unwrap();
        let after = parse_busy("cpu  30 0 20 110 80 0 5 5 0 0\n").unwrap();
        assert_eq!(after.share_since(before), 0.5);
    }
}
