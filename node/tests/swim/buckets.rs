//! A bucket on somebody else's S3 server.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use herring_http_api::client::ClientError;
use rustix::io::Errno;

use crate::servers::Server;
use crate::swarm::{Plan, Swarm, assert_about_once, have_fuse, request, wait_until};

const MIB: usize = 1 << 20;

fn start(ttl: u32) -> Option<(Server, Swarm)> {
    if !have_fuse() {
        return None;
    }
    let moto = Server::moto()?;
    let bucket = format!("s3=s3://models?endpoint={}&region=us-east-1&anonymous=true&path_style=true&ttl={ttl}", moto.url());
    let swarm = Swarm::start(Plan { mounts: true, origins: vec![bucket], ..Plan::default() });
    Some((moto, swarm))
}

#[test]
fn a_directory_of_many_keys_is_listed_whole_and_each_page_once() {
    let Some((moto, swarm)) = start(60) else { return };
    let all: Vec<String> = (0..2500).map(|n| format!("{n:04}")).collect();
    std::thread::scope(|scope| {
        for (n, node) in swarm.nodes.iter().enumerate() {
            let (swarm, all) = (&swarm, &all);
            scope.spawn(move || {
                let entries = fs::read_dir(node.origin("s3").join("many")).unwrap();
                let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
                names.sort();
                assert!(names == *all, "{} names on node {n}", names.len());
                assert!(swarm.list(n, "s3", "many") == *all, "node {n}");
            });
        }
    });
    // Three of a thousand keys each; whether there is such a directory is a question of one key.
    assert_about_once(moto.noted("max-keys=1000 ") as u64, 3);
    assert!(moto.noted("list-type=2") < 8);
    assert_eq!(fs::metadata(swarm.nodes[1].origin("s3").join("many/0006")).unwrap().len(), 6);
}

#[test]
fn an_object_that_changes_is_never_a_mix_of_its_versions() {
    // For as long as this takes, every node believes in the old version until it finds out.
    let Some((moto, swarm)) = start(3600) else { return };
    let held = moto.write("held", 20 * MIB + 1, 1);
    let old = moto.write("part", 40 * MIB + 1, 2);
    let path = |n: usize, key: &str| swarm.nodes[n].origin("s3").join(key);
    assert!(fs::read(path(0, "held")).unwrap() == held);
    let files: Vec<File> = (0..2).map(|n| File::open(path(n, "part")).unwrap()).collect();
    assert_eq!(request(swarm.nodes[2].http, "HEAD /v1/origins/s3/part HTTP/1.1", b"").0, 200);
    let mut piece = [0; 4096];
    files[0].read_exact_at(&mut piece, 0).unwrap();
    assert!(piece == old[..4096]);
    let end = old.len() as u64 - 4096;

    let held_now = moto.write("held", 20 * MIB + 1, 3);
    let new = moto.write("part", 40 * MIB + 1, 4);
    // Whose owner is taken for silent may have found out.
    let is_whole = |bytes: &Vec<u8>| *bytes == held || *bytes == held_now;
    for n in 0..3 {
        assert!(is_whole(&fs::read(path(n, "held")).unwrap()), "the old version is in the swarm, whole: node {n}'s mount");
        assert!(is_whole(&swarm.object(n, "s3", "held").unwrap()), "node {n}'s HTTP");
    }
    let (status, answer) = request(swarm.nodes[2].http, &format!("GET /v1/origins/s3/part HTTP/1.1\r\nRange: bytes={end}-"), b"");
    assert_eq!(status, 206, "nobody has the old version's end, and nobody asked for the old version: {answer}");
    for (n, file) in files.iter().enumerate() {
        let mut piece = [0; 4096];
        file.read_exact_at(&mut piece, 0).unwrap();
        assert!(piece == old[..4096], "node {n} opened the old version, whose beginning is in the swarm");
        wait_until("the old version's end to be gone", || {
            let error = file.read_exact_at(&mut piece, end).expect_err("it is nowhere");
            error.raw_os_error() == Some(Errno::STALE.raw_os_error())
        });
    }
    for n in 0..3 {
        wait_until("the new version", || match swarm.object(n, "s3", "part") {
            Ok(bytes) => {
                assert!(bytes == new, "node {n} gives one version, and not the one that is nowhere");
                true
            }
            // What began with the old version's bytes, and had none to go on with; or nobody answered for a moment.
            Err(ClientError::Broken { .. }) => false,
            Err(ClientError::Problem(problem)) if problem.status >= 502 => false,
            Err(error) => panic!("{error}"),
        });
        assert!(fs::read(path(n, "part")).unwrap() == new, "node {n}'s mount");
    }
}
