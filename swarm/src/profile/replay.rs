use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt, stream};
use herring_blob::{BlobId, ByteRange};

use super::{MOST, Profile, Scope, VERSION};
use crate::{Condition, Content, NameError, NameInfo, OpenError, PutOptions, Swarm, Tried};

/// Chunks in flight for one profile: within the 8–12 streams that fill a connection.
const IN_FLIGHT: usize = 12;
/// Bytes of a profile; one of 16,384 chunks in any order has some 200 KiB, and names.
const LONGEST: u64 = 16 << 20;

impl Swarm {
    /// The profile that a name points at; `None` where there is no such name, or none any more as it pointed at nothing of use.
    pub(super) async fn find_profile(&self, name: &str) -> Result<Option<(NameInfo, Profile)>, String> {
        let found = match self.name(name).await {
            Ok(found) => found,
            Err(NameError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        match self.read_profile(found.target).await? {
            Some(profile) if profile.profile == VERSION => Ok(Some((found, profile))),
            _ => self.drop_profile(&found).await.map(|()| None),
        }
    }

    /// `None` where there is no such blob, or it is no profile.
    pub(super) async fn read_profile(&self, id: BlobId) -> Result<Option<Profile>, String> {
        let content = match self.open_blob(id).await {
            Ok(content) if content.size() <= LONGEST => content,
            Ok(_) | Err(OpenError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let bytes = self.read(&content, ByteRange::new(0, content.size())).await.map_err(|error| error.to_string())?;
        Ok(serde_json::from_slice(&bytes).ok())
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

    /// Sends for the chunks of a profile in its order. Who reads meanwhile finds them, or joins their flights. False where most of what it is about
    /// is gone.
    pub(super) async fn replay(&self, scope: &Scope, profile: Profile) -> bool {
        // All are looked up before the first chunk is sent for: many are small, and their order is across them.
        let first = profile.first_chunks();
        let lookups = profile.contents.into_iter().zip(first);
        let lookups = lookups.map(|(name, first)| self.clone().profiled(scope.clone(), name, first));
        let contents: Vec<Result<Content, OpenError>> = stream::iter(lookups).buffered(IN_FLIGHT).collect().await;
        let gone = contents.iter().filter(|content| matches!(content, Err(OpenError::NotFound { .. }))).count();
        if gone > contents.len() / 2 {
            return false;
        }
        let (mut flying, mut left) = (FuturesUnordered::new(), MOST);
        // Where a chunk cannot be had or kept, the rest is left to who reads it.
        'reads: for (content, first, count) in profile.reads {
            let Some(Ok(content)) = usize::try_from(content).ok().and_then(|content| contents.get(content)) else { continue };
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
        true
    }

    /// A content of a profile, of which so many of the first chunks will be sent for.
    async fn profiled(self, scope: Scope, name: String, first: u32) -> Result<Content, OpenError> {
        let reading = u64::from(first) * u64::from(self.0.config.chunk_size);
        let opened = match (scope, name.parse::<BlobId>()) {
            (Scope::Tree(_), Ok(id)) => self.open_blob(id).await,
            (Scope::Tree(_), Err(_)) => Err(OpenError::NotFound { what: name, tried: Tried::default() }),
            (Scope::Origin { origin, .. }, _) => self.open_to_read(&origin, &name, reading).await,
        };
        opened.inspect_err(|error| tracing::debug!(%error, "something that was read before is not there"))
    }
}
