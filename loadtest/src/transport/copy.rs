//! A blob from one node's disk to another's, beside `cp` between the same two directories.

use std::process::Command;

use futures_util::StreamExt;
use herring_http_api::client::ClientError;
use herring_http_api::types::{Job, JobState, Prefetch};

use super::report::Kind;
use super::tool::failed;
use super::{Bench, TransportError, address, api, processes, question};

impl Bench<'_> {
    /// Both, each into a file that was not there before. What the second node has is removed afterwards.
    pub fn fetch(&mut self) -> Result<(), TransportError> {
        self.turn(Kind::Fetch, "cp", &[], Self::copy)?;
        self.forget()?;
        let both = processes(&self.swarm.nodes().iter().collect::<Vec<_>>());
        self.turn(Kind::Fetch, "node to node: fetch, verify, write", &both, Self::prefetch)?;
        let kept = self.receiver()?.backing(self.blob.id);
        if kept.exists() {
            self.blob.verify(&kept)?;
        }
        self.forget()
    }

    fn copy(&self) -> Result<u64, TransportError> {
        let (from, to) = (self.owner().backing(self.blob.id), self.receiver()?.dir.join("copy"));
        let status = Command::new("cp").arg(&from).arg(&to).status().map_err(failed("cp"))?;
        let detail = || TransportError::Answer { what: "cp".to_owned(), detail: status.to_string() };
        if status.success() { Ok(self.blob.size) } else { Err(detail()) }
    }

    fn prefetch(&self) -> Result<u64, TransportError> {
        let client = api(&self.receiver()?.url)?;
        let wanted = Prefetch { blobs: vec![self.blob.id], ..Prefetch::default() };
        let job: Result<Option<Job>, ClientError> = self.runtime.block_on(async {
            let mut states = client.follow_job(client.prefetch(&wanted).await?).await?;
            let mut last = None;
            while let Some(state) = states.next().await {
                last = Some(state?);
            }
            Ok(last)
        });
        match job?.ok_or_else(|| "no word of the job".to_owned()) {
            Ok(job) if job.state == JobState::Done => Ok(job.bytes_done),
            other => Err(TransportError::Answer { what: "a prefetch".to_owned(), detail: format!("{other:?}") }),
        }
    }

    /// Removes what was copied, and lets the disk come to rest: what is still to be written would slow down the next turn.
    fn forget(&self) -> Result<(), TransportError> {
        let receiver = self.receiver()?;
        let _ = std::fs::remove_file(receiver.dir.join("copy"));
        self.runtime.block_on(self.peers.delete(address(receiver), self.blob.id, &question()))?;
        rustix::fs::sync();
        Ok(())
    }

    fn receiver(&self) -> Result<&crate::node::Node, TransportError> {
        Ok(self.swarm.second("fetching")?)
    }
}
