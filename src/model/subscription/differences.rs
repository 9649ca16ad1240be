//! In what two subscriptions differ, in words. Short, however long what differs is: it goes into a status.

use std::{collections::BTreeSet, fmt::Debug};

use super::Subscription;
use crate::model::Position;

/// Characters of a text that are shown.
const SHOWN: usize = 64;
/// Patterns or labels that are named.
const NAMED: usize = 3;

impl Subscription {
    /// What differs from another specification of the same name, a phrase each: "ack_deadline is 30s, not 10s".
    pub fn differences(&self, asked: &Subscription) -> Vec<String> {
        let label = |(key, value): (&String, &String)| format!("{key}={value}");
        let sets = [
            set("topics", self.patterns.iter().cloned(), asked.patterns.iter().cloned()),
            set("labels", self.labels.iter().map(label), asked.labels.iter().map(label)),
        ];
        let values = self.values().into_iter().zip(asked.values());
        let values = values.filter(|((_, known), (_, asked))| known != asked);
        let values =
            values.map(|((what, known), (_, asked))| format!("{what} is {}, not {}", short(&known), short(&asked)));
        sets.into_iter().flatten().chain(values).chain(self.push_differences(asked)).collect()
    }

    /// What of a webhook differs. What is hidden is not told.
    fn push_differences(&self, asked: &Subscription) -> Vec<String> {
        let (known, asked) = match (&self.push, &asked.push) {
            (Some(known), Some(asked)) => (known, asked),
            (None, None) => return Vec::new(),
            (Some(_), None) => return vec!["push_config is set".to_owned()],
            (None, Some(_)) => return vec!["push_config is not set".to_owned()],
        };
        let told = [
            ("url", known.url != asked.url),
            ("secrets", known.secrets != asked.secrets),
            ("max_in_flight", known.max_in_flight != asked.max_in_flight),
            ("timeout", known.timeout != asked.timeout),
            ("headers", known.headers != asked.headers),
            ("format", known.format != asked.format),
        ];
        told.into_iter()
            .filter(|(_, differs)| *differs)
            .map(|(what, _)| format!("push_config.{what} differs"))
            .collect()
    }

