//! Dead letters: what is said of a message that was given up, and how it becomes what it was when it is sent back. Pure.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;

use super::ledger::Death;
use crate::model::{Message, Pattern, PatternSet, Records, Result, Sequence, Stamp, Subscription, Topic};

/// What the broker says of a dead letter begins so.
pub const PREFIX: &str = "tilde-";
/// Bytes that a dead letter may have beyond what a message may: for what is said of it.
pub const BEYOND: usize = 8 << 10;
/// Which subscription gave the message up.
pub const SUBSCRIPTION: &str = "tilde-subscription";
/// Where it was published.
pub const TOPIC: &str = "tilde-topic";
/// Its sequence there.
pub const SEQUENCE: &str = "tilde-sequence";
/// How many attempts failed.
pub const ATTEMPTS: &str = "tilde-attempts";
/// Who had it last.
pub const CONSUMER: &str = "tilde-consumer";
/// Why the last attempt failed.
pub const REASON: &str = "tilde-reason";

/// Where a subscription's dead letters lie.
pub fn patterns(specification: &Subscription) -> Arc<PatternSet> {
    Arc::new(PatternSet::new(vec![Pattern::Exact(specification.dead_letter_topic().into())]))
}

/// The dead letter of a message that is given up.
pub fn write<'a>(message: Message<'a>, death: &Death, specification: &Subscription) -> Result<Message<'a>> {
    // What was a dead letter before says where it came from.
    let before = |key: &str| message.attributes.get(key).filter(|_| death.is_letter).map(|value| value.to_string());
    let said = [
        (SUBSCRIPTION, specification.name.as_str().to_owned()),
        (TOPIC, before(TOPIC).unwrap_or_else(|| message.topic.as_str().to_owned())),
        (SEQUENCE, before(SEQUENCE).unwrap_or_else(|| death.sequence.to_string())),
        (ATTEMPTS, death.attempts.to_string()),
        (CONSUMER, death.failure.consumer.to_string()),
        (REASON, death.failure.reason.clone()),
    ];
    let mut attributes = message.attributes.clone();
    attributes.extend(said.map(|(key, value)| (Cow::Borrowed(key), Cow::Owned(value))));
    Ok(Message {
        topic: Topic::parse(specification.dead_letter_topic())?,
        message_id: Cow::Owned(id(specification, death)),
        // It stays as long as the log keeps it.
        expire_time: None,
        attributes,
        ..message
    })
}

/// The same for the same message of the same subscription, and within what an id may have.
fn id(specification: &Subscription, death: &Death) -> String {
    format!("{}/{}", short(specification.name.as_str()), death.sequence)
}

/// So much of a subscription's name as fits into an id, with a number behind it.
fn short(name: &str) -> String {
    name.chars().take(50).collect()
}

/// The places that a dead letter names: that of its message, and that of what was given up, which may have been a dead
/// letter itself. None of any other message.
pub fn names(message: &Message<'_>) -> [Option<Sequence>; 2] {
    let said = |key: &str| message.attributes.get(key);
    let (Some(subscription), Some(_)) = (said(SUBSCRIPTION), said(TOPIC)) else { return [None; 2] };
    let own = said(SEQUENCE).and_then(|own| own.parse().ok());
    let given_up = message.message_id.strip_prefix(&*short(subscription)).and_then(|rest| rest.strip_prefix('/'));
    [own, given_up.and_then(|number| number.parse().ok())].map(|number| number.map(Sequence))
}

/// A message that moves to another log: if it is a dead letter, it names the places there. What did not come along it names
/// no more, as its number may be another message's there.
pub fn moved<'a>(mut message: Message<'a>, place: impl Fn(Sequence) -> Option<Sequence>) -> Message<'a> {
    let [own, given_up] = names(&message).map(|old| old.map(&place));
    match own {
        None => {}
        Some(Some(own)) => drop(message.attributes.insert(SEQUENCE.into(), own.to_string().into())),
        Some(None) => drop(message.attributes.remove(SEQUENCE)),
    }
    if let Some(given_up) = given_up {
        let id = |given_up| Some(format!("{}/{given_up}", short(message.attributes.get(SUBSCRIPTION)?)));
        message.message_id = given_up.and_then(id).unwrap_or_default().into();
    }
    message
}

