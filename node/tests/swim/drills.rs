//! `herring drill` as people run it: what a swarm promises, tried while something happens to it.

use std::process::{Command, Output, Stdio};

use herring_http_api::client::ApiClient;
use serde_json::Value;

use crate::hosts::have_namespaces;
use crate::swarm::{HERRING, free_base, wait_until};
use crate::up::{Up, command};

/// Small, and each with other bytes and victims.
fn drill(scenario: &str, seed: &str, more: &[&str]) -> Output {
    let mut command = Command::new(HERRING);
    command.args(["drill", scenario, "--json", "--seed", seed, "--seconds", "4", "--bytes", "16MiB"]);
    command.args(["--readers", "2", "--writers", "1"]).args(more).stdin(Stdio::null());
    command.output().unwrap()
}

/// Its report, in which nothing is that must not be.
fn sound(output: &Output) -> Value {
    let (report, words) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{report}\n{words}");
    let report: Value = serde_json::from_str(&report).unwrap();
    for fault in ["failed_reads", "lost_blobs", "wrong_bytes"] {
        assert_eq!(report[fault], 0, "{report:#}");
    }
    assert!(report["blobs"].as_u64() > Some(0), "{report:#}");
    for phase in ["reads_before", "reads_after"] {
        assert!(report[phase]["reads"].as_u64() > Some(0), "{phase}: {report:#}");
    }
    report
}

const SMALL: [&str; 4] = ["--nodes", "3", "--replicas", "2"];
/// Time to look once, for what does not wait for repair.
const ONCE: [&str; 2] = ["--settle", "1"];

fn small(scenario: &str, seed: &str) -> Value {
    sound(&drill(scenario, seed, &[&SMALL[..], &ONCE].concat()))
}

/// What is written while the owners change moves too.
const IN_FLUX: u64 = 8 << 20;

/// Every owner has what it owns in the end, and not much more moved than the change of owners asks for.
fn repaired(scenario: &str, seed: &str) {
    let report = sound(&drill(scenario, seed, &[&SMALL[..], &["--settle", "60"]].concat()));
    assert_eq!(report["replicated"], true, "{report:#}");
    let moved = report["moved_bytes"].as_u64().expect("nodes say what they pulled");
    assert!(moved <= 2 * report["ideal_bytes"].as_u64().unwrap() + IN_FLUX, "{report:#}");
}

#[test]
fn a_node_joins() {
    let report = small("join", "1");
    assert!(report["ideal_bytes"].as_u64() > Some(0), "a newcomer owns something: {report:#}");
}

#[test]
fn a_node_leaves() {
    small("leave", "2");
}

#[test]
fn a_node_is_killed() {
    small("kill", "3");
}

#[test]
fn nodes_are_restarted_one_after_the_other() {
    let report = small("rolling-restart", "4");
    assert_eq!(report["steps"].as_array().unwrap().len(), 6, "{report:#}");
}

#[test]
fn a_node_loses_its_disk() {
    small("disk-loss", "5");
}

#[test]
fn a_node_flaps() {
    small("flap", "6");
}

#[test]
fn a_node_is_paused() {
    small("pause", "7");
}

#[test]
fn a_node_is_cut_off() {
    if !have_namespaces() {
        return;
    }
    sound(&drill("partition", "8", &[&SMALL[..], &ONCE, &["--minutes", "0.1"]].concat()));
}

#[test]
fn what_a_newcomer_owns_it_gets() {
    repaired("join", "1");
}

#[test]
fn what_a_leaver_had_others_get() {
    repaired("leave", "2");
}

#[test]
fn what_a_dead_node_had_others_get() {
    repaired("kill", "3");
}

#[test]
fn a_lost_disk_is_filled_again() {
    repaired("disk-loss", "5");
}

#[test]
fn a_running_swarm_is_drilled_and_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_base();
    let mut up = Up::of(dir.path(), command(dir.path(), port).arg("--no-mount"));
    let apis: Vec<ApiClient> = (0..3).map(|n| ApiClient::new(&format!("http://127.0.0.1:{}", port + 10 * n)).unwrap()).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let all_there = || apis.iter().all(|api| runtime.block_on(crate::up::ready_members(api)) == 3);
    wait_until("all nodes to see each other", all_there);
    let pids = || {
        let record: Value = serde_json::from_slice(&std::fs::read(dir.path().join("up.json")).unwrap()).unwrap();
        record["nodes"].as_array().unwrap().iter().map(|node| node["pid"].as_u64()).collect::<Vec<_>>()
    };
    let before = pids();

    let output = drill("kill", "9", &[&ONCE[..], &["--dir", dir.path().to_str().unwrap()]].concat());
    sound(&output);

    // Whoever was killed is there again, by itself, and of what the drill put nothing is.
    wait_until("all nodes to be there again", || pids().iter().all(Option::is_some) && all_there());
    assert_eq!(pids().iter().zip(&before).filter(|(now, before)| now != before).count(), 1, "{before:?}, {:?}", pids());
    assert_eq!(up.end(), Some(0));
    assert!(!dir.path().join("up.json").exists());
}

#[test]
fn what_cannot_be_is_said_before_anything_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path().to_str().unwrap();
    let refusals = [
        (drill("kill", "1", &["--dir", here]), "no running `herring up`"),
        (drill("partition", "1", &["--nodes", "2"]), "none can be cut off"),
        (drill("kill", "1", &["--compose", "/no/such/file"]), "docker compose"),
        (drill("kill", "1", &["--dir", here, "--nodes", "3"]), "cannot be used with"),
    ];
    for (output, sentence) in refusals {
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && words.contains(sentence), "{words}");
    }
}
