//! A web server as an origin, while nodes and the origin itself fail.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::servers::Server;
use crate::swarm::{Node, Plan, Swarm, assert_about_once, have_fuse, noise, wait_until};

const MIB: usize = 1 << 20;
const SIZE: usize = 40 * MIB + 3;

/// Four nodes with what an nginx shows: `deep/big`, beside `deep/other` and an empty directory; and the bytes of `deep/big`.
fn start(directives: &str) -> Option<(tempfile::TempDir, Server, Swarm, Vec<u8>)> {
    if !have_fuse() {
        return None;
    }
    let (root, bytes) = (tempfile::tempdir().unwrap(), noise(SIZE, 4));
    fs::create_dir_all(root.path().join("deep/empty")).unwrap();
    fs::write(root.path().join("deep/big"), &bytes).unwrap();
    fs::write(root.path().join("deep/other"), "once").unwrap();
    let nginx = Server::nginx(root.path(), directives)?;
    let origins = vec![format!("web={}?ttl=1", nginx.url())];
    let swarm = Swarm::start(Plan { nodes: 4, mounts: true, origins, ..Plan::default() });
    Some((root, nginx, swarm, bytes))
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

impl Swarm {
    /// Reads all that there is, in every way, and compares.
    fn assert_whole(&self, n: usize, bytes: &[u8]) {
        let web = self.nodes[n].origin("web");
        assert_eq!(names(&web.join("deep")), ["big", "empty", "other"]);
        assert_eq!(self.list(n, "web", "deep"), ["big", "empty", "other"]);
        assert!(fs::read(web.join("deep/big")).unwrap() == bytes, "node {n}'s mount");
        assert!(self.object(n, "web", "deep/big").unwrap() == bytes, "node {n}'s HTTP");
    }

    fn sum(&self, metric: &str) -> u64 {
        (0..self.nodes.len()).map(|n| self.metric(n, metric)).sum()
    }
}

/// `ls` and `cat *` ask for a listing and for each file's bytes; `cat` of a name for its bytes; and who only looks gets none.
#[test]
fn a_file_that_is_read_costs_the_origin_one_question() {
    if !have_fuse() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    for dir in ["listed", "named", "seen"] {
        fs::create_dir(root.path().join(dir)).unwrap();
        (0..8).for_each(|n| fs::write(root.path().join(dir).join(n.to_string()), "small").unwrap());
    }
    let Some(nginx) = Server::nginx(root.path(), "") else { return };
    let origins = vec![format!("web={}?ttl=3600", nginx.url())];
    let swarm = Swarm::start(Plan { nodes: 3, mounts: true, origins, ..Plan::default() });
    let web = swarm.nodes[0].origin("web");
    let read = |dir: &str, n: usize| assert_eq!(fs::read(web.join(dir).join(n.to_string())).unwrap(), b"small");
    assert_eq!(names(&web.join("listed")).len(), 8);
    (0..8).for_each(|n| read("listed", n));
    assert_eq!(nginx.asked("HEAD", "/listed/0"), 0);
    assert_about_once(nginx.asked("GET", "/listed/") as u64, 1 + 8);
    for n in 0..8 {
        assert_eq!(fs::metadata(web.join("seen").join(n.to_string())).unwrap().len(), 5);
    }
    assert_eq!((0..8).map(|n| nginx.sent(&format!("/seen/{n}")).1).sum::<usize>(), 0);
    if fs::read_to_string("/proc/self/syscall").is_ok() {
        (0..8).for_each(|n| read("named", n));
        let asked = |method| (0..8).map(|n| nginx.asked(method, &format!("/named/{n}"))).sum::<usize>();
        // Who opens is not always seen to where everybody waits for a processor.
        assert!(asked("HEAD") < 8, "{}", asked("HEAD"));
        assert_about_once(asked("GET") as u64, 8);
    }
}

#[test]
fn what_was_read_once_costs_the_origin_nothing_more_and_needs_it_no_longer() {
    // Slow enough that all read at once, not one after another.
    let Some((_root, mut nginx, mut swarm, bytes)) = start("limit_rate 20m;") else { return };
    let together = Barrier::new(4);
    thread::scope(|scope| {
        for n in 0..4 {
            let (swarm, bytes, together) = (&swarm, &bytes, &together);
            scope.spawn(move || {
                together.wait();
                swarm.assert_whole(n, bytes);
            });
        }
    });
    assert_about_once(nginx.sent("/deep/big").0, SIZE as u64);
    assert_about_once(swarm.sum("herring_origin_bytes_total"), SIZE as u64);
    assert_about_once(swarm.sum("herring_swarm_origin_unique_bytes_total"), SIZE as u64);

    // Of this, all but one node have heard nothing.
    assert_eq!(fs::read(swarm.nodes[0].origin("web").join("deep/other")).unwrap(), b"once");
    nginx.kill();
    thread::sleep(Duration::from_secs(2)); // Twice the time to live: nothing is believed for being young any more.
    let assert_all = |swarm: &Swarm| {
        for n in 0..4 {
            swarm.assert_whole(n, &bytes);
            assert_eq!(fs::read(swarm.nodes[n].origin("web").join("deep/other")).unwrap(), b"once", "node {n}");
        }
    };
    assert_all(&swarm);
    for (n, node) in swarm.nodes.iter_mut().enumerate() {
        // What origins said is flushed every 5 s: of those that are killed it may be lost, not of those that end.
        if n < 2 { node.kill() } else { assert!(node.end(Signal::TERM).success()) }
    }
    (0..4).for_each(|n| swarm.launch(n));
    swarm.wait_for_members(4);
    assert_all(&swarm);
}

#[test]
fn a_node_killed_while_all_read_costs_no_reader_anything() {
    let Some((_root, nginx, mut swarm, bytes)) = start("limit_rate 5m;") else { return };
    let read = AtomicUsize::new(0);
    let paths: Vec<PathBuf> = swarm.nodes[..3].iter().map(|node| node.origin("web").join("deep/big")).collect();
    thread::scope(|scope| {
        let readers: Vec<_> = paths.iter().map(|path| scope.spawn(|| read_counting(path, &read))).collect();
        wait_until("readers to be in the middle", || read.load(Ordering::Relaxed) > 4 * MIB);
        assert!(read.load(Ordering::Relaxed) < 3 * SIZE, "still in the middle");
        swarm.nodes[3].kill();
        assert!(readers.into_iter().all(|reader| reader.join().unwrap() == bytes));
    });
    let served = nginx.sent("/deep/big").0;
    // Only what the dead node had not passed on yet is asked for again: it has at most three runs of 16 MiB.
    assert!(served <= 2 * SIZE as u64, "{served} bytes served");
}

fn read_counting(path: &Path, read: &AtomicUsize) -> Vec<u8> {
    let (mut file, mut whole) = (fs::File::open(path).unwrap(), Vec::new());
    while file.by_ref().take(MIB as u64).read_to_end(&mut whole).unwrap() > 0 {
        read.fetch_add(MIB, Ordering::Relaxed);
    }
    whole
}

#[test]
fn with_half_of_the_nodes_hanging_the_others_still_read_what_nobody_has() {
    let Some((_root, _nginx, swarm, bytes)) = start("") else { return };
    let (hanging, well): (Vec<&Node>, Vec<&Node>) =
        (vec![&swarm.nodes[0], &swarm.nodes[2]], vec![&swarm.nodes[1], &swarm.nodes[3]]);
    hanging.iter().for_each(|node| node.signal(Signal::STOP));
    for node in well {
        let web = node.origin("web");
        assert_eq!(names(&web.join("deep")), ["big", "empty", "other"]);
        assert!(fs::read(web.join("deep/big")).unwrap() == bytes);
        assert_eq!(fs::metadata(web.join("deep/none")).unwrap_err().kind(), std::io::ErrorKind::NotFound);
    }
    hanging.iter().for_each(|node| node.signal(Signal::CONT));
}
