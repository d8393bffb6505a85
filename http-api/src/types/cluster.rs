//! The nodes, what each keeps, and how far that is from what it should keep.

use std::collections::{BTreeMap, BTreeSet};

use herring_blob::BlobId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One node as the cluster sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MemberInfo {
    pub id: String,
    /// Where its API answers: `host:port`.
    pub http: String,
    pub zone: String,
    /// 100 is an ordinary node; a node of 200 owns twice as much.
    pub weight: u32,
    /// `joining`, `ready`, `draining`, or `suspect` while it is silent within the grace period.
    pub state: String,
    pub version: String,
    /// Bytes its store holds; absent while the node cannot be asked.
    pub bytes_used: Option<u64>,
    /// Bytes its store may hold; absent while the node cannot be asked.
    pub bytes_capacity: Option<u64>,
    /// Absent while the node cannot be asked, or is too old to know.
    #[serde(flatten)]
    #[schema(value_type = Custody)]
    pub custody: Option<Custody>,
    /// How many nodes it believes keep each chunk: the same on all nodes, or they never agree that all is in its place. Absent as `custody` is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub replicas: Option<usize>,
    /// Names of the origins that it has, sorted: the same on all nodes. Absent as `custody` is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub origins: Option<Vec<String>>,
    /// For each of `origins` a hash of its URL, which differs where another origin has the same name. Absent as `custody` is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub origin_hashes: Option<Vec<String>>,
}

/// In which settings these nodes differ that must be the same on all, a sentence's part each; nothing where they do not, or do not say.
pub fn differences(members: &[MemberInfo]) -> Vec<String> {
    replicas_differ(members).into_iter().chain(origins_differ(members)).collect()
}

fn replicas_differ(members: &[MemberInfo]) -> Option<String> {
    let mut by_replicas: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
    for (id, replicas) in members.iter().filter_map(|member| Some((&*member.id, member.replicas?))) {
        by_replicas.entry(replicas).or_default().push(id);
    }
    // Fewest nodes first: they are most likely those that are to change.
    let mut all: Vec<_> = by_replicas.into_iter().filter(|_| members.len() > 1).collect();
    all.sort_by_key(|(_, nodes)| nodes.len());
    let told = all.iter().map(|(replicas, nodes)| format!("{} {replicas}", some(nodes))).collect::<Vec<_>>().join(", ");
    (all.len() > 1).then(|| format!("replicas differ: {told}; give all nodes the same --replicas"))
}

fn origins_differ(members: &[MemberInfo]) -> Vec<String> {
    let said: Vec<(&str, &[String])> =
        members.iter().filter_map(|member| Some((&*member.id, &**member.origins.as_ref()?))).collect();
    let all: BTreeSet<&String> = said.iter().flat_map(|(_, origins)| *origins).collect();
    let without = |origin: &String| {
        let nodes: Vec<&str> = said.iter().filter(|(_, origins)| !origins.contains(origin)).map(|(id, _)| *id).collect();
        (!nodes.is_empty()).then(|| format!("no origin {origin} at {}; give all nodes the same --origin", some(&nodes)))
    };
    let missing = all.into_iter().filter_map(without);
    missing.chain(origins_confused(members)).collect()
}

/// Origins of one name at different places; who differs from most is named first.
fn origins_confused(members: &[MemberInfo]) -> Vec<String> {
    let mut places: BTreeMap<&str, BTreeMap<&str, Vec<&str>>> = BTreeMap::new();
    for (id, origins, hashes) in
        members.iter().filter_map(|one| Some((&*one.id, one.origins.as_ref()?, one.origin_hashes.as_ref()?)))
    {
        for (origin, hash) in origins.iter().zip(hashes) {
            places.entry(origin).or_default().entry(hash).or_default().push(id);
        }
    }
    let confused = |(origin, places): (&str, BTreeMap<&str, Vec<&str>>)| {
        let mut places: Vec<_> = places.into_values().collect();
        places.sort_by_key(|nodes| std::cmp::Reverse(nodes.len()));
        let others = places.split_off(1).concat();
        let told = || {
            format!(
                "origin {origin} has another URL at {} than at {}; give all nodes the same --origin",
                some(&others),
                some(&places[0])
            )
        };
        (!others.is_empty()).then(told)
    };
    places.into_iter().filter_map(confused).collect()
}

/// The first of them by name.
fn some(nodes: &[&str]) -> String {
    const NAMED: usize = 3;
    let more = nodes.len().saturating_sub(NAMED);
    let named = nodes.iter().take(NAMED).copied().collect::<Vec<_>>().join(" and ");
    if more > 0 { format!("{named} and {more} more") } else { named }
}

