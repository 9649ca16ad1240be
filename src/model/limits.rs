//! What the contract allows at most. Internal sizes live in each part's own `Config`, never here.

use std::time::Duration;

/// One message, encoded, in bytes: 1 MiB less the room that another store needs for its own headers.
pub const MESSAGE_BYTES: usize = (1 << 20) - 4096;
/// One request, encoded, in bytes.
pub const REQUEST_BYTES: usize = 4 << 20;
/// Messages in one batch.
pub const BATCH_MESSAGES: usize = 1_000;
/// Bytes of a topic or a pattern.
pub const TOPIC_BYTES: usize = 1_024;
/// Bytes of an ordering key, a message id, a correlation id, a content type, or any name.
pub const NAME_BYTES: usize = 255;
/// Bytes of a namespace's name.
pub const NAMESPACE_BYTES: usize = 63;
/// Attributes of one message.
pub const ATTRIBUTES: usize = 64;
/// Bytes of one attribute's key.
pub const ATTRIBUTE_KEY_BYTES: usize = 255;
/// Bytes of one attribute's value.
pub const ATTRIBUTE_VALUE_BYTES: usize = 4 << 10;
/// Bytes of all attributes of one message together, keys and values.
pub const ATTRIBUTES_BYTES: usize = 32 << 10;
/// Patterns in one subscribe or subscription.
pub const PATTERNS: usize = 1_000;
/// Messages that a stream may begin before the end with, counted back.
pub const LAST_MESSAGES: u32 = 100_000;
/// Topics of which a stream may begin with the last message.
pub const LAST_TOPICS: usize = 100_000;
/// Bytes of a filter.
pub const FILTER_BYTES: usize = 4 << 10;
/// Levels of a filter, one within the other.
pub const FILTER_DEPTH: usize = 32;
/// What one filter may ask of a message, in comparisons of two texts.
pub const FILTER_COST: usize = 512;
/// The longest `ttl`.
pub const TTL: Duration = Duration::from_secs(365 * 24 * 3600);
/// The furthest `deliver_time` ahead.
pub const DELIVER_AHEAD: Duration = Duration::from_secs(365 * 24 * 3600);
/// The shortest and the longest interval between two heartbeats, and the one that is taken unasked.
pub const HEARTBEAT_MIN: Duration = Duration::from_secs(1);
/// See [`HEARTBEAT_MIN`].
pub const HEARTBEAT_MAX: Duration = Duration::from_secs(300);
/// See [`HEARTBEAT_MIN`].
pub const HEARTBEAT_DEFAULT: Duration = Duration::from_secs(15);
/// Streams on one connection.
pub const STREAMS_PER_CONNECTION: u32 = 4_096;
/// Rows in one page of a listing: at most, and unasked.
pub const PAGE_ROWS: usize = 1_000;
/// See [`PAGE_ROWS`].
pub const PAGE_ROWS_DEFAULT: usize = 100;
/// Names of deliveries in one request that settles them.
pub const ACK_IDS: usize = 10_000;
/// Messages that one consumer may have outstanding, and all consumers of one subscription together.
pub const WINDOW_MESSAGES: u32 = 100_000;
/// Bytes of messages that one consumer may have outstanding.
pub const WINDOW_BYTES: u64 = 256 << 20;
/// The shortest and the longest time that a consumer has for a delivery, and the one that is taken unasked.
pub const ACK_DEADLINE_MIN: Duration = Duration::from_secs(1);
/// See [`ACK_DEADLINE_MIN`].
pub const ACK_DEADLINE_MAX: Duration = Duration::from_secs(12 * 3600);
/// See [`ACK_DEADLINE_MIN`].
pub const ACK_DEADLINE_DEFAULT: Duration = Duration::from_secs(30);
/// The longest time until a message that was not acknowledged comes again.
pub const BACKOFF: Duration = Duration::from_secs(12 * 3600);
/// Bytes of the URL that a subscription pushes to.
pub const PUSH_URL_BYTES: usize = 2_048;
/// Secrets that a subscription signs its pushes with.
pub const PUSH_SECRETS: usize = 2;
/// Pushes of one subscription that may await their answer: at most, and unasked.
pub const PUSH_IN_FLIGHT: u32 = 1_000;
/// See [`PUSH_IN_FLIGHT`].
pub const PUSH_IN_FLIGHT_DEFAULT: u32 = 16;
/// The shortest time that a push has to be answered, and the one that is taken unasked. The longest is the ack deadline.
pub const PUSH_TIMEOUT_MIN: Duration = Duration::from_secs(1);
/// See [`PUSH_TIMEOUT_MIN`].
pub const PUSH_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// Headers that a subscription sends with each push.
pub const PUSH_HEADERS: usize = 32;
/// Bytes of such a header's value.
pub const PUSH_HEADER_BYTES: usize = 4 << 10;
/// Pushes of one subscription that are remembered.
pub const PUSH_ATTEMPTS: usize = 100;
/// Bytes of an answer that are remembered with a push.
pub const PUSH_RESPONSE_BYTES: usize = 256;
/// Replies that one call may ask for, and their bytes together (one reply alone may have more).
pub const CALL_REPLIES: u32 = 100;
/// See [`CALL_REPLIES`].
pub const CALL_REPLY_BYTES: usize = 1 << 20;
/// The longest time that a call waits for its replies.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(3600);
/// Labels of one subscription.
pub const LABELS: usize = 64;
/// Bytes of one schema: what a store of small values takes.
pub const SCHEMA_BYTES: usize = 512 << 10;
/// References of one schema, each of which may have its own.
pub const SCHEMA_REFERENCES: usize = 64;
/// Schemas of one namespace, and versions of one subject.
pub const SCHEMAS: u32 = 10_000;
/// See [`SCHEMAS`].
pub const SCHEMA_VERSIONS: usize = 1_000;
/// Rules of one namespace about the schemas of topics.
pub const TOPIC_SCHEMAS: usize = 100;
