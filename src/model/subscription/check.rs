//! What a subscription may ask for. Each refusal names the field as a request calls it.

use std::time::Duration;

use super::{DEAD_LETTERS, DeliveryOrder, RetryPolicy, Subscription};
use crate::model::{Error, Filter, PatternSet, Position, Reason, Result, Topic, limits};

/// What a back-off may grow by each time.
const MULTIPLIER: std::ops::RangeInclusive<f64> = 1.0..=100.0;
/// The shortest time after which an idle one may be deleted.
const IDLE_LEAST: Duration = Duration::from_secs(1);

impl Subscription {
    /// Whether it makes sense. To be asked before it is used: what it answers relies on it.
    pub fn check(&self) -> Result<()> {
        let patterns = PatternSet::parse(&self.patterns).map_err(|error| error.within("subscription"))?;
        Filter::parse(&self.filter).map_err(|error| error.within("subscription"))?;
        self.check_start()?;
        self.check_bounds()?;
        self.retry.check()?;
        self.check_dead_letters(&patterns)?;
        self.push.iter().try_for_each(|push| push.check(self))?;
        self.check_labels()
    }

    fn check_start(&self) -> Result<()> {
        let message = "a subscription cannot begin with the newest message of each topic: begin at EARLIEST, at a \
                       position, or with the last messages; a Subscribe can";
        ensure(self.start != Position::LastPerTopic, "start", || message.to_owned())
    }

    fn check_bounds(&self) -> Result<()> {
        let (least, most) = (limits::ACK_DEADLINE_MIN, limits::ACK_DEADLINE_MAX);
        ensure((least..=most).contains(&self.ack_deadline), "ack_deadline", || {
            format!("ack_deadline is {:?}: it takes 1 s to 12 h", self.ack_deadline)
        })?;
        let outstanding = [
            ("max_outstanding_messages", self.max_outstanding),
            ("max_outstanding_per_key", self.max_outstanding_per_key),
        ];
        for (field, given) in outstanding {
            let most = limits::WINDOW_MESSAGES;
            ensure((1..=most).contains(&given), field, || format!("{field} is {given}: it takes 1 to {most}"))?;
        }
        let is_one = self.max_outstanding_per_key == 1 || self.order == DeliveryOrder::Key;
        ensure(is_one, "max_outstanding_per_key", || {
            let given = self.max_outstanding_per_key;
            format!("max_outstanding_per_key is {given}, and keys have no order: it takes delivery_order KEY")
        })?;
        ensure(self.max_rate.is_none_or(|rate| rate.is_finite() && rate > 0.0), "max_messages_per_second", || {
            "max_messages_per_second must be above 0: leave it out for no limit, and pause to deliver nothing"
                .to_owned()
        })?;
        ensure(self.max_backlog != Some(0), "max_backlog_messages", || {
            "max_backlog_messages is 0, so nothing could wait: leave it out for no limit".to_owned()
        })?;
        ensure(self.expire_after_idle.is_none_or(|idle| idle >= IDLE_LEAST), "expire_after_idle", || {
            "expire_after_idle takes 1 s or more: leave it out to keep the subscription".to_owned()
        })
    }

    fn check_dead_letters(&self, patterns: &PatternSet) -> Result<()> {
        const FIELD: &str = "dead_letter_policy.topic";
        if let Some(topic) = &self.dead_letters.topic {
            let topic = Topic::parse(topic.as_str()).map_err(|error| refusal(FIELD, error.message().to_owned()))?;
            let allowed = !topic.is_reserved() || topic.as_str().starts_with(DEAD_LETTERS);
            ensure(allowed, FIELD, || {
                format!(
                    "the dead letters cannot go to {topic}: of the broker's own topics only `{DEAD_LETTERS}…` take them"
                )
            })?;
        }
        // They would fail again, and be dead letters again, for ever.
        let topic = self.dead_letter_topic();
        ensure(self.dead_letters.drop || !patterns.matches(&topic), FIELD, || {
            format!("the subscription would receive its own dead letters from {topic}: choose another topic for them")
        })
    }

