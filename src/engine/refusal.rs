//! What every engine says when it refuses a record, so that all say the same.

use crate::model::{Error, ProducerName, Reason, Sequence};

/// The id was used before, for another payload.
pub fn reused(topic: &str, id: &[u8], sequence: Sequence) -> Error {
    let id = String::from_utf8_lossy(id);
    let message = format!(
        "message_id {id:?} was used on topic {topic:?} for another payload, published as {sequence}: give every \
         message an id of its own"
    );
    Error::new(Reason::MessageIdReused, message).field("message_id").with("sequence", sequence)
}

/// The id stands twice in one atomic batch, of which nothing was published.
pub fn reused_within(topic: &str, id: &[u8]) -> Error {
    let id = String::from_utf8_lossy(id);
    let message = format!(
        "message_id {id:?} stands in this batch twice for topic {topic:?}, with two payloads: give every message an id of \
         its own"
    );
    Error::new(Reason::MessageIdReused, message).field("message_id")
}

/// The topic has moved on.
pub fn conflict(topic: &str, expected: Sequence, actual: Sequence) -> Error {
    let message = format!(
        "topic {topic:?} has {actual} as its last sequence, not {expected}: read what came in between, then decide anew"
    );
    Error::new(Reason::SequenceConflict, message).field("expected_last_sequence").with("actual", actual)
}

/// The topic would have moved on within one atomic batch, of which nothing was published.
pub fn conflict_within(topic: &str, expected: Sequence) -> Error {
    let message = format!(
        "topic {topic:?} cannot have {expected} as its last sequence: another message of this batch goes to it before. \
         Expect a sequence only with the first of a topic"
    );
    Error::new(Reason::SequenceConflict, message).field("expected_last_sequence")
}

/// A producer's numbers must be taken in order, and some before this one were not.
pub fn preceding(number: u64, next: u64) -> Error {
    let message = format!(
        "number {number} was not taken, as number {next} before it is missing: send again from {next} on, with \
         first_number {next}"
    );
    Error::new(Reason::PrecedingFailed, message).field("first_number").with("next_number", next)
}

/// A number was refused for good when it first came, and that was not heard.
pub fn used_up(number: u64) -> Error {
    let message = format!(
        "number {number} was refused for good when it was sent first, and is used up: what it carried was not published; \
         look at it, and send it with another number"
    );
    Error::new(Reason::RequestInvalid, message).field("first_number")
}

/// Another stream has taken over.
pub fn replaced(producer: &ProducerName) -> Error {
    let message = format!(
        "another stream of the producer {:?} has begun, which ends this one: give every producer that lives at the same \
         time a producer_id of its own",
        producer.as_str()
    );
    Error::new(Reason::ProducerReplaced, message).field("producer_id")
}

/// The namespace is gone with its log.
pub fn removed() -> Error {
    Error::new(Reason::NamespaceNotFound, "the namespace was deleted").field("namespace")
}

/// The engine was closed.
pub fn closed() -> Error {
    Error::new(Reason::Draining, "the broker stops and takes nothing any more: publish again when it is back")
}