/// A dead letter's record as its message was: its topic and its own attributes. The sequence stays the dead letter's, by
/// which it is settled.
pub fn restore(record: &Bytes) -> Bytes {
    restored(record).map_or_else(|| record.clone(), Bytes::from)
}

fn restored(bytes: &[u8]) -> Option<Vec<u8>> {
    let record = Records::new(bytes).next()?.ok()?;
    let letter = Message::decode(&record)?;
    let topic = Topic::parse(letter.attributes.get(TOPIC)?.to_string()).ok()?;
    let attributes = letter.attributes.iter().filter(|(key, _)| !key.starts_with(PREFIX));
    let attributes = attributes.map(|(key, value)| (key.clone(), value.clone())).collect();
    let message = Message { topic, attributes, message_id: Cow::default(), ..letter };
    let mut out = Vec::new();
    message.encode(usize::MAX, &mut out).ok()?;
    Stamp::new(record.publish_time()).put(&mut out, record.sequence());
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        broker::subscription::ledger::Failure,
        model::{NamespaceName, Payload, SubscriptionName, Timestamp, limits},
    };

    #[test]
    fn a_message_that_is_sent_back_is_what_it_was() {
        let name = SubscriptionName::parse("work").unwrap();
        let specification = Subscription::new(name, NamespaceName::default());
        let mut message = Message::new(Topic::parse("jobs/a").unwrap(), Payload::Text("x".into()));
        message.attributes.insert("own".into(), "kept".into());
        message.ordering_key = "k".into();
        let failure = Failure { reason: "no paper".into(), consumer: "c".into() };
        let death = Death { sequence: Sequence(7), attempts: 5, is_letter: false, failure };
        let letter = write(message.clone(), &death, &specification).unwrap();
        assert_eq!((letter.topic.as_str(), &*letter.message_id), ("$dead/work", "work/7"));
        assert_eq!((&*letter.attributes[REASON], &*letter.attributes[SEQUENCE]), ("no paper", "7"));

        let mut bytes = Vec::new();
        letter.encode(limits::MESSAGE_BYTES, &mut bytes).unwrap();
        Stamp::new(Timestamp::EPOCH).put(&mut bytes, Sequence(9));
        let back = restore(&bytes.into());
        let record = Records::new(&back).next().unwrap().unwrap();
        assert_eq!(record.sequence(), Sequence(9));
        let back = Message::decode(&record).unwrap();
        assert_eq!((&back.topic, &back.attributes), (&message.topic, &message.attributes));
        assert_eq!(back.ordering_key, message.ordering_key);

        // Given up once more, it still says where it came from.
        let death = Death { sequence: Sequence(9), is_letter: true, ..death };
        let again = write(letter, &death, &specification).unwrap();
        assert_eq!((&*again.attributes[TOPIC], &*again.attributes[SEQUENCE]), ("jobs/a", "7"));
        assert_eq!(&*again.message_id, "work/9");

        // In another log it names the places there, or none.
        assert_eq!(names(&again), [Some(Sequence(7)), Some(Sequence(9))]);
        let there = moved(again.clone(), |old| Some(Sequence(old.0 - 4)));
        assert_eq!((&*there.attributes[SEQUENCE], &*there.message_id), ("3", "work/5"));
        let alone = moved(again.clone(), |_| None);
        assert_eq!((alone.attributes.get(SEQUENCE), &*alone.message_id), (None, ""));
        // What is no dead letter stays as it is, and so does an id that somebody else has given.
        assert_eq!(names(&message), [None; 2]);
        let other = moved(Message { message_id: "mine/9".into(), ..again }, |_| None);
        assert_eq!(&*other.message_id, "mine/9");
    }
}
