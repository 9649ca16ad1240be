//! The form in which the state keeps a subscription: JSON. Never holds what was settled: that is in the ledger.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{hub::Pause, push::Pushing};
use crate::model::{
    BacklogPolicy, Cursor, DeadLetters, DeliveryOrder, Error, Hidden, NamespaceName, Position, Push, PushFormat,
    Reason, Result, RetryPolicy, Sequence, Subscription, SubscriptionName, Timestamp,
};

/// What is kept of a subscription.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// Random, made with it: tells it from an earlier one of the same name.
    pub id: u64,
    /// Where it begins: what `start` was when it was created.
    pub first: Sequence,
    /// Whether it is held.
    pub pause: Pause,
    /// Why the broker held it by itself, if it did.
    pub reason: Option<String>,
    /// What it is to do.
    pub specification: Arc<Subscription>,
}

/// Its stored form.
#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    id: u64,
    first: u64,
    paused: bool,
    paused_until_ns: Option<i64>,
    patterns: Vec<String>,
    filter: String,
    order: String,
    ack_deadline_ns: u64,
    min_backoff_ns: u64,
    max_backoff_ns: u64,
    // Fractions are texts: as numbers of JSON they might not come back to the last bit.
    multiplier: String,
    max_attempts: Option<u32>,
    dead_letter_topic: Option<String>,
    drop_dead_letters: bool,
    start: Start,
    max_outstanding: u32,
    max_rate: Option<String>,
    max_backlog: Option<u64>,
    backlog_policy: String,
    expire_after_idle_ns: Option<u64>,
    labels: BTreeMap<String, String>,
    // What follows came later: it is left out where there is nothing to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    paused_reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    push: Option<StoredPush>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_outstanding_per_key: Option<u32>,
}

/// A webhook, with its secrets: whoever reads the state can sign.
#[derive(Serialize, Deserialize)]
struct StoredPush {
    url: String,
    secrets: Vec<String>,
    max_in_flight: u32,
    timeout_ns: Option<u64>,
    headers: BTreeMap<String, String>,
    format: String,
}

/// Of [`Stored`]. Another form takes another number, and this one must still be read.
const VERSION: u32 = 1;

/// A position as it was asked for.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Start {
    New,
    Earliest,
    LastPerTopic,
    AfterCursor(String),
    Sequence(u64),
    TimeNs(i64),
    LastMessages(u32),
}

const ORDERS: [(DeliveryOrder, &str); 3] =
    [(DeliveryOrder::Shared, "shared"), (DeliveryOrder::Key, "key"), (DeliveryOrder::Exclusive, "exclusive")];

const BACKLOG_POLICIES: [(BacklogPolicy, &str); 2] =
    [(BacklogPolicy::DropOldest, "drop_oldest"), (BacklogPolicy::DeadLetter, "dead_letter")];

const PUSH_FORMATS: [(PushFormat, &str); 3] =
    [(PushFormat::Envelope, "envelope"), (PushFormat::Raw, "raw"), (PushFormat::CloudEvents, "cloudevents")];

impl Kept {
    /// As the edge names it.
    pub fn pushing(&self) -> Pushing {
        let Subscription { namespace, name, .. } = &*self.specification;
        Pushing { namespace: namespace.clone(), name: name.clone(), id: self.id }
    }

    /// To be stored.
    pub fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(&Stored::from(self)).expect("numbers and texts become JSON")
    }

    /// Takes back what [`Kept::bytes`] made.
    pub fn parse(namespace: NamespaceName, name: SubscriptionName, bytes: &[u8]) -> Result<Kept> {
        let parsed = serde_json::from_slice::<Stored>(bytes).map_err(|error| error.to_string());
        let parsed = parsed.and_then(|stored| stored.take(namespace.clone(), name.clone()));
        parsed.map_err(|detail| {
            tracing::error!(%namespace, subscription = %name, detail, "a subscription in the state cannot be read");
            let message = format!("the subscription {name} of namespace {namespace} cannot be read: {detail}");
            Error::new(Reason::StorageCorrupt, message)
        })
    }
}

