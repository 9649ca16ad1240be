//! What can go wrong, in the caller's terms: a code that names the caller's next move, a stable reason, and a
//! sentence that says what happened, to what, and what to do. Never holds a path, an address or a token: what the
//! operator needs besides goes to the log of the process.

use std::{fmt, time::Duration};

/// A result whose error a caller may see.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The caller's next move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// Change the request; it can never succeed as it is.
    Invalid,
    /// Name something that exists, or create it.
    NotFound,
    /// It is there already, and different.
    Exists,
    /// Read again, then decide anew.
    Conflict,
    /// Bring the system into the right state first.
    Precondition,
    /// Start from a position that is still kept.
    OutOfRange,
    /// Ask for less, or wait.
    Exhausted,
    /// Try again after a while.
    Unavailable,
    /// Find out what became of it, or ask again.
    TooLate,
    /// Tell the operator: the broker is at fault.
    Internal,
}

/// Makes [`Reason`] with its code and its name on the wire: the one table of what can be refused.
macro_rules! reasons {
    ($($name:ident = $text:literal, $code:ident, $doc:literal;)*) => {
        /// Why, as a stable word that programs may compare. Never renamed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason { $(#[doc = $doc] $name,)* }

        impl Reason {
            /// Every reason there is.
            pub const ALL: &'static [Reason] = &[$(Reason::$name,)*];

            /// The word on the wire, as in `google.rpc.ErrorInfo.reason`.
            pub fn as_str(self) -> &'static str {
                match self { $(Reason::$name => $text,)* }
            }

            /// The caller's next move.
            pub fn code(self) -> Code {
                match self { $(Reason::$name => Code::$code,)* }
            }
        }
    };
}

reasons! {
    TopicInvalid = "TOPIC_INVALID", Invalid, "The topic breaks the rules of names.";
    PatternInvalid = "PATTERN_INVALID", Invalid, "A pattern breaks the rules of names.";
    FilterInvalid = "FILTER_INVALID", Invalid, "The filter makes no sense, or asks for too much.";
    CursorInvalid = "CURSOR_INVALID", Invalid, "Not a cursor that a broker handed out.";
    NamespaceInvalid = "NAMESPACE_INVALID", Invalid, "The namespace's name or a setting of it breaks the rules.";
    SubscriptionInvalid = "SUBSCRIPTION_INVALID", Invalid, "The subscription's name or a part of it breaks the rules.";
    AckIdInvalid = "ACK_ID_INVALID", Invalid, "Not an ack_id that this subscription handed out.";
    MessageInvalid = "MESSAGE_INVALID", Invalid, "A part of the message breaks a limit.";
    SchemaInvalid = "SCHEMA_INVALID", Invalid, "The schema makes no sense, refers to what is not there, or breaks a limit.";
    SchemaViolation = "SCHEMA_VIOLATION", Invalid, "The payload is not as its schema says.";
    MessageTooLarge = "MESSAGE_TOO_LARGE", Invalid, "The message or the request is too large.";
    RequestInvalid = "REQUEST_INVALID", Invalid, "The request is malformed or contradicts itself.";
    ContentTypeInvalid = "CONTENT_TYPE_INVALID", Invalid, "Over HTTP: the body is of a type that the path does not take.";
    NotAcceptable = "NOT_ACCEPTABLE", Invalid, "Over HTTP: the client accepts no type that the path answers with.";
    OriginNotAllowed = "ORIGIN_NOT_ALLOWED", Precondition, "Over HTTP: a browser asks for a page of another site, which nobody allowed.";
    NamespaceNotFound = "NAMESPACE_NOT_FOUND", NotFound, "No such namespace.";
    SubscriptionNotFound = "SUBSCRIPTION_NOT_FOUND", NotFound, "No such subscription.";
    SchemaNotFound = "SCHEMA_NOT_FOUND", NotFound, "No such subject, version or schema.";
    PushAttemptNotFound = "PUSH_ATTEMPT_NOT_FOUND", NotFound, "No such push is remembered, or its message is gone.";
    TopicNotFound = "TOPIC_NOT_FOUND", NotFound, "Nothing is kept of such a topic.";
    NamespaceExists = "NAMESPACE_MISMATCH", Exists, "The namespace exists with other settings.";
    SubscriptionMismatch = "SUBSCRIPTION_MISMATCH", Exists, "The subscription exists with another specification.";
    MessageIdReused = "MESSAGE_ID_REUSED", Exists, "The id was used for another payload.";
    SequenceConflict = "SEQUENCE_CONFLICT", Conflict, "The topic's last sequence is not the expected one.";
    EtagMismatch = "ETAG_MISMATCH", Conflict, "It was changed since it was read.";
    ProducerReplaced = "PRODUCER_REPLACED", Conflict, "Another stream of the same producer has taken over.";
    NamespaceNotEmpty = "NAMESPACE_NOT_EMPTY", Precondition, "The namespace holds something, or others write to it, and what moves in needs it empty.";
    DurabilityUnavailable = "DURABILITY_UNAVAILABLE", Precondition, "The engine cannot give that durability.";
    PrecedingFailed = "PRECEDING_FAILED", Precondition, "An earlier message of the same producer was not taken.";
    SchemaIncompatible = "SCHEMA_INCOMPATIBLE", Precondition, "The subject's compatibility does not allow this next version.";
    SchemaReferenced = "SCHEMA_REFERENCED", Precondition, "Another schema refers to it.";
    SchemaReadOnly = "SCHEMA_READ_ONLY", Precondition, "Nothing can be registered or deleted in the subject.";
    SchemaNotDeleted = "SCHEMA_NOT_DELETED", Precondition, "Only what was deleted before can be deleted for good.";
    SubscriptionPaused = "SUBSCRIPTION_PAUSED", Precondition, "The subscription delivers nothing until it is resumed.";
    PushTargetRefused = "PUSH_TARGET_REFUSED", Precondition, "Webhooks may not go there.";
    PushNotConfigured = "PUSH_NOT_CONFIGURED", Precondition, "The subscription pushes nowhere.";
    LeaseExpired = "LEASE_EXPIRED", Precondition, "The delivery's deadline has passed, or its lease was taken back.";
    AlreadySettled = "ALREADY_SETTLED", Precondition, "The delivery was settled before, in another way.";
    CallEnded = "CALL_ENDED", Precondition, "Nobody waits for this reply: the call has its replies, or its time is over.";
    PositionExpired = "POSITION_EXPIRED", OutOfRange, "The position is no longer kept.";
    NumberAhead = "NUMBER_AHEAD", OutOfRange, "The producer's number is beyond its next one.";
    RateLimited = "RATE_LIMITED", Exhausted, "More in a second than the namespace allows.";
    QuotaExceeded = "QUOTA_EXCEEDED", Exhausted, "More than the namespace allows.";
    TooManyStreams = "TOO_MANY_STREAMS", Exhausted, "More streams than are allowed.";
    TooManyCalls = "TOO_MANY_CALLS", Exhausted, "More calls wait for a reply than the broker holds.";
    StorageFull = "STORAGE_FULL", Exhausted, "There is no room on the broker's disk.";
    SlowConsumer = "SLOW_CONSUMER", Exhausted, "Cut for lag, as the stream asked for.";
    Draining = "DRAINING", Unavailable, "The broker is stopping.";
    RequestTooSlow = "REQUEST_TOO_SLOW", Unavailable, "The request began, and did not arrive in full in time.";
    EngineUnreachable = "ENGINE_UNREACHABLE", Unavailable, "The engine can take nothing just now.";
    NoResponders = "NO_RESPONDERS", Unavailable, "Nobody is there who answers calls on this topic.";
    NoReply = "NO_REPLY", TooLate, "Nobody answered the call in time.";
    StorageFailed = "STORAGE_FAILED", Unavailable, "The broker's disk failed; it takes nothing more.";
    StorageCorrupt = "STORAGE_CORRUPT", Internal, "Stored bytes are not what was written.";
    Internal = "INTERNAL", Internal, "A fault of the broker.";
}