    fn check_labels(&self) -> Result<()> {
        const FIELD: &str = "labels";
        ensure(self.labels.len() <= limits::LABELS, FIELD, || {
            format!("there are {} labels: at most {} are allowed", self.labels.len(), limits::LABELS)
        })?;
        let fits =
            |key: &str, value: &str| (1..=limits::NAME_BYTES).contains(&key.len()) && value.len() <= limits::NAME_BYTES;
        ensure(self.labels.iter().all(|(key, value)| fits(key, value)), FIELD, || {
            format!("a label has 1 to {0} bytes as its key, and at most {0} as its value", limits::NAME_BYTES)
        })
    }
}

impl RetryPolicy {
    fn check(&self) -> Result<()> {
        let most = limits::BACKOFF;
        ensure(self.min_backoff <= most, "retry_policy.min_backoff", || {
            format!("min_backoff is {:?}: it takes 12 h at most", self.min_backoff)
        })?;
        ensure((self.min_backoff..=most).contains(&self.max_backoff), "retry_policy.max_backoff", || {
            format!("max_backoff is {:?}: it takes min_backoff, {:?}, to 12 h", self.max_backoff, self.min_backoff)
        })?;
        // NaN is in no range.
        ensure(MULTIPLIER.contains(&self.multiplier), "retry_policy.multiplier", || {
            format!("multiplier is {}: it takes 1 to 100", self.multiplier)
        })?;
        ensure(self.max_attempts != Some(0), "retry_policy.max_attempts", || {
            "max_attempts takes 1 or more: leave it out for 5, and give -1 to never give up".to_owned()
        })
    }
}

fn ensure(holds: bool, field: &str, message: impl FnOnce() -> String) -> Result<()> {
    match holds {
        true => Ok(()),
        false => Err(refusal(field, message())),
    }
}