    /// All that is one value, in words.
    fn values(&self) -> [(&'static str, String); 16] {
        [
            ("filter", format!("{:?}", self.filter)),
            ("delivery_order", shouted(self.order)),
            ("ack_deadline", format!("{:?}", self.ack_deadline)),
            ("retry_policy.min_backoff", format!("{:?}", self.retry.min_backoff)),
            ("retry_policy.max_backoff", format!("{:?}", self.retry.max_backoff)),
            ("retry_policy.multiplier", self.retry.multiplier.to_string()),
            ("retry_policy.max_attempts", self.retry.max_attempts.map_or("unlimited".into(), |most| most.to_string())),
            ("dead_letter_policy.topic", format!("{:?}", self.dead_letter_topic())),
            ("dead_letter_policy.drop", self.dead_letters.drop.to_string()),
            ("start", start(self.start)),
            ("max_outstanding_messages", self.max_outstanding.to_string()),
            ("max_outstanding_per_key", self.max_outstanding_per_key.to_string()),
            ("max_messages_per_second", self.max_rate.map_or("unlimited".into(), |most| most.to_string())),
            ("max_backlog_messages", self.max_backlog.map_or("unlimited".into(), |most| most.to_string())),
            ("backlog_policy", shouted(self.backlog_policy)),
            ("expire_after_idle", self.expire_after_idle.map_or("never".into(), |idle| format!("{idle:?}"))),
        ]
    }
}

/// What is in one set and not in the other: `topics has "a", not "b"`.
fn set(what: &str, known: impl Iterator<Item = String>, asked: impl Iterator<Item = String>) -> Option<String> {
    let (known, asked): (BTreeSet<_>, BTreeSet<_>) = (known.collect(), asked.collect());
    let named = |items: &BTreeSet<String>, others: &BTreeSet<String>| {
        let only: Vec<_> = items.difference(others).map(|item| short(&format!("{item:?}"))).collect();
        match only.len().saturating_sub(NAMED) {
            0 => only.join(" "),
            more => format!("{} and {more} more", only[..NAMED].join(" ")),
        }
    };
    match (named(&known, &asked), named(&asked, &known)) {
        (has, lacks) if has.is_empty() && lacks.is_empty() => None,
        (has, lacks) if has.is_empty() => Some(format!("{what} lacks {lacks}")),
        (has, lacks) if lacks.is_empty() => Some(format!("{what} has {has} besides")),
        (has, lacks) => Some(format!("{what} has {has}, not {lacks}")),
    }
}

fn start(position: Position) -> String {
    match position {
        Position::New => "NEW".to_owned(),
        Position::Earliest => "EARLIEST".to_owned(),
        Position::LastPerTopic => "LAST_PER_TOPIC".to_owned(),
        Position::After(cursor) => format!("after cursor {}", cursor.encode()),
        Position::At(sequence) => format!("sequence {sequence}"),
        Position::Time(time) => {
            let (seconds, nanos) = time.parts();
            format!("{seconds}.{nanos:09} s after 1970")
        }
        Position::Last(count) => format!("the last {count} messages"),
    }
}

/// The word of the contract: `DropOldest` is DROP_OLDEST.
fn shouted(value: impl Debug) -> String {
    let mut word = String::new();
    for c in format!("{value:?}").chars() {
        if c.is_uppercase() && !word.is_empty() {
            word.push('_');
        }
        word.push(c.to_ascii_uppercase());
    }
    word
}

fn short(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{
        BacklogPolicy, Cursor, DeadLetters, DeliveryOrder, Hidden, LogId, NamespaceName, Push, PushFormat, RetryPolicy,
        Sequence, SubscriptionName, Timestamp,
    };

    fn known() -> Subscription {
        let name = SubscriptionName::parse("orders").unwrap();
        Subscription { patterns: vec!["a".into(), "b".into()], ..Subscription::new(name, NamespaceName::default()) }
    }

    #[test]
    fn nothing_differs_from_itself() {
        assert_eq!(known().differences(&known()), [""; 0]);
        let topic = Some("$dead/orders".to_owned());
        let spelled_out = Subscription { dead_letters: DeadLetters { topic, drop: false }, ..known() };
        assert_eq!(known().differences(&spelled_out), [""; 0]);
    }

    #[test]
    fn whatever_differs_is_told() {
        let retry = RetryPolicy {
            min_backoff: Duration::ZERO,
            max_backoff: Duration::from_secs(5),
            multiplier: 1.5,
            max_attempts: None,
        };
        let asked = Subscription {
            patterns: vec!["a".into(), "c~".into()],
            filter: "topic == \"a\"".into(),
            order: DeliveryOrder::Key,
            ack_deadline: Duration::from_secs(10),
            retry,
            dead_letters: DeadLetters { topic: Some("lost".into()), drop: true },
            start: Position::Earliest,
            max_outstanding: 7,
            max_outstanding_per_key: 8,
            max_rate: Some(0.5),
            max_backlog: Some(8),
            backlog_policy: BacklogPolicy::DeadLetter,
            expire_after_idle: Some(Duration::from_secs(60)),
            labels: [("team".into(), "x".into())].into(),
            ..known()
        };
        let expected = [
            r#"topics has "b", not "c~""#,
            r#"labels lacks "team=x""#,
            r#"filter is "", not "topic == \"a\"""#,
            "delivery_order is SHARED, not KEY",
            "ack_deadline is 30s, not 10s",
            "retry_policy.min_backoff is 1s, not 0ns",
            "retry_policy.max_backoff is 600s, not 5s",
            "retry_policy.multiplier is 2, not 1.5",
            "retry_policy.max_attempts is 5, not unlimited",
            r#"dead_letter_policy.topic is "$dead/orders", not "lost""#,
            "dead_letter_policy.drop is false, not true",
            "start is NEW, not EARLIEST",
            "max_outstanding_messages is 100000, not 7",
            "max_outstanding_per_key is 1, not 8",
            "max_messages_per_second is unlimited, not 0.5",
            "max_backlog_messages is unlimited, not 8",
            "backlog_policy is DROP_OLDEST, not DEAD_LETTER",
            "expire_after_idle is never, not 60s",
        ];
        assert_eq!(known().differences(&asked), expected);
    }

    #[test]
    fn of_a_webhook_it_is_told_what_differs_and_not_how() {
        let push = Push { url: "http://a".into(), ..Push::default() };
        let with = |push: &Push| Subscription { push: Some(push.clone()), ..known() };
        let other = Push {
            url: "http://hush".into(),
            secrets: vec![Hidden::new("hush")],
            max_in_flight: 1,
            timeout: Some(Duration::from_secs(1)),
            headers: [("a".into(), Hidden::new("hush"))].into(),
            format: PushFormat::Raw,
        };
        let fields = ["url", "secrets", "max_in_flight", "timeout", "headers", "format"];
        assert_eq!(with(&push).differences(&with(&push)), [""; 0]);
        assert_eq!(with(&push).differences(&with(&other)), fields.map(|field| format!("push_config.{field} differs")));
        assert_eq!(known().differences(&with(&other)), ["push_config is not set"]);
        assert_eq!(with(&other).differences(&known()), ["push_config is set"]);
    }

    #[test]
    fn a_phrase_is_short_whatever_differs() {
        let patterns = (0..1000).map(|n| format!("{n:04}{}", "x".repeat(1000))).collect();
        let asked = Subscription { patterns, filter: format!("topic == {:?}", "y".repeat(4000)), ..known() };
        let differences = known().differences(&asked);
        assert!(differences[0].contains(r#"has "a" "b", not "0000xxx"#) && differences[0].ends_with("and 997 more"));
        assert!(differences.iter().all(|phrase| phrase.chars().count() < 400), "{differences:?}");
    }

    #[test]
    fn every_position_has_words_of_its_own() {
        let cursor = Cursor { log: LogId(1), after: Sequence(2), waits: false };
        let positions = [
            Position::New,
            Position::Earliest,
            Position::LastPerTopic,
            Position::After(cursor),
            Position::After(Cursor { waits: true, ..cursor }),
            Position::At(Sequence(2)),
            Position::Time(Timestamp::from_nanos(2)),
            Position::Time(Timestamp::from_nanos(2_000_000_000)),
            Position::Last(2),
        ];
        let words: BTreeSet<_> = positions.into_iter().map(start).collect();
        assert_eq!(words.len(), positions.len());
    }
}
