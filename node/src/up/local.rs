use std::time::Duration;

use futures_util::future::{join_all, select_all};
use herring_http_api::client::ApiClient;
use herring_http_api::types::Cluster;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::child::Child;
use super::hold::is_held;
use super::layout::{Layout, Place};
use super::mounts;
use super::record::{Record, Recorded};
use crate::error::{Failure, tell};
use crate::output::count;
use crate::signals::Stop;

/// Nodes of one machine find each other within a second or two; a loaded machine may take longer.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// A node drains its requests and unmounts within this, or never.
const STOP_DEADLINE: Duration = Duration::from_secs(27);
/// Between two looks at a starting node.
const POLL: Duration = Duration::from_millis(50);
/// Between two looks at whether a drill wants its node back.
const HOLD_POLL: Duration = Duration::from_millis(100);

/// A node that ended by itself.
#[derive(Debug)]
pub struct Ended {
    /// Which node, how it ended and what its log says.
    pub report: String,
    /// The command line that starts it again.
    pub way_back: String,
}

/// The running nodes of one machine. [`stop`](Self::stop) it; dropped, it kills.
#[derive(Debug)]
pub struct Local {
    layout: Layout,
    places: Vec<Place>,
    /// Those that still run.
    children: Vec<Child>,
    /// All that were started, in the order of `places`.
    pids: Vec<u32>,
    /// Those that a drill holds: they are started again when it lets go.
    away: Vec<Place>,
}

impl Local {
    /// Starts all nodes and waits for none.
    pub fn spawn(layout: Layout) -> Result<Self, Failure> {
        let places = layout.places()?;
        clear_dead(&places);
        let children: Vec<Child> = places.iter().map(|place| Child::spawn(&layout, place, &places)).collect::<Result<_, _>>()?;
        let pids = children.iter().map(|child| child.pid).collect();
        let local = Self { layout, places, children, pids, away: Vec::new() };
        local.record();
        Ok(local)
    }

    pub fn places(&self) -> impl Iterator<Item = (&Place, u32)> {
        self.places.iter().zip(self.pids.iter().copied())
    }

    pub fn client(&self, index: usize) -> Result<ApiClient, Failure> {
        self.places[index].client()
    }

    pub fn is_empty(&self) -> bool {
        self.children.is_empty() && self.away.is_empty()
    }

    /// Returns once every node is ready and all see the same members; else says what is missing, with the node's log.
    pub async fn ready(&mut self) -> Result<(), Failure> {
        let clients: Vec<ApiClient> = (0..self.places.len()).map(|index| self.client(index)).collect::<Result<_, _>>()?;
        let deadline = Instant::now() + START_DEADLINE;
        let mut missing = (0, "it does not answer".to_owned());
        loop {
            let looked = tokio::select! {
                ended = self.ended() => return Err(Failure::failed(ended.report)),
                looked = timeout_at(deadline, look(&clients)) => looked,
            };
            match looked {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(reason)) => missing = reason,
                Err(_) => return Err(self.too_late(missing.0, &missing.1)),
            }
            sleep(POLL).await;
        }
    }

    fn too_late(&self, index: usize, missing: &str) -> Failure {
        let (id, seconds) = (&self.places[index].id, START_DEADLINE.as_secs());
        let tail = self.children.get(index).map(Child::tail).unwrap_or_default();
        Failure::failed(format_args!("after {seconds} s {id} is still not ready: {missing}; its log ends with:\n{tail}"))
    }

    /// Waits until a node ends by itself, forgets it, and says so. Pends forever where none is left. Nodes that a drill ends are brought
    /// back meanwhile, when it lets go of them.
    pub async fn ended(&mut self) -> Ended {
        loop {
            let (report, index) = tokio::select! {
                end = first_end(&mut self.children) => end,
                () = sleep(HOLD_POLL), if !self.away.is_empty() => {
                    self.bring_back();
                    continue;
                }
            };
            let place = self.children.remove(index).place;
            let held = is_held(&self.layout.dir, &place.id);
            if held {
                self.away.push(place.clone());
            }
            self.record();
            if !held {
                return Ended { report, way_back: self.layout.command(&place, &self.places) };
            }
        }
    }

    /// Starts those again that no drill holds any more.
    fn bring_back(&mut self) {
        let (held, free): (Vec<Place>, Vec<Place>) = self.away.drain(..).partition(|place| is_held(&self.layout.dir, &place.id));
        self.away = held;
        clear_dead(&free);
        for place in &free {
            match Child::spawn(&self.layout, place, &self.places) {
                Ok(child) => self.adopt(child),
                Err(failure) => tell(failure),
            }
        }
        if !free.is_empty() {
            self.record();
        }
    }

    fn adopt(&mut self, child: Child) {
        let known = self.places.iter().zip(&mut self.pids).find(|(place, _)| **place == child.place);
        known.into_iter().for_each(|(_, pid)| *pid = child.pid);
        self.children.push(child);
    }

    /// Leaves word of who runs: nothing depends on it but drills.
    fn record(&self) {
        let pid = |place: &Place| self.children.iter().find(|child| child.place == *place).map(|child| child.pid);
        let node = |place: &Place| {
            let argv = self.layout.line(place, &self.places);
            Recorded { place: place.clone(), pid: pid(place), argv }
        };
        let record = Record { layout: self.layout.clone(), nodes: self.places.iter().map(node).collect() };
        if let Err(error) = record.save() {
            tell(format_args!("cannot write up.json in {}: {error}", self.layout.dir.display()));
        }
    }

    /// Asks all to stop and waits for them, at most 27 s or until it is asked for again; then kills who is left.
    pub async fn stop(mut self, again: &mut Stop) {
        self.children.iter().for_each(Child::terminate);
        let stopped = join_all(self.children.iter_mut().map(Child::wait));
        let in_time = tokio::select! {
            done = timeout(STOP_DEADLINE, stopped) => done.is_ok(),
            () = again.asked() => false,
        };
        if !in_time {
            join_all(self.children.iter_mut().filter(|child| child.is_running()).map(Child::kill)).await;
        }
        clear_dead(&self.places);
        Record::remove(&self.layout.dir);
    }
}

