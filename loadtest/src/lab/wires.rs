use std::process::Command;

use super::counters::Carried;
use super::error::LabError;
use super::hosts::inside;
use super::rate::Rate;

/// Bytes that a shaped link lets through at once: more than a burst of the kernel's segments, a millisecond's worth at 1 Gbit/s.
const BURST: &str = "256kb";
/// How long a packet may wait for its turn before it is dropped.
const QUEUE: &str = "50ms";

/// What is made.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    pub hosts: usize,
    /// Of each host's link, as `tc` writes it.
    pub rate: &'a str,
    /// Switches below the first one, among which the hosts are dealt out in turn; 0 or 1: all are on the first. Between switches nothing is
    /// limited, only counted.
    pub zones: usize,
    /// The last so many hosts are on the first switch, in no zone.
    pub apart: usize,
}

/// Hosts on a switch, each a network namespace with a link of a limited rate. All of it goes with this value.
pub struct Wires {
    /// Short, since interface names have at most 15 characters.
    tag: String,
    hosts: usize,
    zones: usize,
}

impl Wires {
    /// `None` where this user may not make namespaces.
    pub fn make(plan: Plan<'_>) -> Result<Option<Self>, LabError> {
        let tag = format!("l{}", std::process::id() % 1_000_000);
        let wires = Self { tag, hosts: plan.hosts, zones: if plan.zones > 1 { plan.zones } else { 0 } };
        if ip(&["netns", "add", &wires.switch()]).is_err() {
            return Ok(None);
        }
        wires.connect(plan).map(|()| Some(wires))
    }

    /// So many hosts that are dealt out among zones, and one more that is in none.
    pub fn make_or_fail(hosts: usize, rate: &Rate, zones: usize) -> Result<Self, LabError> {
        let plan = Plan { hosts: hosts + 1, rate: &rate.to_string(), zones, apart: 1 };
        Self::make(plan)?.ok_or(LabError::NoNamespaces)
    }

    /// The switches are in a namespace of their own too, so that nothing of the machine's network is touched.
    fn connect(&self, plan: Plan<'_>) -> Result<(), LabError> {
        let switch = self.switch();
        bridge(&switch, "br0")?;
        for zone in 0..self.zones {
            let (own, up, down) = (format!("br{}", zone + 1), uplink(zone), format!("d{zone}"));
            bridge(&switch, &own)?;
            ip(&["-n", &switch, "link", "add", &up, "type", "veth", "peer", "name", &down])?;
            ip(&["-n", &switch, "link", "set", &up, "master", "br0", "up"])?;
            ip(&["-n", &switch, "link", "set", &down, "master", &own, "up"])?;
        }
        for number in 1..=self.hosts {
            let zone = self.zone(number).filter(|_| number + plan.apart <= self.hosts);
            let bridge = zone.map_or_else(|| "br0".to_owned(), |zone| format!("br{}", zone + 1));
            self.plug(number, &bridge, plan.rate)?;
        }
        Ok(())
    }

    fn plug(&self, number: usize, bridge: &str, rate: &str) -> Result<(), LabError> {
        let (switch, host, port) = (self.switch(), self.host(number), format!("{}p{number}", self.tag));
        ip(&["netns", "add", &host])?;
        ip(&["-n", &host, "link", "add", "eth0", "type", "veth", "peer", "name", &port, "netns", &switch])?;
        ip(&["-n", &switch, "link", "set", &port, "master", bridge, "up"])?;
        ip(&["-n", &host, "addr", "add", &format!("{}/16", address(number)), "dev", "eth0"])?;
        ip(&["-n", &host, "link", "set", "eth0", "up"])?;
        ip(&["-n", &host, "link", "set", "lo", "up"])?;
        // Both directions of the link.
        shape(&host, "eth0", rate)?;
        shape(&switch, &port, rate)
    }

    pub fn host(&self, number: usize) -> String {
        format!("{}-{number}", self.tag)
    }

    /// The number of the last host.
    pub fn last(&self) -> usize {
        self.hosts
    }

    /// Where a host is, counted from 0, if there are zones.
    pub fn zone(&self, number: usize) -> Option<usize> {
        (number - 1).checked_rem(self.zones)
    }

    /// Bytes that went into each zone from outside, from the beginning.
    pub fn received_by_zones(&self) -> Result<Vec<u64>, LabError> {
        let counted = || (0..self.zones).map(|zone| Ok(Carried::by(&uplink(zone))?.sent)).collect();
        inside(&self.switch(), counted)?
    }

    fn switch(&self) -> String {
        format!("{}s", self.tag)
    }
}

impl Drop for Wires {
    fn drop(&mut self) {
        let all = (1..=self.hosts).map(|number| self.host(number)).chain([self.switch()]);
        // Those that were not made yet are not there.
        all.for_each(|name| drop(ip(&["netns", "del", &name])));
    }
}

/// Of a host, counted from 1.
pub fn address(number: usize) -> String {
    format!("10.77.{}.{}", number / 200, number % 200 + 1)
}

/// The first switch's port to a zone's.
fn uplink(zone: usize) -> String {
    format!("u{zone}")
}

fn bridge(namespace: &str, name: &str) -> Result<(), LabError> {
    ip(&["-n", namespace, "link", "add", name, "type", "bridge"])?;
    ip(&["-n", namespace, "link", "set", name, "up"])
}

fn shape(namespace: &str, device: &str, rate: &str) -> Result<(), LabError> {
    let limits = ["root", "tbf", "rate", rate, "burst", BURST, "latency", QUEUE];
    configure("tc", &[&["-n", namespace, "qdisc", "add", "dev", device][..], &limits[..]].concat())
}

fn ip(arguments: &[&str]) -> Result<(), LabError> {
    configure("ip", arguments)
}

fn configure(program: &str, arguments: &[&str]) -> Result<(), LabError> {
    let what = || format!("{program} {}", arguments.join(" "));
    let output = Command::new(program).args(arguments).output().map_err(LabError::io(what()))?;
    let detail = || String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() { Ok(()) } else { Err(LabError::Wires { what: what(), detail: detail() }) }
}
