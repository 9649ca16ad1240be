//! What can be set of a subscription, as flags. What is not given is left to the broker.

use crate::{
    apps::{limit::Limit, output::wire_duration},
    pb::v1::{BacklogPolicy, DeadLetterPolicy, DeliveryOrder, RetryPolicy, Subscription},
    units::Span,
};

/// All that can be set when it is created and changed later.
#[derive(clap::Args, Debug, Default)]
pub struct Settings {
    /// Deliver only messages for which this is true, in CEL, as in 'attributes.lang == "en"'; '' takes all
    #[arg(long, value_name = "CEL")]
    filter: Option<String>,

    /// Who gets which message [broker's default: shared]
    #[arg(long, value_enum, group = "delivery_order")]
    order: Option<Order>,

    /// How long a consumer has for a delivery before another one gets it, 1s to 12h [broker's default: 30s]
    #[arg(long, value_name = "DURATION")]
    ack_deadline: Option<Span>,

    /// How soon a message comes again that was not acknowledged, 0s to 12h [broker's default: 1s]
    #[arg(long, value_name = "DURATION")]
    min_backoff: Option<Span>,

    /// The longest that this grows to, at most 12h [broker's default: 10m]
    #[arg(long, value_name = "DURATION")]
    max_backoff: Option<Span>,

    /// By how much it grows each time, 1 to 100 [broker's default: 2]
    #[arg(long, value_name = "FACTOR")]
    multiplier: Option<f64>,

    /// After so many deliveries a message is a dead letter; `never` does not give up [broker's default: 5]
    #[arg(long, value_name = "N", value_parser = attempts)]
    max_attempts: Option<i32>,

    /// Where the dead letters are published; '' is the broker's default, $dead/NAME
    #[arg(long, value_name = "TOPIC", groups = ["dead_letter_policy", "dead_letter_policy.topic"])]
    dead_letter_topic: Option<String>,

    /// Keep no dead letters; --dead-letter-topic takes it back
    #[arg(long, groups = ["dead_letter_policy", "dead_letter_policy.drop"])]
    drop_dead_letters: bool,

    /// Deliveries that may be unsettled at the same time, over all consumers, 1 to 100000; `none` is as many as that
    /// [broker's default: none]
    #[arg(long, value_name = "N", group = "max_outstanding_messages")]
    max_outstanding: Option<Limit<u32>>,

    /// With --order key: messages of one key that its consumer may have unsettled at the same time, in their order, 1 to
    /// 100000 [broker's default: 1]
    #[arg(long, value_name = "N")]
    max_outstanding_per_key: Option<u32>,

    /// Messages delivered in a second, over all consumers, as in 0.5 or 100; `none` is no limit [broker's default: none]
    #[arg(long, value_name = "N", group = "max_messages_per_second")]
    max_rate: Option<Limit<f64>>,

    /// Messages that may wait; `none` is no limit [broker's default: none]
    #[arg(long, value_name = "N", group = "max_backlog_messages")]
    max_backlog: Option<Limit<u64>>,

    /// What happens to the oldest beyond --max-backlog [broker's default: drop-oldest]
    #[arg(long, value_enum)]
    backlog_policy: Option<Backlog>,

    /// Delete it when nobody has used it for so long, at least 1s, as in 30d; `never` keeps it [broker's default: never]
    #[arg(long, value_name = "DURATION", value_parser = idle)]
    expire_after_idle: Option<Span>,

    /// A label of your own; may be given up to 64 times. All that there were are replaced; `none` leaves none
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<Label>,
}

/// In which order deliveries go out.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Order {
    /// Consumers share the work; no order
    Shared,
    /// For each ordering key in order, one message at a time unless --max-outstanding-per-key says more
    Key,
    /// One consumer gets all, the next stands by
    Exclusive,
}

/// What happens to what is too much.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Backlog {
    /// They are skipped
    DropOldest,
    /// They become dead letters
    DeadLetter,
}

/// A label, or none at all.
type Label = Option<(String, String)>;

