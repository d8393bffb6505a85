//! The commit that a hub's revision means: resolved once for the whole swarm, and for good. Whoever is asked for it asks all others first, and
//! only where nobody knows, the hub. What a node found out while none of the others answered holds until they do: then theirs counts.

use std::cmp::Reverse;

use herring_http_api::peer::MetaQuestion;
use herring_origin::{Origin, OriginError};

use super::question::origin_of;
use super::word::Word;
use crate::Swarm;

impl Swarm {
    /// What others take for the commit; where nobody knows, what the revision means now.
    pub(super) async fn find_commit(&self, origin: &Origin, question: &MetaQuestion) -> Result<Word, OriginError> {
        let alone = self.met_view().await.alone();
        let (said, heard) = self.ask_what_others_remember(origin, question).await;
        if let Some((_, word)) = said.into_iter().min_by_key(rank) {
            return Ok(word);
        }
        let commit = origin.resolve().await?;
        if !heard && !alone {
            self.0.meta.solitary().insert(origin.name().to_owned());
        }
        Ok(Word::Commit(commit))
    }

    /// After others came: what they take for the commits that this node found out by itself.
    pub(crate) fn confirm_commits_soon(&self) {
        let view = self.view();
        let solitary: Vec<String> = self.0.meta.solitary().iter().cloned().collect();
        if solitary.is_empty() || !view.settled() {
            return;
        }
        let swarm = self.clone();
        let confirming = async move {
            for name in solitary {
                swarm.confirm_commit(&name).await;
            }
        };
        self.0.tasks.spawn_on(self.0.stop.clone().run_until_cancelled_owned(confirming), &self.0.runtime);
    }

    async fn confirm_commit(&self, name: &str) {
        let (Ok(origin), Some(own)) = (self.origin(name), self.0.meta.commit(name)) else { return };
        let question = MetaQuestion::Pin { origin: name.to_owned() };
        let (mut said, heard) = self.ask_what_others_remember(origin, &question).await;
        if !heard || !self.0.meta.solitary().remove(name) {
            return;
        }
        // Its own counts as new: that is how two who were both alone agree.
        said.push((0, Word::Commit(own.clone())));
        let Some((_, word)) = said.into_iter().min_by_key(rank) else { return };
        if let Word::Commit(theirs) = &word
            && *theirs != own
        {
            tracing::warn!(origin = name, %own, %theirs, "the others have this origin at another commit than this node found out while it met none of them: following them");
            // In this order: what is asked between the two is kept as neither's.
            origin.pin(theirs);
            self.0.meta.set_commit(name, theirs.clone());
            self.0.meta.answers.retain(|asked, _| origin_of(asked) != name);
        }
        self.keep_commit(origin, &question, word);
    }
}

/// The oldest first, which the others have had time to hear of, and all choose alike.
fn rank((age_ms, word): &(u64, Word)) -> (Reverse<u64>, String) {
    let commit = if let Word::Commit(commit) = word { commit.clone() } else { String::new() };
    (Reverse(*age_ms), commit)
}
