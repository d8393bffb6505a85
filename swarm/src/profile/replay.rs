use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt, stream};
use herring_blob::{BlobId, ByteRange};

use super::{MOST, Profile, Scope, VERSION};
use crate::{Condition, Content, NameError, PutOptions, Swarm};

/// Chunks in flight for one profile: within the 8–12 streams that fill a connection.
const IN_FLIGHT: usize = 12;
/// Bytes of a profile; one of 16,384 chunks in any order has some 200 KiB, and names.
const LONGEST: u64 = 16 << 20;

impl Swarm {
    /// The profile that a name points at; `None` where there is no such name.
    pub(super) async fn find_profile(&self, name: &str) -> Result<Option<Profile>, String> {
        let found = match self.name(name).await {
            Ok(found) => found,
            Err(NameError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let content = self.open_blob(found.target).await.map_err(|error| error.to_string())?;
        if content.size() > LONGEST {
            return Err(format!("a profile of {} bytes", content.size()));
        }
        let bytes = self.read(&content, ByteRange::new(0, content.size())).await.map_err(|error| error.to_string())?;
        let profile: Profile = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        match profile.profile {
            VERSION => Ok(Some(profile)),
            other => Err(format!("a profile of format {other}")),
        }
    }

    /// Two nodes may read something for the first time at once: the first profile stays.
    pub(super) async fn keep_profile(&self, name: &str, profile: Profile) {
        let chunks: u32 = profile.reads.iter().map(|(_, _, count)| count).sum();
        let bytes =
            Bytes::from(serde_json::to_vec(&profile).expect("a profile has no maps, and writing to memory does not fail"));
        let kept = async {
            let put = self
                .put(None, PutOptions::default(), Box::pin(stream::iter([Ok(bytes)])))
                .await
                .map_err(|error| error.to_string())?;
            self.put_name(name, put.stored.id, Condition::Absent).await.map_err(|error| error.to_string())
        };
        match kept.await {
            Ok(_) => tracing::info!(name, chunks, "a boot profile was kept"),
            Err(error) => tracing::debug!(name, error, "a boot profile was not kept"),
        }
    }

    /// Sends for the chunks of a profile in its order. Who reads meanwhile finds them, or joins their flights.
    pub(super) async fn replay(&self, scope: &Scope, profile: Profile) {
        // All are looked up before the first chunk is sent for: many are small, and their order is across them.
        let first = profile.first_chunks();
        let lookups = profile.contents.into_iter().zip(first);
        let lookups = lookups.map(|(name, first)| self.clone().profiled(scope.clone(), name, first));
        let contents: Vec<Option<Content>> = stream::iter(lookups).buffered(IN_FLIGHT).collect().await;
        let (mut flying, mut left) = (FuturesUnordered::new(), MOST);
        // Where a chunk cannot be had or kept, the rest is left to who reads it.
        'reads: for (content, first, count) in profile.reads {
            let Some(Some(content)) = usize::try_from(content).ok().and_then(|content| contents.get(content)) else { continue };
            let until = first.saturating_add(count).min(content.geometry().chunk_count());
            for chunk in (first..until).filter(|chunk| !self.is_here(content, *chunk)) {
                if left == 0 || !self.has_room(content) {
                    break 'reads;
                }
                left -= 1;
                flying.push(self.fetch_ahead(content, chunk, until));
                if flying.len() >= IN_FLIGHT && flying.next().await == Some(false) {
                    break 'reads;
                }
            }
        }
        while flying.next().await.is_some() {}
        tracing::debug!(?scope, contents = contents.len(), "a boot profile was followed");
    }

    /// A content of a profile, of which so many of the first chunks will be sent for; `None` where there is none any more.
    async fn profiled(self, scope: Scope, name: String, first: u32) -> Option<Content> {
        let reading = u64::from(first) * u64::from(self.0.config.chunk_size);
        let opened = match scope {
            Scope::Tree(_) => self.open_blob(name.parse::<BlobId>().ok()?).await,
            Scope::Origin { origin, .. } => self.open_to_read(&origin, &name, reading).await,
        };
        opened.inspect_err(|error| tracing::debug!(%error, "something that was read before is not there")).ok()
    }
}