impl Stored {
    fn from(kept: &Kept) -> Self {
        let Subscription { patterns, filter, retry, dead_letters, labels, .. } = &*kept.specification;
        let specification = &kept.specification;
        Stored {
            version: VERSION,
            id: kept.id,
            first: kept.first.0,
            paused: kept.pause != Pause::No,
            paused_until_ns: match kept.pause {
                Pause::Until(until) => Some(until.nanos()),
                Pause::No | Pause::Forever => None,
            },
            patterns: patterns.clone(),
            filter: filter.clone(),
            order: word(&ORDERS, specification.order),
            ack_deadline_ns: nanos(specification.ack_deadline),
            min_backoff_ns: nanos(retry.min_backoff),
            max_backoff_ns: nanos(retry.max_backoff),
            multiplier: retry.multiplier.to_string(),
            max_attempts: retry.max_attempts,
            dead_letter_topic: dead_letters.topic.clone(),
            drop_dead_letters: dead_letters.drop,
            start: Start::from(specification.start),
            max_outstanding: specification.max_outstanding,
            max_rate: specification.max_rate.map(|rate| rate.to_string()),
            max_backlog: specification.max_backlog,
            backlog_policy: word(&BACKLOG_POLICIES, specification.backlog_policy),
            expire_after_idle_ns: specification.expire_after_idle.map(nanos),
            labels: labels.clone(),
            paused_reason: kept.reason.clone(),
            push: specification.push.as_ref().map(StoredPush::from),
            max_outstanding_per_key: Some(specification.max_outstanding_per_key).filter(|most| *most > 1),
        }
    }

    /// What it says, or why that cannot be.
    fn take(self, namespace: NamespaceName, name: SubscriptionName) -> Result<Kept, String> {
        if self.version != VERSION {
            return Err(format!("its form {} is not known to this version of Tilde", self.version));
        }
        let specification = Subscription {
            patterns: self.patterns,
            filter: self.filter,
            order: value(&ORDERS, &self.order)?,
            ack_deadline: Duration::from_nanos(self.ack_deadline_ns),
            retry: RetryPolicy {
                min_backoff: Duration::from_nanos(self.min_backoff_ns),
                max_backoff: Duration::from_nanos(self.max_backoff_ns),
                multiplier: fraction(&self.multiplier)?,
                max_attempts: self.max_attempts,
            },
            dead_letters: DeadLetters { topic: self.dead_letter_topic, drop: self.drop_dead_letters },
            start: self.start.take()?,
            max_outstanding: self.max_outstanding,
            max_outstanding_per_key: self.max_outstanding_per_key.unwrap_or(1),
            max_rate: self.max_rate.as_deref().map(fraction).transpose()?,
            max_backlog: self.max_backlog,
            backlog_policy: value(&BACKLOG_POLICIES, &self.backlog_policy)?,
            expire_after_idle: self.expire_after_idle_ns.map(Duration::from_nanos),
            labels: self.labels,
            push: self.push.map(StoredPush::take).transpose()?,
            ..Subscription::new(name, namespace)
        };
        specification.check().map_err(|error| error.message().to_owned())?;
        let pause = match (self.paused, self.paused_until_ns) {
            (false, _) => Pause::No,
            (true, None) => Pause::Forever,
            (true, Some(until)) => Pause::Until(Timestamp::from_nanos(until)),
        };
        let (first, specification) = (Sequence(self.first), Arc::new(specification));
        Ok(Kept { id: self.id, first, pause, reason: self.paused_reason, specification })
    }
}

impl StoredPush {
    fn from(push: &Push) -> Self {
        StoredPush {
            url: push.url.clone(),
            secrets: push.secrets.iter().map(|secret| secret.reveal().to_owned()).collect(),
            max_in_flight: push.max_in_flight,
            timeout_ns: push.timeout.map(nanos),
            headers: push.headers.iter().map(|(name, value)| (name.clone(), value.reveal().to_owned())).collect(),
            format: word(&PUSH_FORMATS, push.format),
        }
    }

