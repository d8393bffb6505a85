//! Measurements between hosts of their own: that they measure what they say, and leave nothing behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const LOADTEST: &str = env!("CARGO_BIN_EXE_loadtest");
const SIZE: u64 = 8 << 20;
/// For what takes seconds.
const DEADLINE: Duration = Duration::from_secs(120);

/// Whether the machine has what these need. Where `HERRING_REQUIRE` names namespaces, it must.
fn have_all() -> bool {
    // Once for all tests: they would make the same namespace.
    static THERE: LazyLock<bool> = LazyLock::new(|| {
        let name = format!("lt{}", std::process::id());
        let namespaces = succeeds("ip", &["netns", "add", &name]) && succeeds("ip", &["netns", "del", &name]);
        namespaces && succeeds("nginx", &["-v"]) && Path::new(LOADTEST).with_file_name("herring").is_file()
    });
    let required = std::env::var("HERRING_REQUIRE").unwrap_or_default();
    let required = required.split(',').any(|need| need == "netns");
    assert!(*THERE || !required, "HERRING_REQUIRE names netns, but namespaces, nginx or a built herring are not here");
    if !*THERE {
        eprintln!("skipped: this needs namespaces, nginx and a built herring (cargo build -p herring)");
    }
    *THERE
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

fn start(home: &Path, arguments: &[&str]) -> Child {
    let mut command = Command::new(LOADTEST);
    command.args(arguments).arg("--home").arg(home).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn namespaces_of(process: u32) -> usize {
    let listed = Command::new("ip").args(["netns", "list"]).output().unwrap();
    let tag = format!("l{}", process % 1_000_000);
    let is_its = |line: &&str| line.strip_prefix(&tag).is_some_and(|rest| rest.starts_with(['-', 's']));
    String::from_utf8_lossy(&listed.stdout).lines().filter(is_its).count()
}

/// It has ended, and so has all that it made.
fn ended(child: Child, home: &Path) -> Output {
    let process = child.id();
    let output = child.wait_with_output().unwrap();
    assert_eq!(namespaces_of(process), 0, "its namespaces are still there");
    assert_eq!(fs::read_dir(home).unwrap().count(), 0, "its data is still there");
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn figures(path: &PathBuf) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn sum(values: &Value) -> u64 {
    values.as_array().unwrap().iter().map(|value| value.as_u64().unwrap()).sum()
}

#[test]
fn a_fan_out_counts_what_links_carried() {
    if !have_all() {
        return;
    }
    let (home, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (json, svg) = (out.path().join("json"), out.path().join("svg"));
    let files = ["--json", json.to_str().unwrap(), "--svg", svg.to_str().unwrap()];
    let what = ["fan-out", "--nodes", "3", "--size", "8MiB", "--rate", "400mbit", "--modes", "central,swarm", "--zones", "3"];
    let output = ended(start(home.path(), &[&what[..], &files].concat()), home.path());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report = figures(&json);
    let [central, swarm] = [&report["fans"][0], &report["fans"][1]];
    for fan in [central, swarm] {
        // All had to get all of it, over its own link and into its own zone.
        for host in 0..3 {
            assert!(fan["received"][host].as_u64().unwrap() > SIZE && fan["into_zones"][host].as_u64().unwrap() > SIZE, "{fan}");
            assert!(fan["finished"][host].as_f64().unwrap() <= fan["seconds"].as_f64().unwrap(), "{fan}");
        }
    }
    assert_eq!(central["origin_bytes"].as_u64(), Some(3 * SIZE));
    // What the origin did not give came from others, by their links.
    let origin = swarm["origin_bytes"].as_u64().unwrap();
    assert!(origin >= SIZE && origin + sum(&swarm["sent"]) >= 3 * SIZE, "{swarm}");
    assert!(sum(&central["sent"]) < SIZE && sum(&swarm["received"]) > 3 * SIZE, "{report}");
    assert_eq!(fs::read_to_string(svg).unwrap().matches("<circle").count(), 2);
}

#[test]
fn cold_reads_are_cold_and_compared_with_the_same_ones() {
    if !have_all() {
        return;
    }
    let (home, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let json = out.path().join("json");
    let what = ["p2p-vs-central", "--nodes", "6", "--readers", "2", "--reads", "16", "--rate", "1gbit", "--json"];
    let output = ended(start(home.path(), &[&what[..], &[json.to_str().unwrap()]].concat()), home.path());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let line = &figures(&json)["lines"][0];
    assert_eq!((&line["p2p"]["reads"], &line["central"]["reads"]), (&16.into(), &16.into()));
    assert_eq!(line["p2p"]["bytes"], line["central"]["bytes"]);
    // The last ones may be read and not counted yet.
    assert!(line["fetched_over_read"].as_f64().unwrap() > 0.5, "{line}");
}

#[test]
fn who_is_interrupted_leaves_nothing_behind() {
    if !have_all() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    // It would take minutes.
    let child = start(home.path(), &["fan-out", "--nodes", "2", "--size", "64MiB", "--rate", "2mbit"]);
    let deadline = Instant::now() + DEADLINE;
    while namespaces_of(child.id()) < 4 {
        assert!(Instant::now() < deadline, "it made no namespaces");
        std::thread::sleep(Duration::from_millis(20));
    }
    kill_process(Pid::from_raw(child.id().cast_signed()).unwrap(), Signal::INT).unwrap();
    let output = ended(child, home.path());
    assert!(!output.status.success() && text(&output.stderr).contains("ended as asked"), "{}", text(&output.stderr));
}