impl Settings {
    /// Puts what was given into `subscription` and names it as the field mask does.
    pub fn apply(&self, subscription: &mut Subscription) -> Vec<String> {
        let mut paths = Vec::new();
        let mut set = |path: &str, given: bool| {
            if given {
                paths.push(path.to_owned());
            }
            given
        };
        set("filter", self.filter.is_some());
        subscription.filter = self.filter.clone().unwrap_or_default();
        set("delivery_order", self.order.is_some());
        subscription.delivery_order = self.order.map_or(0, |order| order.wire().into());
        set("ack_deadline", self.ack_deadline.is_some());
        subscription.ack_deadline = self.ack_deadline.map(|span| wire_duration(span.0));
        let retry = [
            set("retry_policy.min_backoff", self.min_backoff.is_some()),
            set("retry_policy.max_backoff", self.max_backoff.is_some()),
            set("retry_policy.multiplier", self.multiplier.is_some()),
            set("retry_policy.max_attempts", self.max_attempts.is_some()),
        ];
        subscription.retry_policy = retry.contains(&true).then(|| self.retry_policy());
        let dead_letters = self.drop_dead_letters || self.dead_letter_topic.is_some();
        set("dead_letter_policy", dead_letters);
        subscription.dead_letter_policy = dead_letters.then(|| DeadLetterPolicy {
            topic: self.dead_letter_topic.clone().unwrap_or_default(),
            drop: self.drop_dead_letters,
        });
        set("max_outstanding_messages", self.max_outstanding.is_some());
        subscription.max_outstanding_messages = self.max_outstanding.and_then(|limit| limit.0);
        set("max_outstanding_per_key", self.max_outstanding_per_key.is_some());
        subscription.max_outstanding_per_key = self.max_outstanding_per_key;
        set("max_messages_per_second", self.max_rate.is_some());
        subscription.max_messages_per_second = self.max_rate.and_then(|limit| limit.0);
        set("max_backlog_messages", self.max_backlog.is_some());
        subscription.max_backlog_messages = self.max_backlog.and_then(|limit| limit.0);
        set("backlog_policy", self.backlog_policy.is_some());
        subscription.backlog_policy = self.backlog_policy.map_or(0, |policy| policy.wire().into());
        set("expire_after_idle", self.expire_after_idle.is_some());
        subscription.expire_after_idle = self.expire_after_idle.map(|span| wire_duration(span.0));
        set("labels", !self.labels.is_empty());
        subscription.labels = self.labels.iter().flatten().cloned().collect();
        paths
    }

    fn retry_policy(&self) -> RetryPolicy {
        RetryPolicy {
            min_backoff: self.min_backoff.map(|span| wire_duration(span.0)),
            max_backoff: self.max_backoff.map(|span| wire_duration(span.0)),
            multiplier: self.multiplier.unwrap_or_default(),
            max_attempts: self.max_attempts.unwrap_or_default(),
        }
    }
}

impl Order {
    fn wire(self) -> DeliveryOrder {
        match self {
            Order::Shared => DeliveryOrder::Shared,
            Order::Key => DeliveryOrder::Key,
            Order::Exclusive => DeliveryOrder::Exclusive,
        }
    }
}

impl Backlog {
    fn wire(self) -> BacklogPolicy {
        match self {
            Backlog::DropOldest => BacklogPolicy::DropOldest,
            Backlog::DeadLetter => BacklogPolicy::DeadLetter,
        }
    }
}

/// The contract says "never" with a number that no count is.
fn attempts(text: &str) -> Result<i32, String> {
    match text {
        "never" => Ok(-1),
        _ => match text.parse() {
            Ok(attempts) if attempts >= 1 => Ok(attempts),
            _ => Err("write a number from 1 on, or `never`".into()),
        },
    }
}

/// The contract says "never" with a time that no wait is.
fn idle(text: &str) -> Result<Span, String> {
    match text {
        "never" => Ok(Span(std::time::Duration::ZERO)),
        _ => text.parse().map_err(|error| format!("{error}, or `never`")),
    }
}

