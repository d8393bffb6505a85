use std::time::Duration;

use herring_blob::CHUNK_SIZE;

/// The engine's knobs.
#[derive(Debug, Clone)]
pub struct SwarmConfig {
    /// How many nodes own each chunk.
    pub replicas: usize,
    /// How long the ring must stay as it is before anything moves to new owners: a node that restarts is back within 10 s, and moves nothing.
    pub rebalance_after: Duration,
    /// Bytes a second that this node pulls at most of what it should keep and lacks; a quarter of it while readers wait.
    pub rebalance_rate: u64,
    /// Within which time everything on the disk is read and verified once, 30 days. 0: it is not.
    pub scrub_period: Duration,
    /// Up to how many bytes a blob is shown only once it is known to be what its id says, 64 MiB: to hash that takes 30 ms, and its bytes are wanted
    /// anyway. 0: nothing is hashed that others give, and everybody is believed.
    pub prove_first: u64,
    /// Bytes in a chunk of what is put here. Origins' objects are cut alike, so all nodes must agree.
    pub chunk_size: u32,
    /// Whether a busy node points its peers at others who have the same chunk or get it now. Without it all bytes come from owners, which is there
    /// to compare with.
    pub redirects: bool,
    /// Bytes of chunks that may be in memory for this node's own readers: 256 MiB, 64 chunks.
    pub memory: usize,
    /// The same for puts, apart so that clients that send slowly do not stop readers.
    pub put_memory: usize,
    /// The same for what peers send and ask, apart so that two nodes cannot wait for each other's memory.
    pub peer_memory: usize,
    /// Bytes that are fetched at most ahead of a reader that goes forward, 256 MiB; it grows with what the reader has read in one
    /// run. They wait on the disk. 0: nothing is.
    pub read_ahead: u64,
    /// Bytes that a reader must have read in one run before anything is fetched ahead of it: 5 MiB, more than the 4 MiB that the kernel reads
    /// around a page of a map that is touched anywhere. Of what has few chunks less will do (`ahead.rs`).
    pub read_ahead_after: u64,
    /// The order in which a tree or an origin's directory is read first is written down until nothing new was read for so long, 5 s: then what was
    /// starting has started. 0: none is, and none is followed.
    pub profile_idle: Duration,
    /// A second owner is asked when nothing of a blob's chunk came from the first for this long, whatever that costs; earlier where that is longer than it took
    /// nearly always lately, for one question of twenty. A 4 MiB chunk takes 2 ms at 2 GB/s and 34 ms at 1 Gbit/s; half a second is a peer in trouble.
    pub hedge: Duration,
    /// How long nothing may come from an owner that is asked for an object's chunk, or about an object, before it begins to answer, which it
    /// does at once, whatever the origin does: longer, and it hangs, and the next is asked. Less where peers were quick lately.
    pub owner_patience: Duration,
    /// But never less than this, 500 ms: with 300 ms, eight nodes that shared two busy cores took each other for dead, and the origin sent 2.4 times its
    /// bytes; on links of 25 Mbit/s that were full, it took 600.
    pub owner_patience_least: Duration,
    /// How long nothing may come from one who may hold a chunk, or owned it lately, and answers from its disk: 300 ms.
    pub holder_patience: Duration,
    /// How long nothing may come from an origin before those are asked who may hold the chunk, 1 s: an origin that is gone must not keep back
    /// what the swarm has.
    pub origin_patience: Duration,
    /// How long others are waited for once one gave a blob's manifest, 50 ms: in one building it takes 1 ms. Ten times as long for a large blob, which is
    /// shown by what they say alone.
    pub opinions: Duration,
    /// What a member has to say of itself for a table, and what it is told by the way, takes 500 ms at most: late is as good as never.
    pub status_deadline: Duration,
    /// How long a change of a name waits for its turn and for the owners, all its tries together, 8 s: longer than a silent node takes to be suspected.
    pub name_deadline: Duration,
    /// How long a node that is missing stays an owner of its names. Others take its place then, which is safe once those who are cut off know that they are,
    /// and change nothing: a silent node is suspected within 2 s, and a change takes 8 s at most. A minute also spares a restart the moving.
    pub name_owners_stay: Duration,
    /// How long an origin may take for an answer about what it has. After that another owner asks it too, since the first one's way there may be
    /// broken, and where an old answer is at hand that is given. The slowest listings of large stores take some 10 s.
    pub slow_origin: Duration,
    /// For how long after an origin began to fail it is asked again for what nobody else has, 6 s: a server that restarts is back by then, and whoever reads
    /// has waited instead of failing. With the last tries that is 8 s, less than the 10 s after which the hub's clients give up. One that fails for longer is not
    /// waited for until it has answered once.
    pub outage: Duration,
    /// As `hedge` for an object's chunk, whose owner may be waiting for a slow origin, and where a second owner would fetch it a second time:
    /// as long as one request to an origin may take. A peer that is gone is noticed within 1.5 s whatever this says.
    pub origin_hedge: Duration,
}

