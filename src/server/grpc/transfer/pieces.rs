//! The pieces of a namespace that moves, out and in.

use std::{borrow::Cow, mem, sync::Arc};

use bytes::Bytes;
use prost::Message as _;

use super::{
    super::{convert, namespaces, subscriptions::settings},
    schemas,
};
use crate::{
    broker::transfer::{Carried, Counts, Imported, Kind, Moved, OpenRun, Pause, Piece, Progress, Totals},
    model::{Message, NamespaceName, Payload, Records, Result, Sequence, Subscription, SubscriptionName, Topic},
    pb::v1 as pb,
};

/// Out.
pub fn answer(piece: Piece) -> pb::Piece {
    use pb::piece::Piece as Told;
    let piece = match piece {
        Piece::Settings(namespace) => Told::Namespace(namespaces::settings(&namespace)),
        Piece::Schemas(moved) => Told::Schemas(schemas::answer(moved)),
        Piece::Messages(records) => Told::Messages(moved_messages(&records)),
        Piece::Scheduled(records) => Told::Scheduled(moved_messages(&records)),
        Piece::Subscription(carried) => Told::Subscription(moved_subscription(&carried)),
        Piece::End(Totals { messages, scheduled, subscriptions, schemas, subjects }) => {
            Told::End(pb::TransferEnd { messages, scheduled, subscriptions, schemas, subjects })
        }
    };
    pb::Piece { piece: Some(piece), crc32c: 0 }
}

/// Which place a piece has in the order of the contract; from 1.
pub fn rank(piece: &pb::piece::Piece) -> u32 {
    match piece {
        pb::piece::Piece::Namespace(_) => 1,
        pb::piece::Piece::Schemas(_) => 2,
        pb::piece::Piece::Messages(_) => 3,
        pb::piece::Piece::Scheduled(_) => 4,
        pb::piece::Piece::Subscription(_) => 5,
        pb::piece::Piece::End(_) => 6,
    }
}

/// Out: how far an import is.
pub fn imported(imported: &Imported) -> pb::ImportResponse {
    let Totals { messages, scheduled, subscriptions, schemas, .. } = imported.totals;
    let &Imported { expired, created, .. } = imported;
    pb::ImportResponse { messages, scheduled, expired, subscriptions, created, done: false, schemas }
}

/// In: how much there is.
pub fn totals(end: &pb::TransferEnd) -> Totals {
    let &pb::TransferEnd { messages, scheduled, subscriptions, schemas, subjects } = end;
    Totals { messages, scheduled, subscriptions, schemas, subjects }
}

fn moved_messages(records: &[Bytes]) -> pb::MovedMessages {
    let records = records.iter().flat_map(|record| Records::new(record)).map_while(Result::ok);
    pb::MovedMessages { messages: records.filter_map(|record| pb::Message::decode(record.message()).ok()).collect() }
}

/// In: borrowed from what came.
pub fn messages(moved: &pb::MovedMessages) -> Result<Vec<Moved<'_>>> {
    let read =
        |(at, message): (usize, _)| message_of(message).map_err(|error| error.within(format_args!("messages[{at}]")));
    moved.messages.iter().enumerate().map(read).collect()
}

fn message_of(moved: &pb::Message) -> Result<Moved<'_>> {
    let time = |time: Option<prost_types::Timestamp>, field| {
        time.map(|time| convert::parse_timestamp(time, field)).transpose()
    };
    let message = Message {
        topic: Topic::parse(&*moved.topic)?,
        payload: match &moved.payload {
            None => Payload::None,
            Some(pb::message::Payload::Data(data)) => Payload::Data(Cow::Borrowed(data)),
            Some(pb::message::Payload::Text(text)) => Payload::Text(Cow::Borrowed(text)),
        },
        attributes: moved.attributes.iter().map(|(key, value)| ((&**key).into(), (&**value).into())).collect(),
        ordering_key: (&*moved.ordering_key).into(),
        message_id: (&*moved.message_id).into(),
        content_type: (&*moved.content_type).into(),
        reply_to: (&*moved.reply_to).into(),
        correlation_id: (&*moved.correlation_id).into(),
        expire_time: time(moved.expire_time, "expire_time")?,
        deliver_time: time(moved.deliver_time, "deliver_time")?,
    };
    Ok(Moved { sequence: Sequence(moved.sequence), message })
}

