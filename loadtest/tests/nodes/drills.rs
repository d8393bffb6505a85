//! Short drills: whatever becomes of one node of five no read fails, and nothing grows while everything happens at once.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

const LOADTEST: &str = env!("CARGO_BIN_EXE_loadtest");

/// Whether the program that is drilled is there. Where `HERRING_REQUIRE` names it, it must.
fn have_herring() -> bool {
    let there = Path::new(LOADTEST).with_file_name("herring").is_file();
    let required = std::env::var("HERRING_REQUIRE").unwrap_or_default();
    assert!(there || !required.split(',').any(|need| need == "herring"), "HERRING_REQUIRE names herring, which is not built");
    if !there {
        eprintln!("skipped: this needs a built herring (cargo build -p herring)");
    }
    there
}

/// Its data is gone when it has ended.
fn run(arguments: &[&str]) -> Output {
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(LOADTEST).args(arguments).arg("--dir").arg(home.path()).output().unwrap();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "its data is still there");
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn no_read_fails_whatever_becomes_of_one_node() {
    if !have_herring() {
        return;
    }
    let json = tempfile::NamedTempFile::new().unwrap();
    let file = json.path().to_str().unwrap();
    run(&["tail", "--fault", "slow,blackhole,reset,stall", "--reads", "12", "--delay", "400", "--json", file]);
    let report: Value = serde_json::from_slice(&fs::read(json.path()).unwrap()).unwrap();
    for drill in report["drills"].as_array().unwrap() {
        assert_eq!((&drill["all"]["reads"], &drill["all"]["failed"]), (&12.into(), &0.into()), "{drill}");
        // They were cold: peers gave as many chunks, of which the last four may still be arriving.
        assert!(drill["hedging"]["fetched"].as_f64().unwrap() >= 8.0, "{drill}");
    }
}

#[test]
fn nothing_fails_while_everything_happens_at_once() {
    if !have_herring() {
        return;
    }
    let seconds = std::env::var("HERRING_SOAK").unwrap_or_else(|_| "20".to_owned());
    let report: Value = serde_json::from_slice(&run(&["soak", "--json", "--seconds", &seconds]).stdout).unwrap();
    assert_eq!(report["objections"].as_array().unwrap().len(), 0);
    assert!(report["reconnects"].as_u64().unwrap() > 0, "{report}");
}