fn label(text: &str) -> Result<Label, String> {
    match text.split_once('=') {
        None if text == "none" => Ok(None),
        Some((key, value)) if !key.is_empty() => Ok(Some((key.to_owned(), value.to_owned()))),
        _ => Err("write it as KEY=VALUE, or `none`".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        settings: Settings,
    }

    fn applied(flags: &[&str]) -> (Subscription, Vec<String>) {
        let line = Line::try_parse_from([&["tilde"], flags].concat()).unwrap();
        let mut subscription = Subscription::default();
        let paths = line.settings.apply(&mut subscription);
        (subscription, paths)
    }

    #[test]
    fn what_is_not_given_is_left_to_the_broker() {
        assert_eq!(applied(&[]), (Subscription::default(), Vec::new()));
    }

    #[test]
    fn everything_has_a_flag() {
        let numbers = ["--multiplier", "1.5", "--max-attempts", "7", "--max-outstanding", "9", "--max-rate", "0.5"];
        let per_key = ["--max-outstanding-per-key", "8"];
        let times =
            ["--ack-deadline", "1m", "--min-backoff", "0s", "--max-backoff", "1h", "--expire-after-idle", "30d"];
        let words = ["--filter", "topic == 'a'", "--order", "key", "--backlog-policy", "dead-letter"];
        let rest = ["--max-backlog", "100", "--dead-letter-topic", "lost", "--label", "a=b=c", "--label", "d="];
        let (got, paths) = applied(&[&numbers[..], &per_key, &times, &words, &rest].concat());
        let duration = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let expected = Subscription {
            filter: "topic == 'a'".into(),
            delivery_order: DeliveryOrder::Key.into(),
            ack_deadline: duration(60),
            retry_policy: Some(RetryPolicy {
                min_backoff: duration(0),
                max_backoff: duration(3600),
                multiplier: 1.5,
                max_attempts: 7,
            }),
            dead_letter_policy: Some(DeadLetterPolicy { topic: "lost".into(), drop: false }),
            max_outstanding_messages: Some(9),
            max_outstanding_per_key: Some(8),
            max_messages_per_second: Some(0.5),
            max_backlog_messages: Some(100),
            backlog_policy: BacklogPolicy::DeadLetter.into(),
            expire_after_idle: duration(30 * 86_400),
            labels: [("a".into(), "b=c".into()), ("d".into(), String::new())].into(),
            ..Subscription::default()
        };
        assert_eq!(got, expected);
        assert_eq!(
            paths,
            [
                "filter",
                "delivery_order",
                "ack_deadline",
                "retry_policy.min_backoff",
                "retry_policy.max_backoff",
                "retry_policy.multiplier",
                "retry_policy.max_attempts",
                "dead_letter_policy",
                "max_outstanding_messages",
                "max_outstanding_per_key",
                "max_messages_per_second",
                "max_backlog_messages",
                "backlog_policy",
                "expire_after_idle",
                "labels",
            ]
        );
    }

    #[test]
    fn what_was_set_can_be_taken_back() {
        let limits = ["--max-outstanding", "none", "--max-rate", "none", "--max-backlog", "none", "--label", "none"];
        let (got, paths) = applied(&[&limits[..], &["--filter", ""]].concat());
        assert_eq!(got, Subscription::default());
        assert_eq!(paths.len(), 5);
        let (got, _) = applied(&["--max-attempts", "never", "--expire-after-idle", "never", "--drop-dead-letters"]);
        assert_eq!(got.retry_policy.unwrap().max_attempts, -1);
        assert_eq!(got.expire_after_idle, Some(prost_types::Duration::default()));
        assert_eq!(got.dead_letter_policy, Some(DeadLetterPolicy { topic: String::new(), drop: true }));
    }

    #[test]
    fn what_is_refused() {
        for bad in [
            &["--max-attempts", "0"][..],
            &["--max-attempts=-1"],
            &["--label", "a"],
            &["--label", "=a"],
            &["--max-rate", "fast"],
            &["--ack-deadline", "30"],
            &["--dead-letter-topic", "a", "--drop-dead-letters"],
        ] {
            assert!(Line::try_parse_from([&["tilde"], bad].concat()).is_err(), "{bad:?}");
        }
    }
}