    fn take(self) -> Result<Push, String> {
        Ok(Push {
            url: self.url,
            secrets: self.secrets.into_iter().map(Hidden::new).collect(),
            max_in_flight: self.max_in_flight,
            timeout: self.timeout_ns.map(Duration::from_nanos),
            headers: self.headers.into_iter().map(|(name, value)| (name, Hidden::new(value))).collect(),
            format: value(&PUSH_FORMATS, &self.format)?,
        })
    }
}

impl Start {
    fn from(position: Position) -> Self {
        match position {
            Position::New => Start::New,
            Position::Earliest => Start::Earliest,
            Position::LastPerTopic => Start::LastPerTopic,
            Position::After(cursor) => Start::AfterCursor(cursor.encode()),
            Position::At(sequence) => Start::Sequence(sequence.0),
            Position::Time(time) => Start::TimeNs(time.nanos()),
            Position::Last(count) => Start::LastMessages(count),
        }
    }

    fn take(self) -> Result<Position, String> {
        Ok(match self {
            Start::New => Position::New,
            Start::Earliest => Position::Earliest,
            Start::LastPerTopic => Position::LastPerTopic,
            Start::AfterCursor(cursor) => {
                Position::After(Cursor::parse(&cursor).map_err(|_| format!("{cursor:?} is no cursor"))?)
            }
            Start::Sequence(sequence) => Position::At(Sequence(sequence)),
            Start::TimeNs(nanos) => Position::Time(Timestamp::from_nanos(nanos)),
            Start::LastMessages(count) => Position::Last(count),
        })
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn fraction(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| format!("{text:?} is no number"))
}

fn word<T: PartialEq>(table: &[(T, &str)], value: T) -> String {
    table.iter().find(|(known, _)| *known == value).expect("all are listed").1.to_owned()
}

fn value<T: Copy>(table: &[(T, &str)], word: &str) -> Result<T, String> {
    let known = table.iter().find(|(_, known)| *known == word);
    known.map(|(value, _)| *value).ok_or_else(|| format!("{word:?} is not known"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LogId;

    /// As version 1 wrote it. Later versions must still read it.
    const FIXTURE: &str = r#"{"version":1,"id":18446744073709551615,"first":42,"paused":true,"paused_until_ns":7,
        "patterns":["a","b~"],"filter":"topic != \"x\"","order":"key","ack_deadline_ns":10000000000,"min_backoff_ns":0,
        "max_backoff_ns":1500000000,"multiplier":"1.1","max_attempts":null,"dead_letter_topic":"$dead/all",
        "drop_dead_letters":true,"start":{"last_messages":3},"max_outstanding":9,"max_rate":"0.3","max_backlog":11,
        "backlog_policy":"dead_letter","expire_after_idle_ns":60000000000,"labels":{"team":"x"}}"#;

    /// The same form, with what came later.
    const WITH_PUSH: &str = r#"{"version":1,"id":1,"first":1,"paused":true,"paused_until_ns":null,"patterns":["a"],
        "filter":"","order":"shared","ack_deadline_ns":30000000000,"min_backoff_ns":0,"max_backoff_ns":0,
        "multiplier":"2","max_attempts":5,"dead_letter_topic":null,"drop_dead_letters":false,"start":"new",
        "max_outstanding":9,"max_rate":null,"max_backlog":null,"backlog_policy":"drop_oldest",
        "expire_after_idle_ns":null,"labels":{},"paused_reason":"the target answered 410 Gone","push":{
        "url":"https://example.com/hook","secrets":["whsec_aAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "whsec_bAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"],"max_in_flight":7,"timeout_ns":5000000000,
        "headers":{"x-key":"open sesame"},"format":"cloudevents"}}"#;

    fn parse(text: &str) -> Result<Kept> {
        Kept::parse(NamespaceName::parse("team").unwrap(), SubscriptionName::parse("orders").unwrap(), text.as_bytes())
    }

    #[test]
    fn the_stored_form_comes_back_as_it_went() {
        let name = SubscriptionName::parse("orders").unwrap();
        let specification = Subscription {
            patterns: vec!["a".into(), "b~".into()],
            filter: "topic != \"x\"".into(),
            order: DeliveryOrder::Key,
            ack_deadline: Duration::from_secs(10),
            retry: RetryPolicy {
                min_backoff: Duration::ZERO,
                max_backoff: Duration::from_millis(1500),
                multiplier: 1.1,
                max_attempts: None,
            },
            dead_letters: DeadLetters { topic: Some("$dead/all".into()), drop: true },
            start: Position::Last(3),
            max_outstanding: 9,
            max_rate: Some(0.3),
            max_backlog: Some(11),
            backlog_policy: BacklogPolicy::DeadLetter,
            expire_after_idle: Some(Duration::from_secs(60)),
            labels: [("team".into(), "x".into())].into(),
            ..Subscription::new(name, NamespaceName::parse("team").unwrap())
        };
        let pause = Pause::Until(Timestamp::from_nanos(7));
        let (first, specification) = (Sequence(42), Arc::new(specification));
        let expected = Kept { id: u64::MAX, first, pause, reason: None, specification };
        assert_eq!(parse(FIXTURE).unwrap(), expected);
        let again = String::from_utf8(expected.bytes()).unwrap();
        assert_eq!(parse(&again).unwrap(), expected);
        assert!(!again.contains("push") && !again.contains("reason"), "earlier versions can still read it");
    }

    #[test]
    fn a_webhook_comes_back_with_what_nobody_else_is_told() {
        let secret = |byte| Hidden::new(format!("whsec_{byte}{}", "A".repeat(31)));
        let push = Push {
            url: "https://example.com/hook".into(),
            secrets: vec![secret("a"), secret("b")],
            max_in_flight: 7,
            timeout: Some(Duration::from_secs(5)),
            headers: [("x-key".into(), Hidden::new("open sesame"))].into(),
            format: PushFormat::CloudEvents,
        };
        let kept = parse(WITH_PUSH).unwrap();
        assert_eq!(kept.specification.push, Some(push));
        assert_eq!(kept.reason.as_deref(), Some("the target answered 410 Gone"));
        assert_eq!(parse(&String::from_utf8(kept.bytes()).unwrap()).unwrap(), kept);
    }

    #[test]
    fn every_start_and_every_pause_comes_back() {
        let cursor = Cursor { log: LogId(1), after: Sequence(2), waits: true };
        let starts = [
            Position::New,
            Position::Earliest,
            Position::After(cursor),
            Position::At(Sequence(u64::MAX)),
            Position::Time(Timestamp::from_nanos(i64::MAX)),
            Position::Last(1),
        ];
        let pauses = [Pause::No, Pause::Forever, Pause::Until(Timestamp::EPOCH)];
        let known = parse(FIXTURE).unwrap();
        for (start, pause) in starts.into_iter().flat_map(|start| pauses.map(|pause| (start, pause))) {
            let specification = Arc::new(Subscription { start, ..(*known.specification).clone() });
            let kept = Kept { pause, specification, ..known.clone() };
            assert_eq!(parse(&String::from_utf8(kept.bytes()).unwrap()).unwrap(), kept);
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let replaced = |old: &str, new: &str| {
            let damaged = FIXTURE.replace(old, new);
            assert_ne!(damaged, FIXTURE, "{old}");
            damaged
        };
        let damaged = [
            String::new(),
            "{}".to_owned(),
            replaced("\"version\":1", "\"version\":2"),
            replaced("\"key\"", "\"keys\""),
            replaced("dead_letter\"", "dead_letters\""),
            replaced("1.1", "one"),
            replaced("last_messages", "first_messages"),
            replaced("{\"last_messages\":3}", "\"last_per_topic\""),
            replaced("[\"a\",\"b~\"]", "[]"),
        ];
        for damaged in damaged {
            let refusal = parse(&damaged).unwrap_err();
            assert_eq!(refusal.reason(), Reason::StorageCorrupt, "{damaged}");
            assert!(refusal.message().contains("the subscription orders of namespace team"), "{refusal}");
        }
    }
}