/// What the first child that ends by itself says, and its index; never where there is none.
async fn first_end(children: &mut [Child]) -> (String, usize) {
    if children.is_empty() {
        return std::future::pending().await;
    }
    let (report, index, _) = select_all(children.iter_mut().map(|child| Box::pin(child.ended()))).await;
    (report, index)
}

fn clear_dead(places: &[Place]) {
    places.iter().filter_map(|place| place.mount.as_deref()).for_each(mounts::clear_dead);
}

/// Which node is not there yet, and why.
async fn look(clients: &[ApiClient]) -> Result<(), (usize, String)> {
    let mut epoch: Option<String> = None;
    for (index, client) in clients.iter().enumerate() {
        client.ready().await.map_err(|reason| (index, reason))?;
        let cluster = client.cluster().await.map_err(|error| (index, error.to_string()))?;
        check(&cluster, clients.len(), epoch.as_deref()).map_err(|missing| (index, missing))?;
        epoch = Some(cluster.epoch);
    }
    Ok(())
}

fn check(cluster: &Cluster, nodes: usize, epoch: Option<&str>) -> Result<(), String> {
    let ready = cluster.members.iter().filter(|member| member.state == "ready").count();
    if ready != nodes {
        return Err(format!("it sees {}, not {nodes}", count(ready, "ready node")));
    }
    match epoch {
        Some(epoch) if epoch != cluster.epoch => Err(format!("its epoch is {}, another node's {epoch}", cluster.epoch)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use herring_http_api::types::MemberInfo;

    use super::*;

    fn cluster(states: &[&str], epoch: &str) -> Cluster {
        let member = |state: &&str| MemberInfo {
            id: "n".into(),
            http: String::new(),
            zone: String::new(),
            weight: 100,
            state: (*state).to_owned(),
            version: String::new(),
            bytes_used: None,
            bytes_capacity: None,
            custody: None,
            replicas: None,
            origins: None,
            origin_hashes: None,
        };
        Cluster::of("n1".into(), epoch.into(), 3, states.iter().map(member).collect(), Vec::new())
    }

    #[test]
    fn all_are_ready_once_each_sees_the_same_ring_of_all() {
        assert_eq!(check(&cluster(&["ready"; 3], "e"), 3, Some("e")), Ok(()));
        let told = |states: &[&str]| check(&cluster(states, "e"), 3, None).unwrap_err();
        assert_eq!(told(&["ready", "joining", "joining"]), "it sees 1 ready node, not 3");
        assert_eq!(told(&["ready", "ready", "suspect"]), "it sees 2 ready nodes, not 3");
        assert!(check(&cluster(&["ready"; 3], "e"), 3, Some("f")).unwrap_err().contains("its epoch is e"), "weights differ");
    }
}
