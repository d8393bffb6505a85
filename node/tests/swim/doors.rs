//! What others' programs read a hub with, each through another node.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::servers::runs;
use crate::stand_in::StandIn;
use crate::swarm::{Plan, Swarm, assert_about_once, have, noise};

const SIZE: usize = 20_000_000;

/// Prints where it is.
const SNAPSHOT: &str = "
from huggingface_hub import snapshot_download
print(snapshot_download('org/tiny'))
";

/// Lists the repository at a commit in the bucket, and copies the model to the path given.
const COPY: &str = "
import sys, boto3
door, commit, path = sys.argv[1:]
s3 = boto3.client('s3', endpoint_url=door, aws_access_key_id='any', aws_secret_access_key='thing', region_name='us-east-1')
keys = [entry['Key'] for entry in s3.list_objects_v2(Bucket='hub', Prefix=f'org/tiny@{commit}/')['Contents']]
assert keys == [f'org/tiny@{commit}/{name}' for name in ('model.safetensors', 'sub/config.json')], keys
s3.download_file('hub', keys[0], path)
";

fn have_package(need: &str, package: &str) -> bool {
    have(need, runs(Command::new("python3").args(["-c", &format!("import {package}")])))
}

/// Its commit, and the model.
fn snapshot(swarm: &Swarm, n: usize, home: &Path) -> (String, Vec<u8>) {
    let endpoint = format!("{}/hf", swarm.nodes[n].url());
    let mut command = Command::new("python3");
    command.args(["-c", SNAPSHOT]).env("HF_ENDPOINT", endpoint).env("HF_HOME", home).env("HF_HUB_DISABLE_TELEMETRY", "1");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let at = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
    assert_eq!(fs::read(at.join("sub/config.json")).unwrap(), b"{}");
    (at.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(at.join("model.safetensors")).unwrap())
}

#[test]
fn a_hub_is_read_by_its_own_client_and_by_another_one_and_asked_once() {
    if !have_package("hubclient", "huggingface_hub") || !have_package("boto3", "boto3") {
        return;
    }
    let Some(hub) = StandIn::start(&[]) else { return };
    let bytes = noise(SIZE, 5);
    hub.write("models/org/tiny/main/model.safetensors", &bytes);
    hub.write("models/org/tiny/main/sub/config.json", b"{}");
    let swarm = Swarm::start(Plan { origins: vec![format!("hub=hf://?endpoint={}", hub.endpoint())], ..Plan::default() });
    let dir = tempfile::tempdir().unwrap();
    let (commit, first) = snapshot(&swarm, 0, &dir.path().join("first"));
    assert!(first == bytes);
    assert!(snapshot(&swarm, 1, &dir.path().join("second")) == (commit.clone(), bytes.clone()));
    let copy = dir.path().join("copy");
    let door = format!("{}/s3", swarm.nodes[2].url());
    let output = Command::new("python3").args(["-c", COPY, &door, &commit]).arg(&copy).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(fs::read(&copy).unwrap() == bytes);
    let files = hub.asked().into_iter().filter(|asked| asked.side == "cdn" || asked.target.contains("resolve"));
    assert_about_once(files.map(|asked| asked.bytes).sum(), SIZE as u64 + 2);
}
