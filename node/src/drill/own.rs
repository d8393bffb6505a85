use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::time::timeout;

use super::hands::{Hands, cannot};
use super::scenario::Scenario;
use super::site::At;
use super::wires::Wires;
use crate::error::{Failure, OrFail};
use crate::up::{Child, Layout, Place};

/// An orderly stop takes less, or never ends.
const STOP_DEADLINE: Duration = Duration::from_secs(27);

/// A swarm of the drill's own, as `herring up` makes them, without mounts. Dropped, it kills.
pub struct Own {
    layout: Layout,
    places: Vec<Place>,
    children: Vec<Option<Child>>,
    /// `None`: its directory stays.
    temporary: Option<TempDir>,
    /// Behind the children: they are gone before their network is.
    wires: Option<Wires>,
}

impl Own {
    pub fn start(mut layout: Layout, temporary: Option<TempDir>, wires: Option<Wires>) -> Result<Self, Failure> {
        if wires.is_some() {
            layout.flags.push("--insecure".to_owned());
        }
        let mut places = layout.places()?;
        wires.iter().for_each(|wires| wires.settle(&mut places));
        let mut own = Self { layout, places, children: Vec::new(), temporary, wires };
        own.children = own.places.iter().map(|place| own.spawn(place).map(Some)).collect::<Result<_, _>>()?;
        Ok(own)
    }

    fn spawn(&self, place: &Place) -> Result<Child, Failure> {
        Child::spawn(&self.layout, place, &self.places)
    }

    fn signal(&self, node: usize, signal: Signal) {
        self.children.iter().skip(node).take(1).flatten().for_each(|child| child.signal(signal));
    }

    /// Sends the signal and waits for the end; past the deadline it is killed.
    async fn finish(&mut self, node: usize, signal: Signal) {
        let Some(mut child) = self.children.get_mut(node).and_then(Option::take) else { return };
        child.signal(signal);
        if timeout(STOP_DEADLINE, child.wait()).await.is_err() {
            child.kill().await;
        }
    }
}

#[async_trait]
impl Hands for Own {
    fn nodes(&self) -> Result<Vec<At>, Failure> {
        self.places.iter().map(At::place).collect()
    }

    fn logs(&self) -> Vec<String> {
        self.places.iter().map(|place| place.log().display().to_string()).collect()
    }

    fn check(&self, scenario: Scenario) -> Result<(), Failure> {
        let apart = scenario == Scenario::Partition && self.wires.is_none();
        if apart { Err(cannot("cut nodes off")) } else { Ok(()) }
    }

    async fn kill(&mut self, node: usize) -> Result<(), Failure> {
        self.finish(node, Signal::KILL).await;
        Ok(())
    }

    async fn stop(&mut self, node: usize) -> Result<(), Failure> {
        self.finish(node, Signal::TERM).await;
        Ok(())
    }

    async fn start(&mut self, node: usize) -> Result<(), Failure> {
        let child = self.spawn(&self.places[node])?;
        self.children[node] = Some(child);
        Ok(())
    }

    async fn pause(&mut self, node: usize) -> Result<(), Failure> {
        self.signal(node, Signal::STOP);
        Ok(())
    }

    async fn resume(&mut self, node: usize) -> Result<(), Failure> {
        self.signal(node, Signal::CONT);
        Ok(())
    }

    async fn wipe(&mut self, node: usize) -> Result<(), Failure> {
        empty(&self.places[node])
    }

    async fn join(&mut self) -> Result<(), Failure> {
        let wider = Layout { nodes: self.layout.nodes + 1, ..self.layout.clone() };
        let place = wider.places()?.pop().ok_or_else(|| Failure::failed("there is no place for another node"))?;
        self.children.push(Some(self.spawn(&place)?));
        self.layout = wider;
        self.places.push(place);
        Ok(())
    }

    fn minority(&self) -> Vec<usize> {
        self.wires.as_ref().map_or_else(Vec::new, Wires::minority)
    }

    async fn cut(&mut self) -> Result<(), Failure> {
        self.wires.as_ref().map_or_else(|| Err(cannot("cut nodes off")), |wires| wires.link("down"))
    }

    async fn heal(&mut self) -> Result<(), Failure> {
        self.wires.as_ref().map_or_else(|| Err(cannot("connect nodes again")), |wires| wires.link("up"))
    }

    fn borrowed(&self) -> bool {
        false
    }

    /// What is removed with its data need not stop orderly.
    async fn end(&mut self, failed: bool) -> Option<PathBuf> {
        let stays = failed || self.temporary.is_none();
        let signal = if stays { Signal::TERM } else { Signal::KILL };
        // One that is paused would not hear it.
        (0..self.children.len()).for_each(|node| self.signal(node, Signal::CONT));
        let ends = self.children.iter_mut().flatten().map(async |child| {
            child.signal(signal);
            if timeout(STOP_DEADLINE, child.wait()).await.is_err() {
                child.kill().await;
            }
        });
        join_all(ends).await;
        let temporary = self.temporary.take().filter(|_| stays).map(TempDir::keep);
        stays.then(|| temporary.unwrap_or_else(|| self.layout.dir.clone()))
    }
}

/// Deletes what a node keeps, but not its log: that tells what happened. A mount point is left alone, whatever is mounted there.
pub fn empty(place: &Place) -> Result<(), Failure> {
    let cannot = |path: &Path| format!("cannot empty {}", path.display());
    let entries = std::fs::read_dir(&place.dir).or_fail(|| cannot(&place.dir))?;
    for entry in entries {
        let path = entry.or_fail(|| cannot(&place.dir))?.path();
        if path == place.log() || Some(&path) == place.mount.as_ref() {
            continue;
        }
        let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        removed.or_fail(|| cannot(&path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_disk_has_a_log_and_a_mount_point_left() {
        let dir = tempfile::tempdir().unwrap();
        let (here, mount) = (dir.path().to_owned(), dir.path().join("mnt"));
        for made in [mount.join("x"), here.join("blobs/ab")] {
            std::fs::create_dir_all(made).unwrap();
        }
        for file in ["herring.log", "lock", "records.redb", "blobs/ab/data"] {
            std::fs::write(here.join(file), "x").unwrap();
        }
        let [http, gossip] = [1, 2].map(|port| ([127, 0, 0, 1], port).into());
        empty(&Place {
            id: "n1".into(),
            dir: here.clone(),
            http,
            gossip,
            mount: Some(mount.clone()),
            namespace: None,
            secrets: None,
        })
        .unwrap();
        let mut left: Vec<_> = std::fs::read_dir(&here).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["herring.log", "mnt"]);
        assert!(mount.join("x").exists());
    }
}
