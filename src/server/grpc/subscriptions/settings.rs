//! What a subscription is to do, in and out: each setting by its path in an update mask.

use std::time::Duration;

use super::{super::convert, push};
use crate::{
    broker::SubscriptionChange,
    model::{BacklogPolicy, DeliveryOrder, Error, Reason, Result, RetryPolicy, Subscription, limits},
    pb::v1 as pb,
};

/// One setting: what it is called in an update mask, whether a request gives it, and how it is taken over. What is
/// taken over without being given goes back to what nobody chose.
pub(super) struct Setting {
    pub path: &'static str,
    pub is_given: fn(&pb::Subscription) -> bool,
    pub put: fn(&mut Subscription, &pb::Subscription) -> Result<()>,
}

/// What can change, beside what belongs to a webhook.
const SETTINGS: [Setting; 17] = [
    Setting {
        path: "topics",
        is_given: |from| !from.topics.is_empty(),
        put: |to, from| {
            to.set_patterns(from.topics.iter().cloned());
            Ok(())
        },
    },
    Setting {
        path: "filter",
        is_given: |from| !from.filter.is_empty(),
        put: |to, from| {
            to.filter.clone_from(&from.filter);
            Ok(())
        },
    },
    Setting {
        path: "delivery_order",
        is_given: |from| from.delivery_order != pb::DeliveryOrder::Unspecified as i32,
        put: |to, from| parse_order(from.delivery_order).map(|order| to.order = order),
    },
    Setting {
        path: "ack_deadline",
        is_given: |from| from.ack_deadline.is_some(),
        put: |to, from| {
            let deadline = parse_duration(from.ack_deadline, "ack_deadline")?;
            to.ack_deadline = deadline.unwrap_or(limits::ACK_DEADLINE_DEFAULT);
            Ok(())
        },
    },
    Setting {
        path: "retry_policy.min_backoff",
        is_given: |from| from.retry_policy.as_ref().is_some_and(|retry| retry.min_backoff.is_some()),
        put: |to, from| {
            let given = from.retry_policy.as_ref().and_then(|retry| retry.min_backoff);
            let backoff = parse_duration(given, "retry_policy.min_backoff")?;
            to.retry.min_backoff = backoff.unwrap_or(RetryPolicy::default().min_backoff);
            Ok(())
        },
    },
    Setting {
        path: "retry_policy.max_backoff",
        is_given: |from| from.retry_policy.as_ref().is_some_and(|retry| retry.max_backoff.is_some()),
        put: |to, from| {
            let given = from.retry_policy.as_ref().and_then(|retry| retry.max_backoff);
            let backoff = parse_duration(given, "retry_policy.max_backoff")?;
            to.retry.max_backoff = backoff.unwrap_or(RetryPolicy::default().max_backoff);
            Ok(())
        },
    },
    Setting {
        path: "retry_policy.multiplier",
        is_given: |from| from.retry_policy.as_ref().is_some_and(|retry| retry.multiplier != 0.0),
        put: |to, from| {
            let given = from.retry_policy.as_ref().map(|retry| retry.multiplier).filter(|given| *given != 0.0);
            to.retry.multiplier = given.unwrap_or(RetryPolicy::default().multiplier);
            Ok(())
        },
    },
    Setting {
        path: "retry_policy.max_attempts",
        is_given: |from| from.retry_policy.as_ref().is_some_and(|retry| retry.max_attempts != 0),
        put: |to, from| {
            let given = from.retry_policy.as_ref().map_or(0, |retry| retry.max_attempts);
            parse_attempts(given).map(|attempts| to.retry.max_attempts = attempts)
        },
    },
    Setting {
        path: "dead_letter_policy.topic",
        is_given: |from| from.dead_letter_policy.as_ref().is_some_and(|policy| !policy.topic.is_empty()),
        put: |to, from| {
            to.dead_letters.topic = None;
            // What an answer named may come back: it is the same as nothing.
            let given = from.dead_letter_policy.as_ref().map(|policy| policy.topic.clone());
            to.dead_letters.topic = given.filter(|topic| !topic.is_empty() && *topic != to.dead_letter_topic());
            Ok(())
        },
    },
    Setting {
        path: "dead_letter_policy.drop",
        is_given: |from| from.dead_letter_policy.as_ref().is_some_and(|policy| policy.drop),
        put: |to, from| {
            to.dead_letters.drop = from.dead_letter_policy.as_ref().is_some_and(|policy| policy.drop);
            Ok(())
        },
    },
    Setting {
        path: "max_outstanding_messages",
        is_given: |from| from.max_outstanding_messages.is_some(),
        put: |to, from| {
            to.max_outstanding = from.max_outstanding_messages.unwrap_or(limits::WINDOW_MESSAGES);
            Ok(())
        },
    },
    Setting {
        path: "max_outstanding_per_key",
        is_given: |from| from.max_outstanding_per_key.is_some(),
        put: |to, from| {
            to.max_outstanding_per_key = from.max_outstanding_per_key.unwrap_or(1);
            Ok(())
        },
    },
    Setting {
        path: "max_messages_per_second",
        is_given: |from| from.max_messages_per_second.is_some(),
        put: |to, from| {
            to.max_rate = from.max_messages_per_second;
            Ok(())
        },
    },
    Setting {
        path: "max_backlog_messages",
        is_given: |from| from.max_backlog_messages.is_some(),
        put: |to, from| {
            to.max_backlog = from.max_backlog_messages;
            Ok(())
        },
    },
    Setting {
        path: "backlog_policy",
        is_given: |from| from.backlog_policy != pb::BacklogPolicy::Unspecified as i32,
        put: |to, from| parse_backlog_policy(from.backlog_policy).map(|policy| to.backlog_policy = policy),
    },
    Setting {
        path: "expire_after_idle",
        is_given: |from| from.expire_after_idle.is_some(),
        put: |to, from| {
            let idle = parse_duration(from.expire_after_idle, "expire_after_idle")?;
            to.expire_after_idle = idle.filter(|idle| !idle.is_zero());
            Ok(())
        },
    },
    Setting {
        path: "labels",
        is_given: |from| !from.labels.is_empty(),
        put: |to, from| {
            to.labels.clone_from(&from.labels);
            Ok(())
        },
    },
];

