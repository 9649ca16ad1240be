//! What is kept of topics, and purging.

use super::Broker;
use crate::{
    engine::TopicStats,
    model::{Error, NamespaceName, Pattern, Reason, Result, Timestamp, Topic},
};

/// What a purge removed, or would.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purged {
    /// Messages.
    pub messages: u64,
}

impl Broker {
    /// Topics that match and come after `after`, by name, at most `most`.
    pub async fn list_topics(
        &self,
        namespace: &NamespaceName,
        pattern: &Pattern,
        after: &str,
        most: usize,
    ) -> Result<Vec<TopicStats>> {
        self.served(namespace)?.place.log.topics(pattern, after, most).await
    }

    /// One topic; TOPIC_NOT_FOUND if nothing of it is kept.
    pub async fn get_topic(&self, namespace: &NamespaceName, topic: &Topic<'_>) -> Result<TopicStats> {
        let pattern = Pattern::Exact(topic.as_str().into());
        let mut found = self.served(namespace)?.place.log.topics(&pattern, "", 1).await?;
        found.pop().ok_or_else(|| {
            let message =
                format!("nothing is kept of topic {:?}: publish to it, or look at the list of topics", topic.as_str());
            Error::new(Reason::TopicNotFound, message).field("name")
        })
    }

    /// Removes every message of the topics that match.
    pub async fn purge_topics(
        &self,
        namespace: &NamespaceName,
        pattern: &Pattern,
        before: Option<Timestamp>,
        dry_run: bool,
    ) -> Result<Purged> {
        let messages = self.served(namespace)?.place.log.purge(pattern, before, dry_run).await?;
        if !dry_run {
            tracing::info!(%namespace, %pattern, messages, "messages were purged");
        }
        Ok(Purged { messages })
    }
}
