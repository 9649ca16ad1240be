//! How a subscription is shown: names and values for people, an object for programs. Words are those that flags take.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use crate::{
    apps::{
        message,
        output::{self, Format},
        start::Start,
    },
    pb::v1::{PushConfig, Subscription, SubscriptionStats},
    units::Span,
};

/// Prints one. `created` says whether it was just made, where that was asked for.
pub fn print(subscription: &Subscription, created: Option<bool>, format: Format) -> anyhow::Result<()> {
    if format == Format::Json {
        return Ok(output::json(&Object::new(subscription, created))?);
    }
    let mut fields = specification(&Object::new(subscription, created));
    match created {
        Some(true) => fields.push(("created", "yes".to_owned())),
        Some(false) => fields.push(("created", "no, it was there".to_owned())),
        None => {}
    }
    fields.extend(standing(subscription));
    fields.push(("etag", subscription.etag.clone()));
    Ok(output::fields(&fields)?)
}

/// A value of an enum as people write it: `DELIVERY_ORDER_KEY` without its prefix is `key`.
pub fn word(name: &str, prefix: &str) -> String {
    name.trim_start_matches(prefix).to_lowercase().replace('_', "-")
}

/// What it does now.
pub fn state(subscription: &Subscription) -> String {
    word(subscription.state().as_str_name(), "STATE_")
}

/// How long the oldest has waited, to the second; empty if nothing waits.
pub fn age(stats: &SubscriptionStats) -> String {
    let age = stats.oldest_unacked_age.and_then(|age| Duration::try_from(age).ok());
    age.map(|age| Span(Duration::from_secs(age.as_secs())).to_string()).unwrap_or_default()
}

/// What it was asked to be.
fn specification(object: &Object) -> Vec<(&'static str, String)> {
    let limit = |limit: Option<String>| limit.unwrap_or_else(|| "none".to_owned());
    let dead_letters = match object.dead_letter_policy.drop {
        true => "dropped".to_owned(),
        false => format!("to {}", object.dead_letter_policy.topic),
    };
    let labels: Vec<String> =
        object.labels.iter().map(|(key, value)| message::on_its_line(&format!("{key}={value}"))).collect();
    vec![
        ("subscription", object.name.to_owned()),
        ("namespace", object.namespace.to_owned()),
        ("topics", object.topics.join(" ")),
        ("filter", if object.filter.is_empty() { "none".to_owned() } else { message::on_its_line(object.filter) }),
        ("order", object.delivery_order.clone()),
        ("ack deadline", object.ack_deadline.clone()),
        ("min backoff", object.retry_policy.min_backoff.clone()),
        ("max backoff", object.retry_policy.max_backoff.clone()),
        ("multiplier", object.retry_policy.multiplier.to_string()),
        ("max attempts", object.retry_policy.max_attempts.map_or("never".to_owned(), |most| most.to_string())),
        ("dead letters", dead_letters),
        ("start", object.start.clone()),
        ("push", object.push_config.as_ref().map_or("none".to_owned(), Push::in_words)),
        ("max outstanding", limit(object.max_outstanding_messages.map(|most| most.to_string()))),
        ("max outstanding per key", limit(object.max_outstanding_per_key.map(|most| most.to_string()))),
        ("max rate", limit(object.max_messages_per_second.map(|most| most.to_string()))),
        ("max backlog", limit(object.max_backlog_messages.map(|most| most.to_string()))),
        ("backlog policy", object.backlog_policy.clone()),
        ("expire after idle", object.expire_after_idle.clone()),
        ("labels", if labels.is_empty() { "none".to_owned() } else { labels.join(" ") }),
    ]
}

