//! A durable subscription as it was asked for, and what is told of where it stands. Never holds what was settled: that
//! is the broker's.

mod check;
mod differences;
mod names;
pub mod push;

use std::{collections::BTreeMap, time::Duration};

pub use names::{ConsumerName, SubscriptionName};
pub use push::{Hidden, Push, PushFormat};

use super::{Filter, NamespaceName, PatternSet, Position, limits};

/// The beginning of the topics where dead letters go that nobody gave a topic of their own.
pub const DEAD_LETTERS: &str = "$dead/";

/// What a subscription is to do; nothing of its state.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscription {
    /// Its name.
    pub name: SubscriptionName,
    /// Where it is.
    pub namespace: NamespaceName,
    /// Which topics, as written: sorted, each once (see [`Subscription::set_patterns`]).
    pub patterns: Vec<String>,
    /// Which of their messages, as written; empty is all.
    pub filter: String,
    /// Who gets what when.
    pub order: DeliveryOrder,
    /// How long a consumer has for a delivery: 1 s to 12 h.
    pub ack_deadline: Duration,
    /// When what was not acknowledged comes again.
    pub retry: RetryPolicy,
    /// What becomes of what was given up.
    pub dead_letters: DeadLetters,
    /// Where its messages are sent; none: consumers fetch them.
    pub push: Option<Push>,
    /// Where it begins; fixed when it is created.
    pub start: Position,
    /// Messages that all consumers together may have outstanding: 1 to 100,000.
    pub max_outstanding: u32,
    /// Where they are ordered by key: messages of one key that its consumer may have outstanding: 1 to 100,000.
    pub max_outstanding_per_key: u32,
    /// Messages delivered in a second; none is no limit.
    pub max_rate: Option<f64>,
    /// Messages that may wait; none is no limit.
    pub max_backlog: Option<u64>,
    /// What becomes of the oldest beyond that.
    pub backlog_policy: BacklogPolicy,
    /// Deleted when nobody used it for so long; none is never.
    pub expire_after_idle: Option<Duration>,
    /// The user's own, by key.
    pub labels: BTreeMap<String, String>,
}

/// Who gets which message when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DeliveryOrder {
    /// Consumers share the work; there is no order.
    #[default]
    Shared,
    /// Those of each ordering key in order, and one at a time unless more may be outstanding. Those without a key have no
    /// order.
    Key,
    /// One consumer is active, the next stands by.
    Exclusive,
}

/// What becomes of the oldest message when more wait than may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BacklogPolicy {
    /// It is skipped.
    #[default]
    DropOldest,
    /// It goes to the dead letters.
    DeadLetter,
}

/// When a message that was not acknowledged comes again: after `min_backoff`, then each time after `multiplier` times
/// as long, up to `max_backoff`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryPolicy {
    /// 0 to 12 h.
    pub min_backoff: Duration,
    /// `min_backoff` to 12 h.
    pub max_backoff: Duration,
    /// 1 to 100.
    pub multiplier: f64,
    /// Deliveries, 1 or more, until it is given up; none never gives up.
    pub max_attempts: Option<u32>,
}

/// What becomes of messages that were given up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLetters {
    /// Where they go; none is `$dead/` and the subscription's name.
    pub topic: Option<String>,
    /// They are not kept.
    pub drop: bool,
}

/// What a subscription does at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SubscriptionState {
    /// It delivers.
    #[default]
    Active,
    /// It delivers nothing until it is resumed, or its time has come.
    Paused,
    /// Too many failures in a row: it tries one message at a time.
    Tripped,
}

/// Where a subscription stands, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubscriptionStats {
    /// Not settled yet. An upper bound: filters are not counted.
    pub backlog_messages: u64,
    /// Their encoded bytes, at the average of what their topics hold.
    pub backlog_bytes: u64,
    /// Since the oldest that is not settled was published; none if nothing waits.
    pub oldest_unacked_age: Option<Duration>,
    /// Leased.
    pub outstanding_messages: u32,
    /// Attached.
    pub consumers: u32,
    /// Acknowledged since it was created, as all that follow.
    pub acked: u64,
    /// Delivered once more.
    pub redelivered: u64,
    /// Given up and kept.
    pub dead_lettered: u64,
    /// Their time to live was over before they were settled.
    pub expired: u64,
    /// Removed before they were settled.
    pub removed_by_retention: u64,
    /// Left out, as more than `max_backlog` waited.
    pub dropped: u64,
}

impl Subscription {
    /// One with all that nobody chose, and no patterns yet: shared, 30 s to acknowledge, five attempts, from now on.
    pub fn new(name: SubscriptionName, namespace: NamespaceName) -> Self {
        Subscription {
            name,
            namespace,
            patterns: Vec::new(),
            filter: String::new(),
            order: DeliveryOrder::default(),
            ack_deadline: limits::ACK_DEADLINE_DEFAULT,
            retry: RetryPolicy::default(),
            dead_letters: DeadLetters::default(),
            push: None,
            start: Position::New,
            max_outstanding: limits::WINDOW_MESSAGES,
            max_outstanding_per_key: 1,
            max_rate: None,
            max_backlog: None,
            backlog_policy: BacklogPolicy::default(),
            expire_after_idle: None,
            labels: BTreeMap::new(),
        }
    }

    /// Takes patterns over, in any order.
    pub fn set_patterns(&mut self, patterns: impl IntoIterator<Item = String>) {
        self.patterns = patterns.into_iter().collect();
        self.patterns.sort();
        self.patterns.dedup();
    }

    /// Its patterns, ready to be asked. To be called on one that was checked.
    pub fn pattern_set(&self) -> PatternSet {
        PatternSet::parse(&self.patterns).expect("a subscription is checked before it is used")
    }

    /// Its filter, ready to be asked; none if everything is wanted. To be called on one that was checked.
    pub fn filter(&self) -> Option<Filter> {
        Filter::parse(&self.filter).expect("a subscription is checked before it is used")
    }

    /// Where its dead letters go, if they are kept.
    pub fn dead_letter_topic(&self) -> String {
        self.dead_letters.topic.clone().unwrap_or_else(|| format!("{DEAD_LETTERS}{}", self.name))
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        RetryPolicy {
            min_backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(600),
            multiplier: 2.0,
            max_attempts: Some(5),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_chose() {
        let mut subscription =
            Subscription::new(SubscriptionName::parse("orders").unwrap(), NamespaceName::parse("team").unwrap());
        assert_eq!(subscription.dead_letter_topic(), "$dead/orders");
        assert_eq!((subscription.max_outstanding, subscription.retry.max_attempts), (100_000, Some(5)));
        assert!(subscription.filter().is_none());
        subscription.set_patterns(["b", "a~", "b"].map(str::to_owned));
        assert_eq!(subscription.patterns, ["a~", "b"]);
        assert!(subscription.pattern_set().matches("abc"));
        subscription.dead_letters.topic = Some("lost".into());
        assert_eq!(subscription.dead_letter_topic(), "lost");
    }
}