/// What is fixed from the beginning. An update may give what is there, as whoever sends an answer back does.
const START: Setting = Setting {
    path: "start",
    is_given: |from| from.start.is_some(),
    put: |to, from| convert::position(from.start.clone(), "subscription.start").map(|start| to.start = start),
};

/// In: `blank` with all that the request gives.
pub fn create(mut blank: Subscription, wanted: &pb::Subscription) -> Result<Subscription> {
    given(wanted).try_for_each(|setting| (setting.put)(&mut blank, wanted))?;
    Ok(blank)
}

/// In: what an update changes: the settings in the mask, or without one those that the request gives. They are tried on
/// `blank`, so that a bad value is refused before the broker is asked.
pub fn change(
    mut blank: Subscription,
    wanted: pb::Subscription,
    mask: Option<prost_types::FieldMask>,
) -> Result<SubscriptionChange> {
    let mask = mask.unwrap_or_default().paths;
    let mut chosen: Vec<&Setting> = Vec::new();
    for path in &mask {
        let named = settings().filter(|setting| setting.is_within(path));
        let before = chosen.len();
        chosen.extend(named);
        if chosen.len() == before {
            return Err(unknown_path(path));
        }
    }
    if mask.is_empty() {
        chosen.extend(given(&wanted));
    }
    chosen.iter().try_for_each(|setting| (setting.put)(&mut blank, &wanted))?;
    Ok(Box::new(move |subscription| chosen.iter().try_for_each(|setting| (setting.put)(subscription, &wanted))))
}

