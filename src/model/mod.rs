//! The nouns of the contract and its limits. Never does IO, reads a clock, awaits, or knows another layer.

pub mod cursor;
pub mod delivery;
pub mod durability;
pub mod error;
pub mod filter;
pub mod limits;
pub mod message;
pub mod namespace;
pub mod pattern;
pub mod position;
pub mod producer;
pub mod record;
pub mod sequence;
pub mod subscription;
pub mod target;
pub mod time;
pub mod topic;
pub mod topic_schema;
pub mod wire;

pub use cursor::{Cursor, LogId};
pub use delivery::{AckId, Verdict};
pub use durability::Durability;
pub use error::{Code, Error, Reason, Result};
pub use filter::Filter;
pub use message::{Message, Payload};
pub use namespace::{Namespace, NamespaceName};
pub use pattern::{Pattern, PatternSet};
pub use position::{Gap, GapReason, LagPolicy, Position};
pub use producer::ProducerName;
pub use record::{Record, Records, Stamp};
pub use sequence::Sequence;
pub use subscription::{
    BacklogPolicy, ConsumerName, DeadLetters, DeliveryOrder, Hidden, Push, PushFormat, RetryPolicy, Subscription,
    SubscriptionName, SubscriptionState, SubscriptionStats,
};
pub use target::{Cidr, Targets};
pub use time::Timestamp;
pub use topic::Topic;
pub use topic_schema::{Enforcement, TopicSchema};
