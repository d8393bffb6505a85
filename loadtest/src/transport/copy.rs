//! A blob from one node's disk to another's, beside `cp` between the same two directories.

use std::process::Command;

use futures_util::StreamExt;
use herring_http_api::client::ClientError;
use herring_http_api::types::{Job, JobState, Prefetch};

use super::report::Kind::Fetch;
use super::tool::failed;
use super::{Bench, Pair, TransportError, address, processes, question};

impl Bench<'_> {
    /// Each into a file that was not there before, and is removed afterwards.
    pub fn fetch(&mut self) -> Result<(), TransportError> {
        self.warm()?;
        self.turn(Fetch, "cp", &[], |bench| bench.copy(&bench.clear))?;
        self.forget(&self.clear)?;
        let both = |pair: &Pair| processes(pair.swarm.nodes());
        let nodes = both(&self.clear);
        self.warm()?;
        self.turn(Fetch, "node to node: fetch, verify, write", &nodes, |bench| bench.prefetch(&bench.clear))?;
        self.forget(&self.clear)?;
        let Some(nodes) = self.sealed.as_ref().map(both) else { return Ok(()) };
        self.warm()?;
        let prefetch = |bench: &Self| bench.sealed.as_ref().map_or(Ok(0), |pair| bench.prefetch(pair));
        self.turn(Fetch, "node to node with TLS: fetch, verify, write", &nodes, prefetch)?;
        self.sealed.as_ref().map_or(Ok(()), |pair| self.forget(pair))
    }

    /// Gives the next turn pages that were in use a moment before. A virtual machine may hand free ones back to its host within seconds, and the first
    /// write to one of those takes ten times as long as copying to it.
    fn warm(&self) -> Result<(), TransportError> {
        let (from, to) = (self.clear.owner().backing(self.blob.id), self.clear.receiver()?.dir.join("warm"));
        let copied = std::fs::copy(from, &to).and_then(|_| std::fs::remove_file(&to));
        copied.map_err(failed("a copy to warm up"))
    }

    fn copy(&self, pair: &Pair) -> Result<u64, TransportError> {
        let (from, to) = (pair.owner().backing(self.blob.id), pair.receiver()?.dir.join("copy"));
        let status = Command::new("cp").arg(&from).arg(&to).status().map_err(failed("cp"))?;
        let detail = || TransportError::Answer { what: "cp".to_owned(), detail: status.to_string() };
        if status.success() { Ok(self.blob.size) } else { Err(detail()) }
    }

    fn prefetch(&self, pair: &Pair) -> Result<u64, TransportError> {
        let client = pair.api(pair.receiver()?)?;
        let wanted = Prefetch { blobs: vec![self.blob.id], ..Prefetch::default() };
        let job: Result<Option<Job>, ClientError> = self.runtime.block_on(async {
            let mut states = client.follow_job(client.prefetch(&wanted).await?).await?;
            let mut last = None;
            while let Some(state) = states.next().await {
                last = Some(state?);
            }
            Ok(last)
        });
        match job? {
            Some(job) if job.state == JobState::Done => Ok(job.bytes_done),
            job => Err(TransportError::Answer { what: "a prefetch".to_owned(), detail: format!("it ended as {job:?}") }),
        }
    }

    /// Looks at what was fetched, removes it, and lets the disk come to rest: what is still to be written would slow down the next turn.
    fn forget(&self, pair: &Pair) -> Result<(), TransportError> {
        let receiver = pair.receiver()?;
        let kept = receiver.backing(self.blob.id);
        if kept.exists() {
            self.blob.verify(&kept)?;
        }
        // It is there only where there was a turn of `cp`.
        let _ = std::fs::remove_file(receiver.dir.join("copy"));
        self.runtime.block_on(pair.peers.delete(address(receiver), self.blob.id, &question()))?;
        rustix::fs::sync();
        Ok(())
    }
}
