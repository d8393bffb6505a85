use std::sync::atomic::Ordering::Relaxed;

use herring_http_api::types::Custody;

use crate::Swarm;

impl Swarm {
    /// How this node stands with what it should keep. Bytes of what lacks are at most so many: chunks are taken for full.
    pub fn custody(&self) -> Custody {
        let (custody, chunk_size, usage) = (&self.0.custody, u64::from(self.0.config.chunk_size), self.usage());
        let lost = custody.lost();
        // What does not come is wanted only now and then; what it is, the last look says.
        let to_come = (custody.wants.chunks() as u64).max(custody.gaps.load(Relaxed).saturating_sub(lost.chunks));
        let (full, foreign_chunks) = (custody.full.load(Relaxed), custody.foreign_chunks.load(Relaxed));
        let (pulled_bytes, pull_rate) = custody.pace.figures();
        let lacking_bytes = to_come * chunk_size;
        Custody {
            durable_bytes: usage.durable,
            cached_bytes: usage.cached,
            lacking_chunks: to_come + lost.chunks,
            lost_chunks: lost.chunks,
            lost_of: lost.of,
            full,
            lacking_bytes,
            foreign_chunks,
            foreign_bytes: foreign_chunks * chunk_size,
            pulled_bytes,
            pull_rate,
            eta_ms: lacking_bytes.saturating_mul(1000).checked_div(pull_rate).filter(|_| to_come > 0 && !full),
            scrubbed_bytes: custody.scrubbed.load(Relaxed),
            rotten_chunks: self.0.store.rotten_chunks(),
            settled: custody.placed() == Some((self.view().epoch(), self.generation())) && custody.wants.is_empty(),
        }
    }
}