/// Out: with every default named.
pub fn answer(subscription: &Subscription) -> pb::Subscription {
    let Subscription { retry, dead_letters, .. } = subscription;
    let retry_policy = pb::RetryPolicy {
        min_backoff: Some(convert::duration(retry.min_backoff)),
        max_backoff: Some(convert::duration(retry.max_backoff)),
        multiplier: retry.multiplier,
        max_attempts: retry.max_attempts.map_or(FOREVER, |most| i32::try_from(most).unwrap_or(i32::MAX)),
    };
    let dead_letter_policy = pb::DeadLetterPolicy { topic: subscription.dead_letter_topic(), drop: dead_letters.drop };
    pb::Subscription {
        name: subscription.name.as_str().to_owned(),
        namespace: subscription.namespace.as_str().to_owned(),
        topics: subscription.patterns.clone(),
        filter: subscription.filter.clone(),
        delivery_order: order(subscription.order),
        ack_deadline: Some(convert::duration(subscription.ack_deadline)),
        retry_policy: Some(retry_policy),
        dead_letter_policy: Some(dead_letter_policy),
        push_config: subscription.push.as_ref().map(|push| push::answer(push, subscription.ack_deadline)),
        start: Some(convert::start_position(subscription.start)),
        max_outstanding_messages: Some(subscription.max_outstanding),
        max_outstanding_per_key: Some(subscription.max_outstanding_per_key),
        max_messages_per_second: subscription.max_rate,
        max_backlog_messages: subscription.max_backlog,
        backlog_policy: backlog_policy(subscription.backlog_policy),
        expire_after_idle: Some(convert::duration(subscription.expire_after_idle.unwrap_or_default())),
        labels: subscription.labels.clone(),
        ..Default::default()
    }
}

/// All that can change.
fn settings() -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().chain(&push::SETTINGS)
}

impl Setting {
    /// Whether a path of a mask names it, or the message that it is a part of.
    fn is_within(&self, path: &str) -> bool {
        self.path.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }
}

fn given(wanted: &pb::Subscription) -> impl Iterator<Item = &'static Setting> {
    settings().chain([&START]).filter(|setting| (setting.is_given)(wanted))
}

fn unknown_path(path: &str) -> Error {
    let known: Vec<_> = settings().map(|setting| setting.path).collect();
    let path: String = path.chars().take(64).collect();
    let message = format!("update_mask holds {path:?}, which cannot be changed: it takes {}", known.join(", "));
    Error::new(Reason::RequestInvalid, message).field("update_mask")
}

pub(super) fn parse_duration(given: Option<prost_types::Duration>, path: &str) -> Result<Option<Duration>> {
    given.map(|given| convert::parse_duration(given, &format!("subscription.{path}"))).transpose()
}

/// On the wire: never gives up.
const FOREVER: i32 = -1;

fn parse_attempts(given: i32) -> Result<Option<u32>> {
    match given {
        FOREVER => Ok(None),
        0 => Ok(RetryPolicy::default().max_attempts),
        given => u32::try_from(given).map(Some).map_err(|_| {
            let what = format!("is {given}: it takes 1 or more, or -1 to never give up");
            convert::invalid("subscription.retry_policy.max_attempts", &what)
        }),
    }
}

fn order(order: DeliveryOrder) -> i32 {
    let order = match order {
        DeliveryOrder::Shared => pb::DeliveryOrder::Shared,
        DeliveryOrder::Key => pb::DeliveryOrder::Key,
        DeliveryOrder::Exclusive => pb::DeliveryOrder::Exclusive,
    };
    order.into()
}

fn parse_order(value: i32) -> Result<DeliveryOrder> {
    Ok(match pb::DeliveryOrder::try_from(value) {
        Ok(pb::DeliveryOrder::Unspecified) => DeliveryOrder::default(),
        Ok(pb::DeliveryOrder::Shared) => DeliveryOrder::Shared,
        Ok(pb::DeliveryOrder::Key) => DeliveryOrder::Key,
        Ok(pb::DeliveryOrder::Exclusive) => DeliveryOrder::Exclusive,
        Err(_) => return Err(convert::unknown_value(value, "subscription.delivery_order")),
    })
}

fn backlog_policy(policy: BacklogPolicy) -> i32 {
    let policy = match policy {
        BacklogPolicy::DropOldest => pb::BacklogPolicy::DropOldest,
        BacklogPolicy::DeadLetter => pb::BacklogPolicy::DeadLetter,
    };
    policy.into()
}

