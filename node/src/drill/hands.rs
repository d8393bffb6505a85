use std::path::PathBuf;

use async_trait::async_trait;

use super::scenario::Scenario;
use super::site::At;
use crate::error::Failure;

/// What can be done to the nodes of a swarm. Nodes are counted from 0, and a new one is the last.
#[async_trait]
pub trait Hands: Send {
    /// Where each node answers.
    fn nodes(&self) -> Result<Vec<At>, Failure>;

    /// Where to look when a node did not do what it must.
    fn logs(&self) -> Vec<String>;

    /// Refuses what cannot be done here, before anything is.
    fn check(&self, scenario: Scenario) -> Result<(), Failure>;

    /// `kill -9`. Returns when it is gone.
    async fn kill(&mut self, node: usize) -> Result<(), Failure>;

    /// Stops it orderly. Returns when it is gone.
    async fn stop(&mut self, node: usize) -> Result<(), Failure>;

    /// Starts one that is gone. Does not wait until it serves.
    async fn start(&mut self, node: usize) -> Result<(), Failure>;

    async fn pause(&mut self, node: usize) -> Result<(), Failure>;

    async fn resume(&mut self, node: usize) -> Result<(), Failure>;

    /// Deletes what a node has, which is gone.
    async fn wipe(&mut self, node: usize) -> Result<(), Failure>;

    /// Starts another one.
    async fn join(&mut self) -> Result<(), Failure>;

    /// The nodes that [`cut`](Self::cut) cuts off.
    fn minority(&self) -> Vec<usize> {
        Vec::new()
    }

    async fn cut(&mut self) -> Result<(), Failure> {
        Err(cannot("cut nodes off"))
    }

    async fn heal(&mut self) -> Result<(), Failure> {
        Err(cannot("connect nodes again"))
    }

    /// Whether the swarm is somebody's, who does not want our blobs.
    fn borrowed(&self) -> bool;

    /// Gives back what it found as it found it, or removes what is its own; where that stays, says where. `failed`: somebody will want to
    /// look at it.
    async fn end(&mut self, failed: bool) -> Option<PathBuf>;
}

pub fn cannot(what: &str) -> Failure {
    Failure::usage(format_args!("a drill cannot {what} here: leave --dir and --compose out, so that it has a swarm of its own"))
}