fn refusal(field: &str, message: String) -> Error {
    Error::new(Reason::SubscriptionInvalid, message).field(format!("subscription.{field}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{NamespaceName, SubscriptionName, subscription::DeadLetters};

    fn good() -> Subscription {
        let name = SubscriptionName::parse("orders").unwrap();
        Subscription { patterns: vec!["orders/~".into()], ..Subscription::new(name, NamespaceName::default()) }
    }

    fn dead_letters(topic: &str) -> DeadLetters {
        DeadLetters { topic: Some(topic.to_owned()), drop: false }
    }

    fn retry(change: impl FnOnce(&mut RetryPolicy)) -> RetryPolicy {
        let mut retry = RetryPolicy::default();
        change(&mut retry);
        retry
    }

    fn labels(count: usize, key: &str, value: &str) -> std::collections::BTreeMap<String, String> {
        (0..count)
            .map(|n| (format!("{key}{}", if n == 0 { String::new() } else { n.to_string() }), value.into()))
            .collect()
    }

    #[test]
    fn the_bounds_themselves_are_allowed() {
        let seconds = Duration::from_secs;
        let hours_12 = seconds(12 * 3600);
        let allowed = [
            good(),
            Subscription { ack_deadline: seconds(1), max_outstanding: 1, max_backlog: Some(1), ..good() },
            Subscription { ack_deadline: hours_12, max_outstanding: 100_000, max_rate: Some(0.001), ..good() },
            Subscription { expire_after_idle: Some(seconds(1)), labels: labels(64, &"k".repeat(253), ""), ..good() },
            Subscription { retry: retry(|retry| retry.min_backoff = Duration::ZERO), ..good() },
            Subscription {
                retry: retry(|retry| (retry.min_backoff, retry.max_backoff) = (hours_12, hours_12)),
                ..good()
            },
            Subscription { retry: retry(|retry| (retry.multiplier, retry.max_attempts) = (100.0, None)), ..good() },
            Subscription { dead_letters: dead_letters("lost"), ..good() },
            Subscription { dead_letters: dead_letters("$dead/all"), ..good() },
            Subscription {
                dead_letters: DeadLetters { topic: None, drop: true },
                patterns: vec!["$~".into()],
                ..good()
            },
            Subscription { start: Position::Last(3), filter: "topic == \"orders/eu\"".into(), ..good() },
        ];
        for subscription in allowed {
            subscription.check().unwrap();
        }
    }

    #[test]
    fn refusals_have_the_reason_and_the_field() {
        let nano = Duration::from_nanos(1);
        let hours_12 = Duration::from_secs(12 * 3600);
        let refused = [
            ("ack_deadline", Subscription { ack_deadline: Duration::from_secs(1) - nano, ..good() }),
            ("ack_deadline", Subscription { ack_deadline: hours_12 + nano, ..good() }),
            ("max_outstanding_messages", Subscription { max_outstanding: 0, ..good() }),
            ("max_outstanding_messages", Subscription { max_outstanding: 100_001, ..good() }),
            ("max_outstanding_per_key", Subscription { max_outstanding_per_key: 2, ..good() }),
            ("max_outstanding_per_key", Subscription { max_outstanding_per_key: 0, ..good() }),
            ("max_outstanding_per_key", Subscription { max_outstanding_per_key: 100_001, ..good() }),
            ("max_messages_per_second", Subscription { max_rate: Some(0.0), ..good() }),
            ("max_messages_per_second", Subscription { max_rate: Some(f64::NAN), ..good() }),
            ("max_messages_per_second", Subscription { max_rate: Some(f64::INFINITY), ..good() }),
            ("max_backlog_messages", Subscription { max_backlog: Some(0), ..good() }),
            ("expire_after_idle", Subscription { expire_after_idle: Some(Duration::ZERO), ..good() }),
            ("start", Subscription { start: Position::LastPerTopic, ..good() }),
            ("retry_policy.min_backoff", Subscription { retry: retry(|r| r.min_backoff = hours_12 + nano), ..good() }),
            ("retry_policy.max_backoff", Subscription { retry: retry(|r| r.max_backoff = hours_12 + nano), ..good() }),
            ("retry_policy.max_backoff", Subscription { retry: retry(|r| r.max_backoff = nano), ..good() }),
            ("retry_policy.multiplier", Subscription { retry: retry(|r| r.multiplier = 0.99), ..good() }),
            ("retry_policy.multiplier", Subscription { retry: retry(|r| r.multiplier = f64::NAN), ..good() }),
            ("retry_policy.max_attempts", Subscription { retry: retry(|r| r.max_attempts = Some(0)), ..good() }),
            ("dead_letter_policy.topic", Subscription { dead_letters: dead_letters("a~"), ..good() }),
            ("dead_letter_policy.topic", Subscription { dead_letters: dead_letters("$dead"), ..good() }),
            ("dead_letter_policy.topic", Subscription { dead_letters: dead_letters("orders/lost"), ..good() }),
            ("dead_letter_policy.topic", Subscription { patterns: vec!["$dead/~".into()], ..good() }),
            ("labels", Subscription { labels: labels(65, "k", "v"), ..good() }),
            ("labels", Subscription { labels: labels(1, "", "v"), ..good() }),
            ("labels", Subscription { labels: labels(1, &"k".repeat(256), "v"), ..good() }),
            ("labels", Subscription { labels: labels(1, "k", &"v".repeat(256)), ..good() }),
        ];
        for (field, subscription) in refused {
            let refusal = subscription.check().unwrap_err();
            assert_eq!(refusal.reason(), Reason::SubscriptionInvalid, "{field}: {refusal}");
            assert_eq!(refusal.violated_field(), Some(format!("subscription.{field}").as_str()), "{refusal}");
        }
        let others = [
            (Reason::PatternInvalid, "topics", Subscription { patterns: vec![], ..good() }),
            (Reason::PatternInvalid, "topics", Subscription { patterns: vec!["a\n".into()], ..good() }),
            (Reason::FilterInvalid, "filter", Subscription { filter: "topic".into(), ..good() }),
        ];
        for (reason, field, subscription) in others {
            let refusal = subscription.check().unwrap_err();
            assert_eq!(refusal.reason(), reason);
            assert_eq!(refusal.violated_field(), Some(format!("subscription.{field}").as_str()));
        }
    }
}