/// Where it stands.
fn standing(subscription: &Subscription) -> Vec<(&'static str, String)> {
    let stats = subscription.stats.unwrap_or_default();
    let state = match &subscription.paused_until {
        Some(until) => format!("{} until {}", state(subscription), output::time(Some(until))),
        None if subscription.state_reason.is_empty() => state(subscription),
        None => format!("{}: {}", state(subscription), message::on_its_line(&subscription.state_reason)),
    };
    let oldest = match age(&stats) {
        age if age.is_empty() => String::new(),
        age => format!(", the oldest for {age}"),
    };
    let (messages, bytes) = (output::count(stats.backlog_messages, "message"), output::bytes(stats.backlog_bytes));
    let bound = if stats.backlog_messages > 0 { "up to " } else { "" };
    vec![
        ("state", state),
        ("backlog", format!("{bound}{messages}, {bytes}{oldest}")),
        ("outstanding", stats.outstanding_messages.to_string()),
        ("consumers", stats.consumers.to_string()),
        ("acked", stats.acked.to_string()),
        ("redelivered", stats.redelivered.to_string()),
        ("dead lettered", stats.dead_lettered.to_string()),
        ("expired", stats.expired.to_string()),
        ("removed by retention", stats.removed_by_retention.to_string()),
        ("dropped", stats.dropped.to_string()),
    ]
}

/// A subscription, with the names of the contract; values as flags take them. What is not limited is left out.
#[derive(Serialize)]
pub struct Object<'a> {
    name: &'a str,
    namespace: &'a str,
    topics: &'a [String],
    #[serde(skip_serializing_if = "str::is_empty")]
    filter: &'a str,
    delivery_order: String,
    ack_deadline: String,
    retry_policy: Retry,
    dead_letter_policy: DeadLetters<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    push_config: Option<Push<'a>>,
    start: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_outstanding_messages: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_outstanding_per_key: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_messages_per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_backlog_messages: Option<u64>,
    backlog_policy: String,
    expire_after_idle: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: &'a BTreeMap<String, String>,
    etag: &'a str,
    state: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    paused_until: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    state_reason: &'a str,
    stats: Stats,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<bool>,
}

#[derive(Serialize)]
struct Retry {
    min_backoff: String,
    max_backoff: String,
    multiplier: f64,
    /// None if it never gives up.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_attempts: Option<i32>,
}

#[derive(Serialize)]
struct DeadLetters<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    topic: &'a str,
    drop: bool,
}

/// Secrets and the values of headers are never told.
#[derive(Serialize)]
struct Push<'a> {
    url: &'a str,
    format: String,
    max_in_flight: u32,
    timeout: String,
    headers: Vec<&'a str>,
    secret_count: u32,
}

#[derive(Serialize)]
struct Stats {
    backlog_messages: u64,
    backlog_bytes: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    oldest_unacked_age: String,
    outstanding_messages: u32,
    consumers: u32,
    acked: u64,
    redelivered: u64,
    dead_lettered: u64,
    expired: u64,
    removed_by_retention: u64,
    dropped: u64,
}

