//! Readers that are killed while they wait for what does not come.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::mounted::{Mounted, wait_until};
use crate::rig::{CAPACITY, REFUSING};
use crate::silent::{FILE, Silent};

/// When what nobody answers is given up anyway.
const ORIGIN_DEADLINE: Duration = Duration::from_secs(30);
const MAP: &str = "import mmap, sys; f = open(sys.argv[1], 'rb'); mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)[0]";

/// Kills `reader` once it waits for the origin, and waits until it is gone.
fn is_let_go(silent: &Silent, reader: &mut Command, signal: Signal) {
    let before = silent.waiting();
    let mut child = reader.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_until("a question to the origin", || silent.waiting() > before);
    assert_eq!(child.try_wait().unwrap(), None);
    kill_process(Pid::from_child(&child), signal).unwrap();
    let begin = Instant::now();
    wait_until(&format!("the end of {reader:?}"), || child.try_wait().unwrap().is_some());
    assert!(begin.elapsed() < ORIGIN_DEADLINE / 2, "{reader:?} was not let go, but answered");
}

#[test]
fn killed_readers_are_let_go() {
    let silent = Silent::start();
    let Some(mounted) = Mounted::with(CAPACITY, silent.address()) else { return };
    let origin = mounted.at.join("origins").join(REFUSING);
    // Each its own file, or a later one would join the question of an earlier one.
    let file = |name: &str| origin.join(format!("{FILE}-{name}"));
    let direct = format!("if={}", file("direct").display());
    is_let_go(&silent, Command::new("cat").arg(file("cat")), Signal::KILL);
    is_let_go(&silent, Command::new("python3").args(["-c", MAP]).arg(file("map")), Signal::TERM);
    is_let_go(&silent, Command::new("dd").args([&direct, "of=/dev/null", "bs=4096", "count=1", "iflag=direct"]), Signal::KILL);
    is_let_go(&silent, Command::new("stat").arg(origin.join("a")), Signal::KILL);
    is_let_go(&silent, Command::new("stat").arg(origin.join("b")), Signal::INT);
    is_let_go(&silent, Command::new("ls").arg(&origin), Signal::TERM);
}