/// `GET /v1/cluster`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Cluster {
    /// The node that answers.
    pub node: String,
    /// A hash of the ring's members: equal on any two nodes that see the same members.
    pub epoch: String,
    pub replicas: usize,
    pub members: Vec<MemberInfo>,
    /// Replicas of chunks that their owners have not got yet, all members' together.
    #[serde(default)]
    pub under_replicated_chunks: u64,
    /// Those of them that no node that answers has: they come back with a node that has them, or with another put of the blob.
    #[serde(default)]
    pub lost_chunks: u64,
    /// Bytes that are not yet where they should be: what owners lack, or what others still hold for them, whichever is more.
    #[serde(default)]
    pub moving_bytes: u64,
    /// How long that will take, at the pace of the last seconds; absent where nothing is to be moved, or nothing moves.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub eta_ms: Option<u64>,
    /// Ids of nodes that were here within the last hour, and left without saying so.
    #[serde(default)]
    pub missing: Vec<String>,
    /// Whether some replica is not where it should be, or may be lost: chunks are under-replicated, or nodes missing.
    #[serde(default)]
    pub degraded: bool,
    /// Every member has found everything in its place since the members changed last, and there are as many owners as replicas, unless there were never more.
    /// False for some seconds after a put, too.
    #[serde(default)]
    pub settled: bool,
}

impl Cluster {
    /// With what the members say added up.
    pub fn of(node: String, epoch: String, replicas: usize, members: Vec<MemberInfo>, missing: Vec<String>) -> Self {
        let custody = || members.iter().filter_map(|member| member.custody.as_ref());
        let sum = |figure: fn(&Custody) -> u64| custody().map(figure).fold(0, u64::saturating_add);
        let under_replicated_chunks = sum(|of| of.lacking_chunks);
        let lost_chunks = sum(|of| of.lost_chunks);
        let moving_bytes = sum(|of| of.lacking_bytes).max(sum(|of| of.foreign_bytes));
        let eta_ms = custody().filter_map(|of| of.eta_ms).max();
        let degraded = under_replicated_chunks > 0 || !missing.is_empty();
        // With fewer owners than replicas there is less than there should be, however well that is placed.
        let owners = members.iter().filter(|member| matches!(member.state.as_str(), "ready" | "suspect")).count();
        let whole = owners >= replicas || missing.is_empty();
        let settled = whole && members.iter().all(|member| member.custody.is_some_and(|of| of.settled));
        Self {
            node,
            epoch,
            replicas,
            members,
            under_replicated_chunks,
            lost_chunks,
            moving_bytes,
            eta_ms,
            missing,
            degraded,
            settled,
        }
    }
}

/// A node's own figures, asked by its peers for `GET /v1/cluster`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeUsage {
    pub bytes_used: u64,
    pub bytes_capacity: u64,
    /// Absent where the node is too old to know.
    #[serde(flatten)]
    #[schema(value_type = Custody)]
    pub custody: Option<Custody>,
    /// As in [`MemberInfo`], which has both.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub replicas: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub origins: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub origin_hashes: Option<Vec<String>>,
}

/// What a node keeps, and how far that is from what it should keep. Chunks and bytes of blobs; descriptions count as chunks without bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Custody {
    /// Bytes that it keeps until they are deleted, or others have them in its place. Always said, so that it shows who knows of all this.
    pub durable_bytes: u64,
    /// Bytes that may be evicted.
    #[serde(default)]
    pub cached_bytes: u64,
    /// What it owns and has not got yet.
    #[serde(default)]
    pub lacking_chunks: u64,
    /// Those of them that no node that answered had when it asked all.
    #[serde(default)]
    pub lost_chunks: u64,
    /// A blob with such chunks.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(value_type = Option<String>)]
    pub lost_of: Option<BlobId>,
    /// There was no room for something that it should keep when that was last to come.
    #[serde(default)]
    pub full: bool,
    /// Of what it lacks, what some node has.
    #[serde(default)]
    pub lacking_bytes: u64,
    /// What it keeps for others, who own it now and may not have it yet.
    #[serde(default)]
    pub foreign_chunks: u64,
    #[serde(default)]
    pub foreign_bytes: u64,
    /// Bytes that it got so from others since it started.
    #[serde(default)]
    pub pulled_bytes: u64,
    /// The same in bytes a second, over the last seconds.
    #[serde(default)]
    pub pull_rate: u64,
    /// How long it will take to get what it lacks, at that pace; absent where it lacks nothing, or nothing comes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub eta_ms: Option<u64>,
    /// Bytes that were read back from the disk and verified since it started.
    #[serde(default)]
    pub scrubbed_bytes: u64,
    /// Chunks that were found rotten since it started, and dropped.
    #[serde(default)]
    pub rotten_chunks: u64,
    /// It has found everything in its place since the members changed last: nothing is to come, to go, or missing at those who own it as well.
    #[serde(default)]
    pub settled: bool,
}