fn moved_subscription(carried: &Carried) -> pb::MovedSubscription {
    use pb::subscription::State;
    let Progress { read, counts, skipped, letters, open } = &carried.progress;
    let (state, paused_until) = match carried.pause {
        Pause::No => (State::Active, None),
        Pause::Forever => (State::Paused, None),
        Pause::Until(until) => (State::Paused, Some(convert::timestamp(until))),
    };
    let stats = pb::SubscriptionStats {
        acked: counts.acked,
        redelivered: counts.redelivered,
        dead_lettered: counts.dead_lettered,
        expired: counts.expired,
        removed_by_retention: counts.removed,
        dropped: counts.dropped,
        ..Default::default()
    };
    let subscription = pb::Subscription {
        state: state.into(),
        paused_until,
        state_reason: carried.reason.clone().unwrap_or_default(),
        stats: Some(stats),
        ..settings::answer(&carried.subscription)
    };
    let range = |(first, end): &(Sequence, Sequence)| pb::SequenceRange {
        first_sequence: first.0,
        last_sequence: end.previous().0,
    };
    pb::MovedSubscription {
        subscription: Some(subscription),
        position: read.0,
        open: open.iter().map(open_messages).collect(),
        redriven_sequences: letters.iter().map(|letter| letter.0).collect(),
        skipped: skipped.iter().map(range).collect(),
    }
}

/// In: into this namespace.
pub fn subscription(moved: pb::MovedSubscription, namespace: &NamespaceName) -> Result<Carried> {
    let mut wanted = moved.subscription.unwrap_or_default();
    let within = |error: crate::model::Error| error.within("piece.subscription");
    let name = SubscriptionName::parse(&wanted.name).map_err(within)?;
    let until = wanted.paused_until.map(|until| convert::parse_timestamp(until, "paused_until"));
    let pause = match until.transpose().map_err(within)? {
        _ if wanted.state() != pb::subscription::State::Paused => Pause::No,
        Some(until) => Pause::Until(until),
        None => Pause::Forever,
    };
    let said = Some(mem::take(&mut wanted.state_reason)).filter(|said| pause != Pause::No && !said.is_empty());
    let (pause, reason) = match wanted.push_config.as_mut().and_then(without_what_is_hidden) {
        Some(lost) => (Pause::Forever, Some(lost)),
        None => (pause, said),
    };
    let stats = wanted.stats.unwrap_or_default();
    let counts = Counts {
        acked: stats.acked,
        redelivered: stats.redelivered,
        dead_lettered: stats.dead_lettered,
        expired: stats.expired,
        removed: stats.removed_by_retention,
        dropped: stats.dropped,
    };
    let range = |range: &pb::SequenceRange| (Sequence(range.first_sequence), Sequence(range.last_sequence).next());
    let progress = Progress {
        read: Sequence(moved.position),
        counts,
        skipped: moved.skipped.iter().map(range).collect(),
        letters: moved.redriven_sequences.into_iter().map(Sequence).collect(),
        open: moved.open.into_iter().map(open_run).collect::<Result<_>>()?,
    };
    let subscription = settings::create(Subscription::new(name, namespace.clone()), &wanted).map_err(within)?;
    Ok(Carried { subscription: Arc::new(subscription), pause, reason, progress })
}

/// What is hidden does not move: says so if that was anything, and leaves out the headers that have no value by now.
fn without_what_is_hidden(push: &mut pb::PushConfig) -> Option<String> {
    let lost: Vec<String> =
        push.headers.iter().filter(|(_, value)| value.is_empty()).map(|(name, _)| name.clone()).collect();
    push.headers.retain(|_, value| !value.is_empty());
    let secrets = push.secret_count as usize > push.secrets.len();
    let what = match (secrets, lost.is_empty()) {
        (false, true) => return None,
        (true, true) => "its secrets".to_owned(),
        (false, false) => format!("the values of its headers {}", lost.join(", ")),
        (true, false) => format!("its secrets and the values of its headers {}", lost.join(", ")),
    };
    Some(format!(
        "it was imported, and {what} did not move: give them anew with `tilde subscription update`, then resume it"
    ))
}

fn open_messages(run: &OpenRun) -> pb::OpenMessages {
    pb::OpenMessages {
        first_sequence: run.first.0,
        messages: run.count,
        attempts: run.attempts,
        next_time: match run.kind {
            Kind::BackingOff(until) => Some(convert::timestamp(until)),
            Kind::Ready | Kind::Dying => None,
        },
        given_up: run.kind == Kind::Dying,
        redriven: run.is_letter,
    }
}

