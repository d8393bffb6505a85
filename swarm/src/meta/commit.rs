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
        let (known, heard) = self.commits_of_others(origin, question).await;
        if let Some((_, commit)) = known.into_iter().min() {
            return Ok(Word::Commit(commit));
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
        let question = MetaQuestion::Pin { origin: name.to_owned() };
        // It may only have been found out for a peer.
        let told = self.0.meta.answers.get(&question).and_then(|known| known.word.commit().map(str::to_owned));
        let (Ok(origin), Some(own)) = (self.origin(name), self.0.meta.commit(name).or(told)) else { return };
        let (mut known, heard) = self.commits_of_others(origin, &question).await;
        if !heard || !self.0.meta.solitary().remove(name) {
            return;
        }
        // Its own counts as new: that is how two who were both alone agree.
        known.push((Reverse(0), own.clone()));
        let Some((_, commit)) = known.into_iter().min() else { return };
        if commit != own {
            tracing::warn!(origin = name, %own, theirs = %commit, "the others have this origin at another commit than this node found out while it met none of them: following them");
            // In this order: what is asked between the two is kept as neither's.
            origin.pin(&commit);
            self.0.meta.set_commit(name, commit.clone());
            self.0.meta.answers.retain(|asked, _| origin_of(asked) != name);
        }
        self.keep_commit(origin, &question, Word::Commit(commit));
    }

    /// Each with its age in milliseconds, the oldest first, which the others have had time to hear of, and all choose alike; and whether anybody
    /// answered.
    async fn commits_of_others(&self, origin: &Origin, question: &MetaQuestion) -> (Vec<(Reverse<u64>, String)>, bool) {
        let (said, heard) = self.ask_what_others_remember(origin, question).await;
        let commit = |(age_ms, word)| if let Word::Commit(commit) = word { Some((Reverse(age_ms), commit)) } else { None };
        (said.into_iter().filter_map(commit).collect(), heard)
    }
}