/// One refusal.
#[derive(Clone, PartialEq, Eq)]
pub struct Error(Box<Parts>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Parts {
    reason: Reason,
    message: String,
    field: Option<String>,
    metadata: Vec<(&'static str, String)>,
    retry_after: Option<Duration>,
}

impl Error {
    /// A refusal with a sentence for a person: what happened, to what, what to do.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Error(Box::new(Parts { reason, message: message.into(), field: None, metadata: Vec::new(), retry_after: None }))
    }

    /// Says what follows from it.
    pub fn so(mut self, what: impl fmt::Display) -> Self {
        self.0.message = format!("{}; {what}", self.0.message);
        self
    }

    /// Names the field of the request that is at fault, as a path: `requests[3].topic`.
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.0.field = Some(field.into());
        self
    }

    /// Puts `prefix` before the field, when a part of a larger request was at fault.
    pub fn within(mut self, prefix: impl fmt::Display) -> Self {
        self.0.field = Some(match self.0.field.take() {
            Some(field) => format!("{prefix}.{field}"),
            None => prefix.to_string(),
        });
        self
    }

    /// Adds a fact that a program may want.
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.0.metadata.push((key, value.to_string()));
        self
    }

    /// Says after which time another try makes sense.
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.0.retry_after = Some(delay);
        self
    }

    /// Why.
    pub fn reason(&self) -> Reason {
        self.0.reason
    }

    /// The caller's next move.
    pub fn code(&self) -> Code {
        self.0.reason.code()
    }

    /// The sentence.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The field at fault, if one is.
    pub fn violated_field(&self) -> Option<&str> {
        self.0.field.as_deref()
    }

    /// The facts.
    pub fn metadata(&self) -> &[(&'static str, String)] {
        &self.0.metadata
    }

    /// When another try makes sense. Whatever is exhausted or unavailable has a time, one second if none was set.
    pub fn retry_delay(&self) -> Option<Duration> {
        let waits = matches!(self.code(), Code::Exhausted | Code::Unavailable);
        self.0.retry_after.or(waits.then_some(Duration::from_secs(1)))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.reason.as_str(), self.0.message)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_on_the_wire_are_unique_and_shouted() {
        let mut words: Vec<_> = Reason::ALL.iter().map(|r| r.as_str()).collect();
        assert!(words.iter().all(|w| w.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')));
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Reason::ALL.len());
    }

    #[test]
    fn whatever_can_be_waited_for_says_how_long() {
        for &reason in Reason::ALL {
            let waits = matches!(reason.code(), Code::Exhausted | Code::Unavailable);
            assert_eq!(Error::new(reason, "x").retry_delay().is_some(), waits, "{reason:?}");
        }
    }
}
