use std::process::Command;

use super::error::BootError;

/// Bytes that a shaped link lets through at once: more than a burst of the kernel's segments, a millisecond's worth at 1 Gbit/s.
const BURST: &str = "256kb";
/// How long a packet may wait for its turn before it is dropped.
const QUEUE: &str = "50ms";

/// Hosts on a switch, each a network namespace with a link of a limited rate. All of it goes with this value.
pub struct Wires {
    /// Short, since interface names have at most 15 characters.
    tag: String,
    hosts: usize,
}

impl Wires {
    /// `None` where this user may not make namespaces.
    pub fn make(hosts: usize, rate: &str) -> Result<Option<Self>, BootError> {
        let wires = Self { tag: format!("l{}", std::process::id() % 1_000_000), hosts };
        if ip(&["netns", "add", &wires.switch()]).is_err() {
            return Ok(None);
        }
        wires.connect(rate).map(|()| Some(wires))
    }

    /// The switch is a namespace of its own too, so that nothing of the machine's network is touched.
    fn connect(&self, rate: &str) -> Result<(), BootError> {
        let switch = self.switch();
        ip(&["-n", &switch, "link", "add", "br0", "type", "bridge"])?;
        ip(&["-n", &switch, "link", "set", "br0", "up"])?;
        for number in 1..=self.hosts {
            let (host, port) = (self.host(number), format!("{}p{number}", self.tag));
            ip(&["netns", "add", &host])?;
            ip(&["-n", &host, "link", "add", "eth0", "type", "veth", "peer", "name", &port, "netns", &switch])?;
            ip(&["-n", &switch, "link", "set", &port, "master", "br0", "up"])?;
            ip(&["-n", &host, "addr", "add", &format!("{}/16", address(number)), "dev", "eth0"])?;
            ip(&["-n", &host, "link", "set", "eth0", "up"])?;
            ip(&["-n", &host, "link", "set", "lo", "up"])?;
            // Both directions of the link.
            shape(&host, "eth0", rate)?;
            shape(&switch, &port, rate)?;
        }
        Ok(())
    }

    pub fn host(&self, number: usize) -> String {
        format!("{}-{number}", self.tag)
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

fn shape(namespace: &str, device: &str, rate: &str) -> Result<(), BootError> {
    let limits = ["root", "tbf", "rate", rate, "burst", BURST, "latency", QUEUE];
    configure("tc", &[&["-n", namespace, "qdisc", "add", "dev", device][..], &limits[..]].concat())
}

fn ip(arguments: &[&str]) -> Result<(), BootError> {
    configure("ip", arguments)
}

fn configure(program: &str, arguments: &[&str]) -> Result<(), BootError> {
    let what = || format!("{program} {}", arguments.join(" "));
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| BootError::Wires { what: what(), detail: error.to_string() })?;
    let detail = || String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() { Ok(()) } else { Err(BootError::Wires { what: what(), detail: detail() }) }
}
