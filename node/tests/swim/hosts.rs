//! Nodes on hosts of their own: a network namespace each, on a bridge whose ports can be taken down.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;

use herring_blob::BlobId;
use tempfile::TempDir;

use crate::swarm::{HERRING, detach, have, have_fuse, noise, wait_until};

const HOSTS: usize = 3;

struct Hosts {
    dir: TempDir,
    /// Short, since interface names have at most 15 characters.
    tag: String,
    nodes: Vec<Child>,
}

fn ip(args: &[&str]) -> Output {
    Command::new("ip").args(args).output().unwrap()
}

fn must(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Tried once: tests run side by side.
static NAMESPACES: LazyLock<bool> = LazyLock::new(|| {
    let name = format!("hp{}", std::process::id());
    let there = Command::new("ip").args(["netns", "add", &name]).output().is_ok_and(|output| output.status.success());
    if there {
        ip(&["netns", "del", &name]);
    }
    there
});

pub fn have_namespaces() -> bool {
    have("netns", *NAMESPACES)
}

impl Hosts {
    fn start() -> Self {
        let tag = format!("h{}", std::process::id() % 100_000);
        let mut hosts = Self { dir: tempfile::tempdir().unwrap(), tag, nodes: Vec::new() };
        hosts.wire();
        hosts.nodes = (1..=HOSTS).map(|n| hosts.launch(n)).collect();
        hosts.wait_for_members(&[1, 2, 3], HOSTS);
        hosts
    }

    /// The switch is a namespace of its own too, so that nothing of the machine's network is touched.
    fn wire(&self) {
        let switch = self.switch();
        must(&ip(&["netns", "add", &switch]));
        must(&ip(&["-n", &switch, "link", "add", "br0", "type", "bridge"]));
        must(&ip(&["-n", &switch, "link", "set", "br0", "up"]));
        for n in 1..=HOSTS {
            let (host, port) = (self.host(n), self.port(n));
            must(&ip(&["netns", "add", &host]));
            must(&ip(&["-n", &host, "link", "add", "eth0", "type", "veth", "peer", "name", &port, "netns", &switch]));
            must(&ip(&["-n", &switch, "link", "set", &port, "master", "br0", "up"]));
            must(&ip(&["-n", &host, "addr", "add", &format!("10.77.0.{n}/24"), "dev", "eth0"]));
            must(&ip(&["-n", &host, "link", "set", "eth0", "up"]));
            must(&ip(&["-n", &host, "link", "set", "lo", "up"]));
        }
    }

    fn switch(&self) -> String {
        format!("{}s", self.tag)
    }

    fn host(&self, n: usize) -> String {
        format!("{}-{n}", self.tag)
    }

    fn port(&self, n: usize) -> String {
        format!("{}p{n}", self.tag)
    }

    fn mount(&self, n: usize) -> PathBuf {
        self.dir.path().join(format!("n{n}/mnt"))
    }

    fn inside(&self, n: usize) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.host(n))).arg(HERRING);
        command
    }

    fn launch(&self, n: usize) -> Child {
        let dir = self.dir.path().join(format!("n{n}"));
        std::fs::create_dir_all(&dir).unwrap();
        let log = std::fs::File::create(dir.join("log")).unwrap();
        let mut command = self.inside(n);
        command.args([
            "node",
            "--insecure",
            "--replicas",
            "2",
            "--id",
            &format!("n{n}"),
            "--listen",
            &format!("10.77.0.{n}:7070"),
        ]);
        command.arg("--data-dir").arg(dir.join("data")).arg("--mount").arg(dir.join("mnt"));
        (1..=HOSTS).filter(|other| *other != n).for_each(|other| {
            command.args(["--seed", &format!("10.77.0.{other}:7071")]);
        });
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
    }

    /// A client command in host `n`.
    fn client(&self, n: usize, args: &[&str]) -> Output {
        self.inside(n).args(["--node", &format!("http://10.77.0.{n}:7070")]).args(args).output().unwrap()
    }

    fn wait_for_members(&self, on: &[usize], count: usize) {
        wait_until(&format!("{count} members on hosts {on:?}"), || {
            on.iter().all(|n| {
                let status = String::from_utf8(self.client(*n, &["status", "--json"]).stdout).unwrap();
                status.matches("\"ready\"").count() == count && !status.contains("\"suspect\"")
            })
        });
    }

    fn link(&self, n: usize, state: &str) {
        must(&ip(&["-n", &self.switch(), "link", "set", &self.port(n), state]));
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            let _ = node.kill();
            let _ = node.wait();
        }
        for n in 1..=HOSTS {
            detach(&self.mount(n));
            ip(&["netns", "del", &self.host(n)]);
            if std::thread::panicking() {
                let log = std::fs::read_to_string(self.dir.path().join(format!("n{n}/log"))).unwrap_or_default();
                eprintln!("--- n{n}\n{log}");
            }
        }
        ip(&["netns", "del", &self.switch()]);
    }
}

#[test]
fn a_host_that_falls_off_the_network_costs_a_reader_nothing_but_time() {
    if !have_namespaces() || !have_fuse() {
        return;
    }
    let hosts = Hosts::start();
    let bytes = noise(64 << 20, 9);
    let file = hosts.dir.path().join("file");
    std::fs::write(&file, &bytes).unwrap();
    must(&hosts.client(1, &["put", file.to_str().unwrap()]));
    let id = BlobId::of(&bytes);
    let mut reader = std::fs::File::open(hosts.mount(3).join("blobs").join(id.to_string())).unwrap();
    let mut read = vec![0; 5 << 20];
    reader.read_exact(&mut read).unwrap();
    // No reset, no refusal: packets to it just vanish.
    hosts.link(2, "down");
    reader.read_to_end(&mut read).unwrap();
    assert!(read == bytes, "the same bytes with an owner unreachable in the middle");
    hosts.wait_for_members(&[1, 3], 2);
    hosts.link(2, "up");
    hosts.wait_for_members(&[1, 2, 3], 3);
}