impl<'a> Object<'a> {
    /// `created` is given where it was asked to be.
    pub fn new(subscription: &'a Subscription, created: Option<bool>) -> Self {
        let retry = subscription.retry_policy.unwrap_or_default();
        let dead_letters = subscription.dead_letter_policy.as_ref();
        let start = subscription.start.as_ref().and_then(|start| start.position.clone());
        let idle = subscription.expire_after_idle.filter(|idle| *idle != prost_types::Duration::default());
        Object {
            name: &subscription.name,
            namespace: &subscription.namespace,
            topics: &subscription.topics,
            filter: &subscription.filter,
            delivery_order: word(subscription.delivery_order().as_str_name(), "DELIVERY_ORDER_"),
            ack_deadline: output::duration(subscription.ack_deadline.as_ref()),
            retry_policy: Retry {
                min_backoff: output::duration(retry.min_backoff.as_ref()),
                max_backoff: output::duration(retry.max_backoff.as_ref()),
                multiplier: retry.multiplier,
                max_attempts: Some(retry.max_attempts).filter(|&attempts| attempts >= 0),
            },
            dead_letter_policy: DeadLetters {
                topic: dead_letters.map_or("", |policy| &policy.topic),
                drop: dead_letters.is_some_and(|policy| policy.drop),
            },
            push_config: subscription.push_config.as_ref().map(Push::new),
            start: start.map_or_else(|| "new".to_owned(), |start| Start(start).to_string()),
            max_outstanding_messages: subscription.max_outstanding_messages,
            max_outstanding_per_key: subscription.max_outstanding_per_key,
            max_messages_per_second: subscription.max_messages_per_second,
            max_backlog_messages: subscription.max_backlog_messages,
            backlog_policy: word(subscription.backlog_policy().as_str_name(), "BACKLOG_POLICY_"),
            expire_after_idle: idle.map_or_else(|| "never".to_owned(), |idle| output::duration(Some(&idle))),
            labels: &subscription.labels,
            etag: &subscription.etag,
            state: state(subscription),
            paused_until: output::time(subscription.paused_until.as_ref()),
            state_reason: &subscription.state_reason,
            stats: Stats::new(&subscription.stats.unwrap_or_default()),
            created,
        }
    }
}

impl<'a> Push<'a> {
    fn new(push: &'a PushConfig) -> Self {
        Push {
            url: &push.url,
            format: word(push.format().as_str_name(), "PUSH_FORMAT_"),
            max_in_flight: push.max_in_flight,
            timeout: output::duration(push.timeout.as_ref()),
            headers: push.headers.keys().map(String::as_str).collect(),
            secret_count: push.secret_count,
        }
    }

    fn in_words(&self) -> String {
        let signed = match self.secret_count {
            0 => "not signed".to_owned(),
            count => format!("signed with {}", output::count(count.into(), "secret")),
        };
        let headers = match self.headers.is_empty() {
            true => String::new(),
            false => format!(", with headers {}", self.headers.join(" ")),
        };
        let Push { url, format, max_in_flight, timeout, .. } = self;
        format!("to {url} as {format}, {signed}{headers}, {max_in_flight} in flight, {timeout} to answer")
    }
}

impl Stats {
    fn new(stats: &SubscriptionStats) -> Self {
        Stats {
            backlog_messages: stats.backlog_messages,
            backlog_bytes: stats.backlog_bytes,
            oldest_unacked_age: output::duration(stats.oldest_unacked_age.as_ref()),
            outstanding_messages: stats.outstanding_messages,
            consumers: stats.consumers,
            acked: stats.acked,
            redelivered: stats.redelivered,
            dead_lettered: stats.dead_lettered,
            expired: stats.expired,
            removed_by_retention: stats.removed_by_retention,
            dropped: stats.dropped,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::v1::{
        BacklogPolicy, DeliveryOrder, RetryPolicy, StartPosition, start_position::Position, subscription::State,
    };

    #[test]
    fn words_are_those_of_the_flags() {
        let subscription = Subscription {
            delivery_order: DeliveryOrder::Exclusive.into(),
            backlog_policy: BacklogPolicy::DropOldest.into(),
            state: State::Tripped.into(),
            start: Some(StartPosition { position: Some(Position::Sequence(7)) }),
            retry_policy: Some(RetryPolicy { max_attempts: -1, multiplier: 2.0, ..Default::default() }),
            ..Subscription::default()
        };
        let object = serde_json::to_value(Object::new(&subscription, Some(true))).unwrap();
        let word = |name: &str| object[name].as_str().unwrap().to_owned();
        assert_eq!((word("delivery_order"), word("backlog_policy")), ("exclusive".into(), "drop-oldest".into()));
        assert_eq!((word("state"), word("start")), ("tripped".into(), "7".into()));
        assert_eq!(word("expire_after_idle"), "never");
        assert_eq!(object["retry_policy"].get("max_attempts"), None);
        assert_eq!(object["created"], true);
    }
}
