//! Where everything is and should be: answered from the ring, and by asking the members.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use herring_blob::{BlobId, Manifest};
use herring_gossip::{NodeState, View};
use herring_http_api::client::PeerError;
use herring_http_api::types::{Cluster, Departure, Explain, ExplainChunk, MemberInfo, NodeUsage, Owners, Presence};
use herring_ring::{NodeId, Point, Ring};

use crate::{Content, OpenError, Source, Swarm};

/// What the members said of a blob.
#[derive(Default)]
struct Holdings {
    held: Vec<(NodeId, Presence)>,
    unreachable: Vec<NodeId>,
}

impl Holdings {
    /// What the blob's put asked for, where it did.
    fn replicas(&self, usual: usize) -> usize {
        self.held.iter().filter_map(|(_, presence)| presence.replicas).max().map_or(usual, usize::from)
    }
}

/// The rings as they would be with one member gone, each built when it is first asked for.
struct Futures<'a> {
    ring: &'a Ring,
    without: BTreeMap<NodeId, Ring>,
}

impl Futures<'_> {
    /// For each owner of `point`: who would become one if it left.
    fn departures(&mut self, point: Point, replicas: usize) -> Vec<Departure> {
        let owners: Vec<NodeId> = self.ring.owners(point, replicas).into_iter().map(|member| member.id.clone()).collect();
        let departure = |owner: &NodeId| {
            let remaining = || self.ring.members().iter().filter(|member| member.id != *owner).cloned();
            let ring = self.without.entry(owner.clone()).or_insert_with(|| Ring::new(remaining()));
            let newcomer = ring.owners(point, replicas).into_iter().find(|member| !owners.contains(&member.id));
            Departure { node: owner.to_string(), successor: newcomer.map(|member| member.id.to_string()) }
        };
        owners.iter().map(departure).collect()
    }
}

impl Swarm {
    /// The owners of a blob's manifest, or of one of its chunks. `Err(None)`: it has no such chunk.
    pub async fn owners(&self, id: BlobId, chunk: Option<u32>) -> Result<Owners, Option<OpenError>> {
        let point = match chunk {
            None => Point::of_blob(&id),
            Some(chunk) => {
                let content = self.open_blob(id).await.map_err(Some)?;
                let manifest = manifest_of(&content).filter(|manifest| manifest.digest(chunk).is_some()).ok_or(None)?;
                Point::of_chunk(manifest, chunk)
            }
        };
        let view = self.view();
        let owners = owner_names(&view, point, self.replicas());
        Ok(Owners { id, chunk, epoch: view.epoch().to_string(), point: point.to_string(), owners })
    }

    /// Where a blob is, chunk by chunk, and what each owner's departure would change.
    pub async fn explain(&self, id: BlobId, only: Option<u32>) -> Result<Explain, OpenError> {
        let content = self.open_blob(id).await?;
        let view = self.view();
        let holdings = self.holdings(&view, id).await;
        let chunks = self.explain_chunks(&view, &content, only, &holdings);
        Ok(Explain {
            id,
            size: content.size(),
            chunk_size: content.geometry().chunk_size(),
            epoch: view.epoch().to_string(),
            replicas: holdings.replicas(self.replicas()),
            manifest_owners: owner_names(&view, Point::of_blob(&id), holdings.replicas(self.replicas())),
            manifest_holders: holdings.held.iter().map(|(node, _)| node.to_string()).collect(),
            unreachable: holdings.unreachable.iter().map(NodeId::to_string).collect(),
            chunks,
        })
    }

    fn explain_chunks(&self, view: &View, content: &Content, only: Option<u32>, holdings: &Holdings) -> Vec<ExplainChunk> {
        let Some(manifest) = manifest_of(content) else { return Vec::new() };
        let chunks = (0..content.geometry().chunk_count()).filter(|chunk| only.is_none_or(|only| only == *chunk));
        let mut futures = Futures { ring: view.ring(), without: BTreeMap::new() };
        chunks.map(|chunk| self.explain_chunk(view, manifest, chunk, holdings, &mut futures)).collect()
    }

