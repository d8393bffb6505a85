//! Prefetches and pins, over restarts.

use std::fs;
use std::process::{Command, Stdio};

use futures_util::TryStreamExt;
use herring_http_api::types::{Job, JobState, Prefetch, PrefetchPath};
use uuid::Uuid;

use crate::servers::Server;
use crate::swarm::{HERRING, Plan, Swarm, noise, wait_until};

const SIZE: usize = 24 << 20;

impl Swarm {
    /// Follows a job's events to its end.
    fn follow(&self, n: usize, job: Uuid) -> Vec<Job> {
        self.block(async { self.api(n).follow_job(job).await.unwrap().try_collect().await.unwrap() })
    }

    /// How often a node was asked how far a job is.
    fn followed(&self, n: usize) -> u64 {
        let text = self.block(async { self.api(n).metrics().await }).unwrap();
        let of_jobs = |line: &&str| line.starts_with("herring_http_requests_total") && line.contains("/v1/jobs/{job}");
        text.lines().filter(of_jobs).map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }
}

#[test]
fn a_prefetch_goes_on_after_its_node_was_killed_and_what_it_brought_needs_no_origin() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("model/sub")).unwrap();
    let (one, two) = (noise(SIZE, 1), noise(SIZE, 2));
    fs::write(root.path().join("model/one"), &one).unwrap();
    fs::write(root.path().join("model/sub/two"), &two).unwrap();
    let Some(mut nginx) = Server::nginx(root.path(), "limit_rate 4m;") else { return };
    let origins = vec![format!("web={}", nginx.url())];
    let mut swarm = Swarm::start(Plan { origins, ..Plan::default() });

    let wanted = PrefetchPath::new("web", "model");
    let wanted = Prefetch { origins: vec![wanted], ..Prefetch::default() };
    let job = swarm.block(async { swarm.api(0).prefetch(&wanted).await }).unwrap();
    wait_until("the job to be in the middle", || {
        let state = swarm.block(async { swarm.api(0).job(job).await }).unwrap();
        assert!(!state.state.is_final(), "it is over before it could be killed: {state:?}");
        state.bytes_done > 0
    });
    let followed = swarm.followed(0);
    let mut again = Command::new(HERRING);
    again.args(["prefetch", "web:model", "--wait", "--json", "--node", &swarm.nodes[0].url()]);
    let waits = again.stdout(Stdio::piped()).spawn().unwrap();
    wait_until("somebody to wait", || swarm.followed(0) > followed);
    swarm.nodes[0].kill();
    swarm.launch(0);
    swarm.wait_for_members(3);
    let states = swarm.follow(0, job);
    let last = states.last().unwrap();
    assert_eq!((last.state, last.bytes_done, last.contents), (JobState::Done, 2 * SIZE as u64, 2), "{states:?}");
    assert!(states.iter().rev().skip(1).all(|state| !state.state.is_final()));

    let waited = waits.wait_with_output().unwrap();
    assert!(waited.status.success() && String::from_utf8(waited.stdout).unwrap().contains(r#""done""#), "over the restart");
    let waited = swarm.ask(1, &["prefetch", "web:model", "--wait"]).unwrap();
    assert_eq!((waited["state"].as_str(), waited["bytes_done"].as_u64()), (Some("done"), Some(2 * SIZE as u64)));
    nginx.kill();
    for n in 0..2 {
        let before = swarm.metric(n, "herring_swarm_bytes_fetched_total");
        assert!(swarm.object(n, "web", "model/one").unwrap() == one && swarm.object(n, "web", "model/sub/two").unwrap() == two);
        assert_eq!(swarm.metric(n, "herring_swarm_bytes_fetched_total"), before, "node {n} has it on its disk");
    }
}

#[test]
fn a_pin_brings_what_it_keeps_and_outlives_its_node() {
    let mut swarm = Swarm::start(Plan { replicas: 1, ..Plan::default() });
    let bytes = noise(SIZE, 3);
    let id = swarm.put(0, &bytes);
    let name = swarm.ask(1, &["pin", &id.to_string(), "--ttl", "1h"]).unwrap();
    assert_eq!(name["id"].as_str(), Some(id.to_string().as_str()));
    swarm.nodes[1].kill();
    swarm.launch(1);
    swarm.wait_for_members(3);
    let kept = &swarm.ask(1, &["pins"]).unwrap()["pins"][0];
    assert!(["target", "id", "until_ms", "bytes"].iter().all(|field| kept[field] == name[field]), "{kept}");
    assert_eq!(swarm.ask(0, &["pins"]).unwrap()["pins"].as_array().unwrap().len(), 0, "a lease is one node's own");
    let held = || swarm.block(async { swarm.api(2).explain(id, None).await }).unwrap().chunks;
    wait_until("node 2 to hold all of it", || held().iter().all(|chunk| chunk.holders.contains(&"n2".to_owned())));
    assert_eq!(swarm.ask(1, &["pins"]).unwrap()["pins"][0]["bytes_here"].as_u64(), Some(SIZE as u64));
    swarm.ask(1, &["unpin", &id.to_string()]).unwrap();
    assert!(swarm.ask(1, &["unpin", &id.to_string()]).unwrap_err().contains("not pinned"));
    assert_eq!(swarm.ask(1, &["pins"]).unwrap()["pins"].as_array().unwrap().len(), 0);
}