impl Default for SwarmConfig {
    fn default() -> Self {
        Self {
            replicas: 3,
            rebalance_after: Duration::from_secs(10),
            rebalance_rate: 256 << 20,
            scrub_period: Duration::from_secs(30 * 24 * 3600),
            prove_first: 64 << 20,
            chunk_size: CHUNK_SIZE,
            redirects: true,
            memory: 256 << 20,
            put_memory: 256 << 20,
            peer_memory: 256 << 20,
            read_ahead: 256 << 20,
            read_ahead_after: 5 << 20,
            profile_idle: Duration::from_secs(5),
            hedge: Duration::from_millis(500),
            owner_patience: Duration::from_secs(2),
            owner_patience_least: Duration::from_millis(500),
            holder_patience: Duration::from_millis(300),
            origin_patience: Duration::from_secs(1),
            opinions: Duration::from_millis(50),
            status_deadline: Duration::from_millis(500),
            name_deadline: Duration::from_secs(8),
            name_owners_stay: Duration::from_secs(60),
            slow_origin: Duration::from_secs(5),
            outage: Duration::from_secs(6),
            origin_hedge: Duration::from_secs(30),
        }
    }
}

/// How many replicas a put waits for beyond the first: with two on disk, one lost disk loses nothing.
pub(crate) const ACKNOWLEDGE: usize = 2;

/// How far past its owners a point's successors are asked: a node that joined pushes the former owners at most one
/// place along the walk, so without zones this many joins may pass before a blob must be looked for elsewhere. An owner that was
/// chosen for its zone may have lain deeper: there it is likely, not certain, unless the swarm is no larger than owners and successors.
pub(crate) const SUCCESSORS: usize = 16;

/// How long nothing may come from one who gets a chunk now itself, from another who may get it now too.
pub(crate) const NAMED_PATIENCE: Duration = Duration::from_secs(5);
/// For how long after a change of members the former owners of a chunk are asked before the origin.
pub(crate) const LATELY: Duration = Duration::from_secs(600);
/// How many of them.
pub(crate) const LATELY_OWNERS: usize = 3;
/// A word about a deletion, which waits for the disk.
pub(crate) const REMOVE_DEADLINE: Duration = Duration::from_secs(30);
/// A question without a body worth mentioning: a manifest, a presence.
pub(crate) const SMALL_DEADLINE: Duration = Duration::from_secs(2);
/// Comparing what two nodes keep: the one who is asked may have to count a million chunks first. One that hangs is noticed much sooner.
pub(crate) const REPAIR_DEADLINE: Duration = Duration::from_secs(30);
/// How long waits for this node to meet its swarm what would be answered wrongly before: who sees nobody else yet takes itself for the owner of all.
pub(crate) const MEETING: Duration = Duration::from_secs(60);
/// Bytes of chunks that are on their way to owners at once: 12 chunks of 4 MiB, which at 25 Mbit/s take 16 s, less than each of them may. All 64 of a put
/// together, with three owners each, would at 100 Mbit/s all be late.
pub(crate) const UPLOADS: usize = 48 << 20;
/// One chunk of a blob from one peer, its bytes flowing: 4 MiB at 2 Mbit/s. Stalls are noticed much sooner by the client.
pub(crate) const CHUNK_DEADLINE: Duration = Duration::from_secs(20);
/// One chunk of an object from its owner, who may wait for the origin up to its deadline of 60 s.
pub(crate) const OBJECT_DEADLINE: Duration = Duration::from_secs(65);
/// A commit, which waits for the disk to take all of a blob.
pub(crate) const COMMIT_DEADLINE: Duration = Duration::from_secs(120);
/// How long a reader or writer waits for memory before it is told that the node is overloaded.
pub(crate) const MEMORY_DEADLINE: Duration = Duration::from_secs(30);
/// All the asking for one chunk. Longer than one patient question to an origin's owner, shorter than a client waits for an answer.
pub(crate) const FETCH_DEADLINE: Duration = Duration::from_secs(90);
/// Pauses before all givers of a chunk or a manifest are asked once more, where some only failed for the moment (a restart, a full queue).
pub(crate) const AGAIN: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(800)];
/// The same where it was the origin that failed, and may be back soon: three owners and the reader ask it up to four times each time.
pub(crate) const OUTAGE_PAUSE: Duration = Duration::from_millis(1500);
/// How long a peer's question waits for memory: less than the peer waits for the answer.
pub(crate) const PEER_MEMORY_DEADLINE: Duration = Duration::from_secs(10);