fn open_run(open: pb::OpenMessages) -> Result<OpenRun> {
    let until = open.next_time.map(|time| convert::parse_timestamp(time, "piece.subscription.open.next_time"));
    let kind = match until.transpose()? {
        _ if open.given_up => Kind::Dying,
        Some(until) => Kind::BackingOff(until),
        None => Kind::Ready,
    };
    Ok(OpenRun {
        first: Sequence(open.first_sequence),
        count: open.messages,
        attempts: open.attempts,
        kind,
        is_letter: open.redriven,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Hidden, Push, Stamp, Timestamp, limits};

    #[test]
    fn a_message_comes_back_as_it_went() {
        let mut message = Message::new(Topic::parse("$dead/work").unwrap(), Payload::Data(vec![0, 255].into()));
        message.attributes.insert("a".into(), "ä".into());
        message.ordering_key = "key".into();
        message.message_id = "id".into();
        message.content_type = "text/plain".into();
        message.reply_to = "answers".into();
        message.correlation_id = "7".into();
        message.expire_time = Some(Timestamp::from_nanos(99_000_000_007));
        message.deliver_time = Some(Timestamp::from_nanos(1));
        let mut record = Vec::new();
        message.encode(limits::MESSAGE_BYTES, &mut record).unwrap();
        Stamp::new(Timestamp::from_nanos(5)).put(&mut record, Sequence(42));
        let moved = moved_messages(&[record.clone().into()]);
        let back = messages(&moved).unwrap().remove(0);
        let mut again = Vec::new();
        back.message.encode(limits::MESSAGE_BYTES, &mut again).unwrap();
        Stamp::new(Timestamp::from_nanos(5)).put(&mut again, back.sequence);
        assert_eq!(again, record);
    }

    #[test]
    fn a_subscription_comes_back_as_it_went() {
        let name = SubscriptionName::parse("work").unwrap();
        let there = NamespaceName::parse("there").unwrap();
        let run = |first, kind| OpenRun { first: Sequence(first), count: 2, attempts: 3, kind, is_letter: false };
        let progress = Progress {
            read: Sequence(50),
            counts: Counts { acked: 1, redelivered: 2, dead_lettered: 3, expired: 4, removed: 5, dropped: 6 },
            skipped: vec![(Sequence(1), Sequence(5))],
            letters: vec![Sequence(7), Sequence(9)],
            open: vec![
                run(10, Kind::Ready),
                run(12, Kind::BackingOff(Timestamp::from_nanos(5_000_000))),
                OpenRun { is_letter: true, ..run(20, Kind::Dying) },
            ],
        };
        for pause in [Pause::No, Pause::Forever, Pause::Until(Timestamp::from_nanos(7))] {
            let mut subscription = Subscription::new(name.clone(), there.clone());
            subscription.set_patterns(["a~".to_owned()]);
            let reason = (pause != Pause::No).then(|| "why".to_owned());
            let carried = Carried { subscription: Arc::new(subscription), pause, reason, progress: progress.clone() };
            assert_eq!(super::subscription(moved_subscription(&carried), &there).unwrap(), carried);
        }
    }

    #[test]
    fn a_webhook_that_lost_its_secrets_waits_for_new_ones() {
        let there = NamespaceName::parse("there").unwrap();
        let mut subscription = Subscription::new(SubscriptionName::parse("work").unwrap(), there.clone());
        subscription.set_patterns(["a~".to_owned()]);
        let push = Push { url: "https://example.com".into(), max_in_flight: 3, ..Push::default() };
        let moved = |push: &Push| {
            let subscription = Arc::new(Subscription { push: Some(push.clone()), ..subscription.clone() });
            let progress = Progress {
                read: Sequence(1),
                counts: Counts::default(),
                skipped: vec![],
                letters: vec![],
                open: vec![],
            };
            let carried = Carried { subscription, pause: Pause::No, reason: None, progress };
            super::subscription(moved_subscription(&carried), &there).unwrap()
        };
        let open = moved(&push);
        assert_eq!((open.pause, open.reason, open.subscription.push.as_ref()), (Pause::No, None, Some(&push)));
        let signed = Push {
            secrets: vec![Hidden::new(format!("whsec_{}", "A".repeat(32)))],
            headers: [("x-key".into(), Hidden::new("hush"))].into(),
            ..push.clone()
        };
        let moved = moved(&signed);
        assert_eq!((moved.pause, moved.subscription.push.as_ref()), (Pause::Forever, Some(&push)));
        let reason = moved.reason.unwrap();
        assert!(reason.contains("its secrets and the values of its headers x-key") && !reason.contains("hush"));
    }
}
