//! The engine's figures: each name once, with its unit and meaning.

/// Manifests that were not their blob's: a node lied, or kept something wrongly.
pub(crate) const FALSE_MANIFESTS: &str = "herring_swarm_false_manifests_total";
/// Opens of blobs of which nodes gave different manifests.
pub(crate) const DISPUTES: &str = "herring_swarm_manifest_disputes_total";
/// Chunks fetched from elsewhere, by `from`: `peer` or `origin`.
pub(crate) const CHUNKS_FETCHED: &str = "herring_swarm_chunks_fetched_total";
/// Bytes fetched from elsewhere, by `from`: of a `peer` once their chunk is verified, of the `origin` as they come.
pub(crate) const BYTES_FETCHED: &str = "herring_swarm_bytes_fetched_total";
/// Bytes that the origin gave to the one node that asks it on behalf of all, by `origin`. `herring_origin_bytes_total` over this, both summed over
/// the nodes, is how many times the origin sent each byte: 1.00 is the aim.
pub(crate) const ORIGIN_UNIQUE: &str = "herring_swarm_origin_unique_bytes_total";
/// Questions to peers that failed, by `why`: `unreachable`, `silent` (and asked once more), `lied`, `missing`.
pub(crate) const PEER_FAILURES: &str = "herring_swarm_peer_failures_total";
/// Second owners asked because the first was slow.
pub(crate) const HEDGES: &str = "herring_swarm_hedges_total";
/// Second owners that were not asked because that would have been more than one question in twenty.
pub(crate) const HEDGES_DENIED: &str = "herring_swarm_hedges_denied_total";
/// Peers that are passed by, until they answered well again; those that do not answer questions about origins count once more.
pub(crate) const BREAKERS_OPEN: &str = "herring_swarm_breakers_open";
/// How often a peer was passed by from then on, for 3 to 30 s, by `why`: `failed`, or `slow` beside the others.
pub(crate) const BREAKERS_OPENED: &str = "herring_swarm_breakers_opened_total";
/// Blobs acknowledged.
pub(crate) const PUTS: &str = "herring_swarm_puts_total";
/// Bytes of blobs acknowledged, counted once whatever the replicas.
pub(crate) const PUT_BYTES: &str = "herring_swarm_put_bytes_total";
/// Peers that were pointed at others who have the chunk.
pub(crate) const REDIRECTS: &str = "herring_swarm_redirects_total";
/// Chunks that were passed on to peers while they arrived.
pub(crate) const CHUNKS_PASSED_ON: &str = "herring_swarm_chunks_passed_on_total";
/// Chunks answered to peers from this node's disk, and the bytes of all that were sent to peers.
pub(crate) const CHUNKS_SERVED: &str = "herring_swarm_chunks_served_total";
pub(crate) const BYTES_SERVED: &str = "herring_swarm_bytes_served_total";
/// What this node's readers asked about origins and were told, by `kind`: `key`, `page`, `document`; and `from`: `memory`, listings included, `owner`, or `stale`
/// where the origin does not answer. `origin`: questions that this node put to one, each once, for its own readers or for other nodes.
pub(crate) const METADATA: &str = "herring_swarm_metadata_total";
/// Bytes that this node pulled because it owns them and lacked them.
pub(crate) const BYTES_PULLED: &str = "herring_swarm_bytes_pulled_total";
/// Blobs of which this node could not pull all that it lacked; it is offered again.
pub(crate) const PULLS_MISSED: &str = "herring_swarm_pulls_missed_total";
/// Tries of changing a name that had to be repeated: another change was under way, or too few owners answered.
pub(crate) const NAME_RETRIES: &str = "herring_swarm_name_retries_total";
