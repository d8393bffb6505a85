use std::sync::atomic::Ordering::Relaxed;

use crate::Swarm;

/// How a node stands with what it should keep.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Custody {
    /// Chunks that it owns and lacks.
    pub lacking_chunks: u64,
    /// Bytes of them at most.
    pub lacking_bytes: u64,
    /// Chunks that it keeps for others, who own them.
    pub foreign_chunks: u64,
    /// Bytes of them at most.
    pub foreign_bytes: u64,
    /// Bytes that it pulled since its start.
    pub pulled_bytes: u64,
    /// Bytes a second, over the last five.
    pub pull_rate: u64,
    /// How long the rest takes at this rate, milliseconds.
    pub eta_ms: Option<u64>,
    /// Everything was found in its place under the present ring.
    pub settled: bool,
}

impl Swarm {
    /// How this node stands with what it should keep.
    pub fn custody(&self) -> Custody {
        let (custody, chunk_size) = (&self.0.custody, u64::from(self.0.config.chunk_size));
        let (lacking_chunks, foreign_chunks) = (custody.wants.chunks() as u64, custody.foreign_chunks.load(Relaxed));
        let (pulled_bytes, pull_rate) = custody.pace.figures();
        let lacking_bytes = lacking_chunks * chunk_size;
        let eta = |rate: u64| lacking_bytes.saturating_mul(1000) / rate;
        Custody {
            lacking_chunks,
            lacking_bytes,
            foreign_chunks,
            foreign_bytes: foreign_chunks * chunk_size,
            pulled_bytes,
            pull_rate,
            eta_ms: (lacking_chunks > 0 && pull_rate > 0).then(|| eta(pull_rate)),
            settled: custody.placed() == Some(self.view().epoch()) && custody.wants.is_empty(),
        }
    }
}
