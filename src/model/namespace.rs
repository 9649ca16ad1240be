//! One tenant's world: its name and its settings.

use std::{
    fmt,
    sync::{Arc, LazyLock},
    time::Duration,
};

use super::{Durability, Error, Reason, Result, TopicSchema, limits};

/// A namespace's name: `[a-z0-9-]{1,63}`. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamespaceName(Arc<str>);

impl NamespaceName {
    /// The one that exists unasked.
    pub const DEFAULT: &'static str = "default";

    /// Checks a name once; from then on it is a type. Empty is the default namespace.
    pub fn parse(name: &str) -> Result<Self> {
        if name.is_empty() || name == NamespaceName::DEFAULT {
            return Ok(NamespaceName::default());
        }
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if name.len() > limits::NAMESPACE_BYTES || !name.bytes().all(allowed) {
            let message = format!(
                "{name:?} is no name for a namespace: it takes 1 to {} of a-z, 0-9 and -",
                limits::NAMESPACE_BYTES
            );
            return Err(Error::new(Reason::NamespaceInvalid, message).field("namespace"));
        }
        Ok(NamespaceName(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for NamespaceName {
    fn default() -> Self {
        // Shared: nearly every request names no other.
        static DEFAULT: LazyLock<NamespaceName> = LazyLock::new(|| NamespaceName(NamespaceName::DEFAULT.into()));
        DEFAULT.clone()
    }
}

impl fmt::Display for NamespaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A namespace's settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Namespace {
    /// Its name.
    pub name: NamespaceName,
    /// Retention: messages older than this are removed, a whole segment at a time.
    pub max_age: Duration,
    /// Retention: the oldest are removed when the log grows above this, a whole segment at a time.
    pub max_bytes: u64,
    /// Of a publish that asks for none.
    pub durability: Durability,
    /// How long a `message_id` is remembered.
    pub deduplication_window: Duration,
    /// Published in a second; none is no limit.
    pub max_messages_per_second: Option<u64>,
    /// Published in a second; none is no limit.
    pub max_bytes_per_second: Option<u64>,
    /// Open at the same time; none is no limit.
    pub max_streams: Option<u32>,
    /// Durable subscriptions; none is no limit.
    pub max_subscriptions: Option<u32>,
    /// What topics demand of payloads: the first rule that matches counts.
    pub topic_schemas: Vec<TopicSchema>,
}

impl Namespace {
    /// A namespace with the settings that nobody chose: 7 days, 10 GiB, synced, a window of 2 minutes.
    pub fn new(name: NamespaceName) -> Self {
        Namespace {
            name,
            max_age: Duration::from_secs(7 * 24 * 3600),
            max_bytes: 10 << 30,
            durability: Durability::Synced,
            deduplication_window: Duration::from_secs(120),
            max_messages_per_second: None,
            max_bytes_per_second: None,
            max_streams: None,
            max_subscriptions: None,
            topic_schemas: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(NamespaceName::parse("").unwrap().as_str(), "default");
        assert!(NamespaceName::parse("team-7").is_ok());
        for bad in ["A", "a_b", "a/b", "..", "ä", &"x".repeat(64)] {
            assert_eq!(NamespaceName::parse(bad).unwrap_err().reason(), Reason::NamespaceInvalid);
        }
    }
}