/// `GET /v1/drain`: how far the node is with giving away what it keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Drain {
    pub state: DrainState,
    /// Chunks that it still keeps and that are to go to others.
    pub left_chunks: u64,
    pub left_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DrainState {
    /// It takes part as any other.
    No,
    /// It owns nothing any more, and gives what it keeps to those who do.
    Draining,
    /// The others have all of it: it may be stopped.
    Drained,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_older_node_does_not_say_is_unknown_and_not_nothing() {
        let read = |usage: &str| serde_json::from_str::<NodeUsage>(usage).unwrap();
        let old = read(r#"{"bytes_used":1,"bytes_capacity":2}"#);
        assert_eq!(old, NodeUsage { bytes_used: 1, bytes_capacity: 2, ..NodeUsage::default() });
        let said = r#"{"bytes_used":1,"bytes_capacity":2,"durable_bytes":3,"of_a_later_version":4}"#;
        assert_eq!(read(said).custody, Some(Custody { durable_bytes: 3, ..Custody::default() }));
        for custody in
            [None, Some(Custody::default()), Some(Custody { eta_ms: Some(5), lacking_chunks: 6, ..Custody::default() })]
        {
            for origins in [None, Some(vec!["a".to_owned()])] {
                let usage = NodeUsage { custody, replicas: origins.as_ref().map(Vec::len), origins, ..old.clone() };
                assert_eq!(read(&serde_json::to_string(&usage).unwrap()), usage);
            }
        }
    }

    fn member(custody: Option<Custody>) -> MemberInfo {
        let (id, http, state) = ("n1".into(), "127.0.0.1:1".into(), "ready".into());
        let (bytes_used, bytes_capacity) = (custody.map(|_| 0), custody.map(|_| 1));
        MemberInfo {
            id,
            http,
            zone: String::new(),
            weight: 100,
            state,
            version: "1".into(),
            bytes_used,
            bytes_capacity,
            custody,
            replicas: None,
            origins: None,
            origin_hashes: None,
        }
    }

    #[test]
    fn nodes_that_are_told_otherwise_are_named() {
        let told = |id: &str, replicas, origins: &[&str]| {
            let origins = origins.iter().map(ToString::to_string).collect();
            MemberInfo { id: id.into(), replicas: Some(replicas), origins: Some(origins), ..member(None) }
        };
        let old = MemberInfo { id: "n0".into(), ..member(None) };
        let mut all = vec![old.clone(), told("n1", 3, &["a", "b"]), told("n2", 3, &["a", "b"])];
        assert!(differences(&all).is_empty() && differences(std::slice::from_ref(&old)).is_empty());
        all.push(told("n9", 2, &["b", "c"]));
        assert_eq!(
            differences(&all),
            [
                "replicas differ: n9 2, n1 and n2 3; give all nodes the same --replicas",
                "no origin a at n9; give all nodes the same --origin",
                "no origin c at n1 and n2; give all nodes the same --origin"
            ]
        );
        let at =
            |id: &str, hash: &str| MemberInfo { origin_hashes: Some(vec![hash.into(), "h".into()]), ..told(id, 3, &["a", "b"]) };
        assert_eq!(
            differences(&[at("n1", "x"), at("n2", "y"), at("n3", "y"), old]),
            ["origin a has another URL at n1 than at n2 and n3; give all nodes the same --origin"]
        );
        all.extend(["n3", "n4", "n5"].map(|id| told(id, 3, &["a", "b", "c"])));
        assert!(differences(&all)[0].contains("n1 and n2 and n3 and 2 more 3"));
    }

    #[test]
    fn a_cluster_adds_up_what_its_members_say() {
        let of = |members: Vec<Option<Custody>>, missing: &[&str]| {
            let missing = missing.iter().map(ToString::to_string).collect();
            Cluster::of("n1".into(), "e".into(), 3, members.into_iter().map(member).collect(), missing)
        };
        let still = Custody::default();
        let joins = Custody { lacking_chunks: 3, lacking_bytes: 30, eta_ms: Some(400), ..still };
        let mends = Custody { lacking_chunks: 1, lacking_bytes: 5, eta_ms: Some(900), ..still };
        let loses = Custody { foreign_chunks: 4, foreign_bytes: 40, ..still };
        let cluster = of(vec![Some(joins), Some(mends), Some(loses), None], &[]);
        assert_eq!((cluster.under_replicated_chunks, cluster.moving_bytes, cluster.eta_ms), (4, 40, Some(900)));
        assert!(cluster.degraded);
        let said: Cluster = serde_json::from_str(&serde_json::to_string(&cluster).unwrap()).unwrap();
        assert_eq!(said, cluster, "who cannot be asked stays unknown over the wire");
        let leaving = of(vec![Some(loses), Some(still)], &[]);
        assert_eq!((leaving.moving_bytes, leaving.degraded), (40, false), "what is held twice is not lacking");
        assert!(of(vec![Some(still)], &["n2"]).degraded && !of(vec![Some(still), None], &[]).degraded);
        let calm = Some(Custody { settled: true, ..still });
        assert!(of(vec![calm, calm], &[]).settled && of(vec![calm, calm, calm], &["n4"]).settled);
        assert!(!of(vec![calm, calm], &["n3"]).settled, "there can be no three replicas");
        assert!(!of(vec![calm, Some(still)], &[]).settled && !of(vec![calm, None], &[]).settled);
    }
}
