use std::fs::File;
use std::os::fd::AsFd;
use std::process::Command;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::config::PORT;
use crate::error::{Failure, OrFail};
use crate::up::Place;

/// Two switches with a link between them, and a network namespace for each node: the last `minority` ones are on the second switch, the drill
/// itself and all others on the first. All of it is in namespaces of its own and goes with this value.
#[derive(Debug)]
pub struct Wires {
    /// Short, since interface names have at most 15 characters.
    tag: String,
    nodes: usize,
    minority: usize,
}

impl Wires {
    pub fn make(nodes: usize, minority: usize) -> Result<Self, Failure> {
        let wires = Self { tag: format!("d{}", std::process::id() % 1_000_000), nodes, minority };
        let switch = wires.switch();
        ip(&["netns", "add", &switch]).map_err(|failure| {
            Failure::failed(format_args!("a partition needs root and the program ip, to make network namespaces: {failure}"))
        })?;
        wires.connect(&switch)?;
        Ok(wires)
    }

    fn connect(&self, switch: &str) -> Result<(), Failure> {
        for bridge in ["br0", "br1"] {
            ip(&["-n", switch, "link", "add", bridge, "type", "bridge"])?;
            ip(&["-n", switch, "link", "set", bridge, "up"])?;
        }
        ip(&["-n", switch, "addr", "add", "10.78.255.254/16", "dev", "br0"])?;
        ip(&["-n", switch, "link", "set", "lo", "up"])?;
        ip(&["-n", switch, "link", "add", "near", "type", "veth", "peer", "name", "far"])?;
        ip(&["-n", switch, "link", "set", "near", "master", "br0", "up"])?;
        ip(&["-n", switch, "link", "set", "far", "master", "br1", "up"])?;
        (0..self.nodes).try_for_each(|node| self.plug(switch, node))
    }

    fn plug(&self, switch: &str, node: usize) -> Result<(), Failure> {
        let (host, port) = (self.host(node), format!("p{node}"));
        let bridge = if self.minority().contains(&node) { "br1" } else { "br0" };
        ip(&["netns", "add", &host])?;
        ip(&["-n", &host, "link", "add", "eth0", "type", "veth", "peer", "name", &port, "netns", switch])?;
        ip(&["-n", switch, "link", "set", &port, "master", bridge, "up"])?;
        ip(&["-n", &host, "addr", "add", &format!("10.78.0.{}/16", node + 1), "dev", "eth0"])?;
        ip(&["-n", &host, "link", "set", "eth0", "up"])?;
        ip(&["-n", &host, "link", "set", "lo", "up"])
    }

    /// Puts each of these nodes on its host.
    pub fn settle(&self, places: &mut [Place]) {
        for (node, place) in places.iter_mut().enumerate() {
            let host = [10, 78, 0, u8::try_from(node + 1).unwrap_or(u8::MAX)];
            (place.http, place.gossip) = ((host, PORT).into(), (host, PORT + 1).into());
            place.namespace = Some(self.host(node));
        }
    }

    pub fn minority(&self) -> Vec<usize> {
        (self.nodes - self.minority..self.nodes).collect()
    }

    /// Takes the link between the switches `down`, or brings it `up`: packets just vanish.
    pub fn link(&self, state: &str) -> Result<(), Failure> {
        ip(&["-n", &self.switch(), "link", "set", "near", state])
    }

    /// Where the drill itself has to be.
    pub fn switch(&self) -> String {
        format!("{}s", self.tag)
    }

    fn host(&self, node: usize) -> String {
        format!("{}-{}", self.tag, node + 1)
    }
}

impl Drop for Wires {
    fn drop(&mut self) {
        let hosts = (0..self.nodes).map(|node| self.host(node));
        // Those that were not made yet are not there.
        hosts.chain([self.switch()]).for_each(|name| drop(ip(&["netns", "del", &name])));
    }
}

/// From now on this thread, and those that it starts, have the network of that namespace.
pub fn enter(namespace: &str) -> Result<(), Failure> {
    let path = format!("/run/netns/{namespace}");
    let cannot = || format!("cannot enter {path}");
    let file = File::open(&path).or_fail(cannot)?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).or_fail(cannot)
}

fn ip(words: &[&str]) -> Result<(), Failure> {
    let what = || format!("ip {}", words.join(" "));
    let output = Command::new("ip").args(words).output().or_fail(what)?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(Failure::failed(format_args!("{}: {}", what(), said.trim()))) }
}