    fn explain_chunk(
        &self,
        view: &View,
        manifest: &Manifest,
        chunk: u32,
        holdings: &Holdings,
        futures: &mut Futures<'_>,
    ) -> ExplainChunk {
        let (point, replicas) = (Point::of_chunk(manifest, chunk), holdings.replicas(self.replicas()));
        let owners = owner_names(view, point, replicas);
        let holders: Vec<String> =
            holdings.held.iter().filter(|(_, presence)| presence.has(chunk)).map(|(node, _)| node.to_string()).collect();
        let state = match holders.len() {
            0 => "lost",
            _ if owners.len() == replicas && owners.iter().all(|owner| holders.contains(owner)) => "replicated",
            _ => "under-replicated",
        };
        ExplainChunk {
            index: chunk,
            size: manifest.geometry().chunk_range(chunk).len(),
            digest: manifest.digest(chunk).map(|digest| digest.to_string()).unwrap_or_default(),
            if_lost: futures.departures(point, replicas),
            owners,
            holders,
            state: state.into(),
        }
    }

    async fn holdings(&self, view: &View, id: BlobId) -> Holdings {
        let ask = self.ask(view, self.0.config.status_deadline);
        let answers = join_all(view.members().iter().map(|node| async {
            let answer = if node.id == *view.me() {
                self.presence(id).map_err(|_| PeerError::NotFound)
            } else {
                self.0.peers.presence(node.http, id, &ask).await
            };
            (node.id.clone(), answer)
        }));
        let mut holdings = Holdings::default();
        for (node, answer) in answers.await {
            match answer {
                Ok(presence) => holdings.held.push((node, presence)),
                Err(PeerError::NotFound) => {}
                Err(_) => holdings.unreachable.push(node),
            }
        }
        holdings
    }

    /// The members as this node sees them, with what each says of its disk.
    pub async fn cluster(&self) -> Cluster {
        let view = self.view();
        let members = join_all(view.members().iter().map(|node| self.member_info(&view, node))).await;
        Cluster::of(view.me().to_string(), view.epoch().to_string(), self.replicas(), members, self.missing())
    }

    /// This node and so many others, as [`cluster`](Self::cluster) has them.
    pub async fn sample(&self, others: usize) -> Vec<MemberInfo> {
        let view = self.view();
        let (me, rest): (Vec<_>, Vec<_>) = view.members().iter().partition(|node| node.id == *view.me());
        join_all(me.into_iter().chain(rest.into_iter().take(others)).map(|node| self.member_info(&view, node))).await
    }

    async fn member_info(&self, view: &View, node: &herring_gossip::NodeInfo) -> MemberInfo {
        let usage = if node.id == *view.me() {
            Some(self.node_usage())
        } else {
            self.0.peers.usage(node.http, &self.ask(view, self.0.config.status_deadline)).await.ok()
        };
        let state = if view.suspect(&node.id) { "suspect".to_owned() } else { node.state.to_string() };
        MemberInfo {
            id: node.id.to_string(),
            http: node.http.to_string(),
            zone: node.zone.clone(),
            weight: node.weight,
            state,
            version: node.version.clone(),
            bytes_used: usage.as_ref().map(|usage| usage.bytes_used),
            bytes_capacity: usage.as_ref().map(|usage| usage.bytes_capacity),
            custody: usage.as_ref().and_then(|usage| usage.custody),
            replicas: usage.as_ref().and_then(|usage| usage.replicas),
            origins: usage.as_ref().and_then(|usage| usage.origins.clone()),
            origin_hashes: usage.and_then(|usage| usage.origin_hashes),
        }
    }

    pub fn node_usage(&self) -> NodeUsage {
        let usage = self.usage();
        let origins = &self.0.origins;
        let hash =
            |name: &str| origins.get(name).map(|origin| BlobId::of(origin.identity().as_bytes()).to_string()[..16].to_owned());
        NodeUsage {
            bytes_used: usage.bytes,
            bytes_capacity: usage.capacity,
            custody: Some(self.custody()),
            replicas: Some(self.replicas()),
            origins: Some(self.origin_names()),
            origin_hashes: Some(origins.names().filter_map(hash).collect()),
        }
    }

    /// Whether this node is in the ring that it sees; else in one sentence what it waits for.
    pub fn ready(&self) -> Result<(), String> {
        let view = self.view();
        match view.get(view.me()).map(|me| me.state) {
            Some(NodeState::Ready) if view.settled() => Ok(()),
            Some(NodeState::Ready) => Err("this node is looking for the others of its swarm".to_owned()),
            Some(state) => Err(format!("this node is {state}")),
            None => Err("this node does not see itself in the swarm yet".to_owned()),
        }
    }
}

fn owner_names(view: &View, point: Point, replicas: usize) -> Vec<String> {
    view.owners(point, replicas).into_iter().map(|node| node.id.to_string()).collect()
}

fn manifest_of(content: &Content) -> Option<&Manifest> {
    match content.source() {
        Source::Blob(manifest) => Some(manifest),
        Source::Object(_) => None,
    }
}
