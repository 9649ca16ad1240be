//! What every engine says when it refuses a record, so that all say the same.

use crate::model::{Error, Reason, Sequence};

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

/// The namespace is gone with its log.
pub fn removed() -> Error {
    Error::new(Reason::NamespaceNotFound, "the namespace was deleted").field("namespace")
}

/// The engine was closed.
pub fn closed() -> Error {
    Error::new(Reason::Draining, "the broker stops and takes nothing any more: publish again when it is back")
}
