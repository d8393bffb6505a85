//! Directories through the swarm, and their names.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use herring_blob::BlobId;
use herring_http_api::types::Condition;

use crate::swarm::{HERRING, Plan, Swarm, noise, wait_until};

impl Swarm {
    pub fn put_tree(&self, n: usize, dir: &Path, name: &str) -> String {
        let put = self.ask(n, &["put", dir.to_str().unwrap(), "--name", name]).unwrap();
        put[0]["id"].as_str().unwrap().to_owned()
    }
}

/// One of everything that a tree can hold, small and large.
pub fn make(dir: &Path) {
    for (n, size) in [0, 1, 1000, (1 << 20) - 1, 1 << 20, 5_000_001].into_iter().enumerate() {
        let below = dir.join(format!("sub {}", n % 2)).join("ü");
        fs::create_dir_all(&below).unwrap();
        let path = below.join(format!("file{n}"));
        fs::write(&path, noise(size, n as u64)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode([0o644, 0o755, 0o400][n % 3])).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::new(1_000_000 * n as u64, 123_456_789);
        fs::File::open(&path).unwrap().set_modified(time).unwrap();
    }
    fs::create_dir(dir.join("empty")).unwrap();
    symlink("sub 0/nowhere", dir.join("dangling")).unwrap();
    symlink("..", dir.join("empty/up")).unwrap();
    fs::set_permissions(dir.join("empty"), fs::Permissions::from_mode(0o555)).unwrap();
}

#[test]
fn a_directory_comes_back_bit_for_bit_with_a_node_killed() {
    let mut swarm = Swarm::start(Plan::default());
    let dir = tempfile::tempdir().unwrap();
    let (source, back, part) = (dir.path().join("source"), dir.path().join("back"), dir.path().join("part"));
    fs::create_dir(&source).unwrap();
    make(&source);
    let id = swarm.put_tree(0, &source, "models/tiny");
    swarm.nodes[0].kill();
    swarm.ask(1, &["get", "models/tiny", "-o", back.to_str().unwrap()]).unwrap();
    // What has the same id has the same names, bytes, modes, times and links.
    assert_eq!(swarm.put_tree(2, &back, "copies/back"), id);
    swarm.ask(2, &["get", "models/tiny/sub 1", "-o", part.to_str().unwrap()]).unwrap();
    assert_eq!(swarm.put_tree(1, &part, "copies/part"), swarm.put_tree(1, &source.join("sub 1"), "copies/part"));
    let again = swarm.ask(1, &["get", "models/tiny", "-o", back.to_str().unwrap()]).unwrap_err();
    assert!(again.contains("is not empty"), "{again}");
    let names = swarm.ask(1, &["ls", "copies/"]).unwrap();
    let names: Vec<&str> = names["names"].as_array().unwrap().iter().map(|info| info["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["copies/back", "copies/part"]);
    swarm.put_tree(1, &part, "copies/back/part");
    assert_eq!(swarm.ask(2, &["stat", "copies/back/part"]).unwrap()["hidden_by"], "copies/back", "no mount shows it");
    let stat = swarm.ask(2, &["stat", "models/tiny"]).unwrap();
    assert!(stat["hidden_by"].is_null());
    assert_eq!((stat["id"].as_str(), stat["tree"]["files"].as_u64()), (Some(id.as_str()), Some(6)));
    swarm.ask(1, &["rm", "models/tiny"]).unwrap();
    assert!(swarm.ask(2, &["stat", "models/tiny"]).unwrap_err().contains("there is no name"));
    swarm.ask(2, &["stat", &id]).unwrap();
}

/// What was put before one file was refused stays, and is told, as is what a name hides.
#[test]
fn a_put_that_fails_halfway_tells_what_stays() {
    let swarm = Swarm::start(Plan { capacity: "24MiB", ..Plan::default() });
    let dir = tempfile::tempdir().unwrap();
    let bytes = noise(1 << 20, 7);
    fs::write(dir.path().join("a"), &bytes).unwrap();
    // No node has room for it.
    fs::File::create(dir.path().join("z")).unwrap().set_len(64 << 20).unwrap();
    let (path, id) = (dir.path().to_str().unwrap(), BlobId::of(&bytes).to_string());
    let refused = swarm.ask(0, &["put", path, "--name", "models/half"]).unwrap_err();
    assert!(
        ["no name set", "1 blob (1.0 MiB)", &format!("herring rm {id}")].iter().all(|part| refused.contains(part)),
        "{refused}"
    );
    assert_eq!(swarm.ask(1, &["stat", &id]).unwrap()["id"], id);
    assert!(swarm.ask(1, &["stat", "models/half"]).is_err());

    fs::remove_file(dir.path().join("z")).unwrap();
    for name in ["models/b", "models/c"] {
        swarm.put_tree(0, dir.path(), name);
    }
    let put = Command::new(HERRING).args(["put", path, "--name", "models", "--node", &swarm.nodes[0].url()]).output().unwrap();
    let told = String::from_utf8(put.stderr).unwrap();
    assert!(put.status.success() && told.contains("models hides what is named below it: models/b and 1 more"), "{told}");
}

#[test]
fn acknowledged_names_survive_the_death_of_all_nodes_at_once() {
    let mut swarm = Swarm::start(Plan::default());
    let target = |n: u64| BlobId::of(&n.to_le_bytes());
    let put = |swarm: &Swarm, n: u64| {
        let (api, name) = (swarm.api(usize::try_from(n % 3).unwrap()), format!("n/{}", n % 7));
        swarm.block(async { api.put_name(&name, target(n), Condition::Always).await })
    };
    let done: Vec<_> = (0..40).map(|n| put(&swarm, n).unwrap()).collect();
    swarm.nodes.iter_mut().for_each(|node| node.kill());
    (0..3).for_each(|n| swarm.launch(n));
    // Before they have met they acknowledge nothing; after that, everything is as it was.
    let mut first = None;
    wait_until("the first name that is put again", || {
        first = put(&swarm, 0).ok();
        first.is_some()
    });
    assert!(first.unwrap().version > done[35].version);
    swarm.wait_for_members(3);
    for before in &done[34..40] {
        for n in 0..3 {
            let now = swarm.block(async { swarm.api(n).name(&before.name).await }).unwrap();
            assert!(now == *before || (before.name == "n/0" && now.version > before.version), "{now:?}, {before:?}");
        }
    }
}
