//! Names in the mount, and their conditions.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use herring_blob::BlobId;

use crate::swarm::{Plan, Swarm, have_fuse, request, wait_until};
use crate::trees::make;

/// Path, type, mode, time, link target and size of files; what `diff -r` does not look at.
fn looks(dir: &Path) -> String {
    let format =
        ["-mindepth", "1", "-printf", "%P %y %m %T@ %l ", "(", "-type", "f", "-printf", "%s\n", "-o", "-printf", "\n", ")"];
    let output = Command::new("find").arg(dir).args(format).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

fn assert_same(source: &Path, shown: &Path) {
    let diff = Command::new("diff").args(["-r", "--no-dereference"]).args([source, shown]).output().unwrap();
    assert!(diff.status.success(), "{}{}", String::from_utf8_lossy(&diff.stdout), String::from_utf8_lossy(&diff.stderr));
    assert_eq!(looks(source), looks(shown));
}

impl Swarm {
    /// Points `n/tiny` at something under a condition; the status.
    fn point(&self, n: usize, condition: &str, target: BlobId) -> u16 {
        let head = format!("PUT /v1/names/models/tiny HTTP/1.1\r\nContent-Type: application/json\r\n{condition}");
        request(self.nodes[n].http, &head, format!("{{\"target\":\"{target}\"}}").as_bytes()).0
    }
}

#[test]
fn a_named_directory_is_in_every_mount_as_it_was_put() {
    if !have_fuse() {
        return;
    }
    let mut swarm = Swarm::start(Plan { mounts: true, ..Plan::default() });
    let dir = tempfile::tempdir().unwrap();
    let (first, second, back) = (dir.path().join("first"), dir.path().join("second"), dir.path().join("back"));
    fs::create_dir_all(second.join("sub 0")).unwrap();
    fs::create_dir(&first).unwrap();
    make(&first);
    let script = first.join("run");
    fs::write(&script, "#!/bin/sh\necho ran\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(second.join("sub 0/new"), "moved").unwrap();
    let shown = |swarm: &Swarm, n: usize| swarm.nodes[n].mount().join("names/models/tiny");

    swarm.put_tree(0, &first, "models/tiny");
    for n in 0..3 {
        assert_same(&first, &shown(&swarm, n));
        assert_eq!(Command::new(shown(&swarm, n).join("run")).output().unwrap().stdout, b"ran\n");
        assert_eq!(fs::read_dir(swarm.nodes[n].mount().join("names")).unwrap().count(), 1);
    }

    let target: BlobId = swarm.put_tree(1, &second, "models/tiny").parse().unwrap();
    for n in 0..3 {
        wait_until("the name to have moved in the mount", || shown(&swarm, n).join("sub 0/new").exists());
        assert_same(&second, &shown(&swarm, n));
    }

    let version = swarm.ask(2, &["stat", "models/tiny"]).unwrap()["name"]["version"].as_u64().unwrap();
    swarm.nodes[0].kill();
    for n in 1..3 {
        assert_same(&second, &shown(&swarm, n));
        // With one more that is taken for silent, nobody knows all names.
        let mut listed = Err(String::new());
        wait_until("the names to be listed", || {
            listed = swarm.ask(n, &["ls", "models"]);
            listed.is_ok()
        });
        assert_eq!(listed.unwrap()["names"][0]["name"], "models/tiny");
    }
    swarm.ask(2, &["get", "models/tiny", "-o", back.to_str().unwrap()]).unwrap();
    assert_same(&second, &back);
    assert_eq!(swarm.point(1, "If-None-Match: *", target), 412);
    assert_eq!(swarm.point(1, &format!("If-Match: \"{}\"", version - 1), target), 412);
    assert_eq!(swarm.point(2, &format!("If-Match: \"{version}\""), target), 200);
    assert_eq!(swarm.point(1, &format!("If-Match: \"{version}\""), target), 412, "the version before the last");
}