fn parse_backlog_policy(value: i32) -> Result<BacklogPolicy> {
    Ok(match pb::BacklogPolicy::try_from(value) {
        Ok(pb::BacklogPolicy::Unspecified) => BacklogPolicy::default(),
        Ok(pb::BacklogPolicy::DropOldest) => BacklogPolicy::DropOldest,
        Ok(pb::BacklogPolicy::DeadLetter) => BacklogPolicy::DeadLetter,
        Err(_) => return Err(convert::unknown_value(value, "subscription.backlog_policy")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Hidden, NamespaceName, Push, SubscriptionName};

    fn blank() -> Subscription {
        Subscription::new(SubscriptionName::parse("orders").unwrap(), NamespaceName::parse("team").unwrap())
    }

    fn seconds(seconds: i64) -> Option<prost_types::Duration> {
        Some(prost_types::Duration { seconds, nanos: 0 })
    }

    /// Differs from what nobody chose in everything.
    fn everything() -> pb::Subscription {
        pb::Subscription {
            name: "orders".into(),
            namespace: "team".into(),
            topics: vec!["a".into(), "b~".into()],
            filter: "topic != \"x\"".into(),
            delivery_order: pb::DeliveryOrder::Key.into(),
            ack_deadline: seconds(2),
            retry_policy: Some(pb::RetryPolicy {
                min_backoff: seconds(2),
                max_backoff: seconds(3),
                multiplier: 4.5,
                max_attempts: -1,
            }),
            dead_letter_policy: Some(pb::DeadLetterPolicy { topic: "lost".into(), drop: true }),
            start: Some(pb::StartPosition { position: Some(pb::start_position::Position::LastMessages(6)) }),
            max_outstanding_messages: Some(7),
            max_outstanding_per_key: Some(12),
            max_messages_per_second: Some(8.5),
            max_backlog_messages: Some(9),
            backlog_policy: pb::BacklogPolicy::DeadLetter.into(),
            expire_after_idle: seconds(10),
            labels: [("k".into(), "v".into())].into(),
            push_config: Some(push_config()),
            ..Default::default()
        }
    }

    fn push_config() -> pb::PushConfig {
        pb::PushConfig {
            url: "https://example.com/hook".into(),
            secrets: vec![format!("whsec_{}", "A".repeat(32))],
            max_in_flight: 11,
            timeout: Some(prost_types::Duration { seconds: 1, nanos: 500_000_000 }),
            headers: [("x-key".into(), "hush".into())].into(),
            format: pb::PushFormat::Raw.into(),
            secret_count: 0,
        }
    }

    /// As it is told.
    fn told() -> pb::Subscription {
        let headers = [("x-key".into(), String::new())].into();
        let push_config = pb::PushConfig { secrets: vec![], headers, secret_count: 1, ..push_config() };
        pb::Subscription { push_config: Some(push_config), ..everything() }
    }

    fn changed(wanted: pb::Subscription, mask: &[&str]) -> Result<Subscription> {
        let paths = mask.iter().map(|path| path.to_string()).collect();
        let mut subscription = create(blank(), &everything()).unwrap();
        change(blank(), wanted, Some(prost_types::FieldMask { paths }))?(&mut subscription)?;
        Ok(subscription)
    }

    #[test]
    fn every_setting_comes_back() {
        let parsed = create(blank(), &everything()).unwrap();
        parsed.check().unwrap();
        assert_eq!(answer(&parsed), told());
        // Each row is needed.
        let untouched = settings().chain([&START]).filter(|setting| {
            let mut one = blank();
            // What is a part of a webhook needs one.
            one.push = setting.path.starts_with("push_config.").then(Push::default);
            let before = one.clone();
            (setting.put)(&mut one, &everything()).unwrap();
            one == before
        });
        assert_eq!(untouched.map(|setting| setting.path).collect::<Vec<_>>(), [""; 0]);
    }

    #[test]
    fn an_answer_that_is_sent_back_changes_nothing() {
        for there in [create(blank(), &everything()).unwrap(), blank()] {
            let mut same = there.clone();
            change(blank(), answer(&there), None).unwrap()(&mut same).unwrap();
            assert_eq!(same, there);
        }
    }

    #[test]
    fn an_update_changes_what_the_mask_names() {
        let before = create(blank(), &everything()).unwrap();
        let retry_policy = Some(pb::RetryPolicy { max_attempts: 3, ..Default::default() });
        let wanted = pb::Subscription { ack_deadline: seconds(60), retry_policy, ..Default::default() };

        let expected = Subscription { ack_deadline: Duration::from_secs(60), filter: String::new(), ..before.clone() };
        assert_eq!(changed(wanted.clone(), &["ack_deadline", "filter"]).unwrap(), expected);

        let retry = RetryPolicy { max_attempts: Some(3), ..before.retry };
        let expected = Subscription { retry, ..before.clone() };
        assert_eq!(changed(wanted.clone(), &["retry_policy.max_attempts"]).unwrap(), expected);

        let retry = RetryPolicy { max_attempts: Some(3), ..RetryPolicy::default() };
        let expected = Subscription { retry, ..before.clone() };
        assert_eq!(changed(wanted.clone(), &["retry_policy"]).unwrap(), expected);

        // Without a mask, what is given, also within a message.
        let retry = RetryPolicy { max_attempts: Some(3), ..before.retry };
        let expected = Subscription { ack_deadline: Duration::from_secs(60), retry, ..before };
        assert_eq!(changed(wanted, &[]).unwrap(), expected);
    }

    #[test]
    fn what_is_named_and_not_given_goes_back_to_its_default() {
        let all: Vec<_> = settings().map(|setting| setting.path).collect();
        let reset = changed(pb::Subscription::default(), &all).unwrap();
        assert_eq!(reset, Subscription { start: reset.start, ..blank() });
    }

    #[test]
    fn a_webhook_changes_in_parts_and_goes_as_a_whole() {
        let before = create(blank(), &everything()).unwrap();
        let with = |push_config| pb::Subscription { push_config: Some(push_config), ..Default::default() };
        let push = |wanted, mask: &[&str]| changed(wanted, mask).unwrap().push;
        let there = before.push.clone().unwrap();

        let secrets = ["B", "C"].map(|letter| format!("whsec_{}", letter.repeat(32)));
        let rotated = with(pb::PushConfig { secrets: secrets.to_vec(), ..Default::default() });
        let expected = Push { secrets: secrets.map(Hidden::new).to_vec(), ..there.clone() };
        assert_eq!(push(rotated.clone(), &["push_config.secrets"]), Some(expected.clone()));
        assert_eq!(push(rotated.clone(), &[]), Some(expected));
        assert_eq!(push(pb::Subscription::default(), &["push_config.secrets"]).unwrap().secrets, []);
        // Named as a whole, what is not given goes back to its default.
        assert_eq!(push(rotated, &["push_config"]).unwrap().headers.len(), 0);
        assert_eq!(push(pb::Subscription::default(), &["push_config"]), None);

        // A header without a value keeps the one that it has.
        let headers = [("x-key".into(), String::new()), ("x-new".into(), "new".into())].into();
        let kept = push(with(pb::PushConfig { headers, ..Default::default() }), &["push_config.headers"]).unwrap();
        assert_eq!(kept.headers["x-key"].reveal(), "hush");
        assert_eq!(kept.headers["x-new"].reveal(), "new");
    }

    #[test]
    fn refusals_come_before_the_broker_is_asked() {
        for path in ["name", "start", "stats", "retry", "retry_policy.", "labels.k", ""] {
            let refusal = changed(everything(), &[path]).unwrap_err();
            assert_eq!(refusal.violated_field(), Some("update_mask"), "{path}");
            assert!(refusal.message().contains("topics") && refusal.message().contains("labels"));
        }
        let retry = |retry_policy| pb::Subscription { retry_policy: Some(retry_policy), ..Default::default() };
        let refused = [
            ("delivery_order", pb::Subscription { delivery_order: 9, ..Default::default() }),
            ("backlog_policy", pb::Subscription { backlog_policy: 9, ..Default::default() }),
            ("ack_deadline", pb::Subscription { ack_deadline: seconds(-1), ..Default::default() }),
            ("expire_after_idle", pb::Subscription { expire_after_idle: seconds(-1), ..Default::default() }),
            ("retry_policy.min_backoff", retry(pb::RetryPolicy { min_backoff: seconds(-1), ..Default::default() })),
            ("retry_policy.max_attempts", retry(pb::RetryPolicy { max_attempts: -2, ..Default::default() })),
        ];
        for (field, wanted) in refused {
            let refusals = [changed(wanted.clone(), &[]).unwrap_err(), create(blank(), &wanted).unwrap_err()];
            let field = format!("subscription.{field}");
            assert_eq!(refusals.each_ref().map(Error::violated_field), [Some(field.as_str()); 2]);
        }
    }
}
