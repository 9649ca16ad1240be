//! Where messages and small state live: the seam, and the engines behind it. Never hears of a subscription's rules,
//! of protobuf services, or of who is calling.
//!
//! An [`Engine`] keeps one [`Log`] a namespace and a [`State`] of small values. Every engine runs the same
//! conformance suite (`tests/it/engines.rs`). The contract is that of the weakest: sequences grow and may skip.

pub mod batch;
pub mod block;
pub mod dedup;
pub mod filter;
pub mod jetstream;
pub mod log;
pub mod look_back;
pub mod marks;
pub mod members;
pub mod memory;
pub mod office;
pub mod page;
pub mod placing;
pub mod producers;
pub mod purge;
pub mod refusal;
pub mod runs;
pub mod state;
pub mod tail;

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

pub use batch::{Appended, Batch, Outcome, OutcomeRun, Outcomes, Receipt};
pub use block::Block;
pub use filter::Filter;
pub use look_back::{LookBack, Wanted};
pub use members::Members;
pub use office::{Holder, Office};
pub use page::{Guide, Page, Query};
pub use producers::{Numbered, Session};
pub use state::{State, Value};
pub use tail::{Follower, Tail};
use tokio::sync::watch;

use crate::model::{Durability, Error, LogId, Namespace, NamespaceName, Pattern, Result, Sequence, Timestamp};

/// A boxed future: what a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What keeps the messages and the small state of all namespaces.
pub trait Engine: Send + Sync + 'static {
    /// Its name, as `GetServerInfo` tells it: "embedded", "memory".
    fn name(&self) -> &'static str;

    /// The strongest durability it gives. What asks for more is refused before it comes here.
    fn strongest(&self) -> Durability;

    /// The log of a namespace, opened, or made if there is none. Asked twice it is the same one.
    fn log<'a>(&'a self, name: &'a NamespaceName, settings: LogSettings) -> BoxFuture<'a, Result<Arc<dyn Log>>>;

    /// The namespaces that have a log.
    fn logs(&self) -> Result<Vec<NamespaceName>>;

    /// Removes a namespace's log with all that it holds. Nothing happens if there is none.
    fn remove<'a>(&'a self, name: &'a NamespaceName) -> BoxFuture<'a, Result<()>>;

    /// Lets go of a namespace's log that another broker has removed. Nothing happens where there is no other broker.
    fn release<'a>(&'a self, _name: &'a NamespaceName) -> BoxFuture<'a, ()> {
        Box::pin(std::future::ready(()))
    }

    /// The small values.
    fn state(&self) -> &dyn State;

    /// What only one of the brokers that share the engine may do; None if there is only one.
    fn office(&self) -> Option<Arc<dyn Office>> {
        None
    }

    /// The other brokers that share the engine; None if there can be none.
    fn members(&self) -> Option<Arc<dyn Members>> {
        None
    }

    /// Whether what it needs elsewhere answers, and when that changes; None if it needs nothing.
    fn reach(&self) -> Option<watch::Receiver<bool>> {
        None
    }

    /// Ends when the engine can take nothing more, with the reason. The process must go down then.
    fn failed(&self) -> BoxFuture<'static, Error>;

    /// A clean stop: all that was taken is on stable storage when it ends. Nothing is taken any more.
    fn close(&self) -> BoxFuture<'_, Result<()>>;
}

/// One namespace's messages, in one order.
pub trait Log: Send + Sync + 'static {
    /// Takes records, gives each its place in the order, and answers when they are as durable as asked. Checks message
    /// ids and the numbers of producers (a duplicate gets the first result) and expected sequences. Never blocks; the caller bounds what is pending
    /// by the batch's reservation, which is given back when the records are stored or refused.
    fn append(&self, batch: Batch) -> Receipt;

    /// Begins a producer's session, behind all that was appended before, and ends the one before it. Answers the next
    /// number that the producer has not used.
    fn attach<'a>(&'a self, session: Arc<Session>) -> BoxFuture<'a, Result<u64>>;

    /// Records from a position on, in order, from wherever they lie. Answers with an empty page at the end; never
    /// waits for more.
    fn read<'a>(&'a self, query: Query<'a>) -> BoxFuture<'a, Result<Page>>;

    /// Looks back for what a stream begins with: a step of bounded work, from where `search` stands. To be called until
    /// it is done.
    fn look_back(&self, search: LookBack) -> BoxFuture<'_, Result<LookBack>>;

    /// Where what was published at a time or later begins: the first of it that is kept, or the position after the
    /// committed end.
    fn at_time(&self, time: Timestamp) -> BoxFuture<'_, Result<Sequence>>;

    /// The live edge: what was committed last, in memory, and who is told of it.
    fn tail(&self) -> &Tail;

    /// Ends when everything is committed here that any broker had answered by now. At once where there is no other broker.
    fn hear_all(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// What is kept.
    fn bounds(&self) -> Bounds;

    /// What is kept of the topics that match and come after `after`, by name; at most `most` rows.
    fn topics<'a>(
        &'a self,
        pattern: &'a Pattern,
        after: &'a str,
        most: usize,
    ) -> BoxFuture<'a, Result<Vec<TopicStats>>>;

    /// Hides every message of the topics that match, up to the committed end, or only what was published before a
    /// time. Returns how many; with `dry_run` it only counts. Durable once answered.
    fn purge<'a>(
        &'a self,
        pattern: &'a Pattern,
        before: Option<Timestamp>,
        dry_run: bool,
    ) -> BoxFuture<'a, Result<u64>>;

    /// Changes the settings, from now on.
    fn configure(&self, settings: LogSettings);
}

/// What a namespace asks of its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// Messages older than this are removed, a whole segment at a time.
    pub max_age: Duration,
    /// The oldest are removed when the log takes more, a whole segment at a time.
    pub max_bytes: u64,
    /// How long a message id is remembered.
    pub deduplication_window: Duration,
}

impl From<&Namespace> for LogSettings {
    fn from(namespace: &Namespace) -> Self {
        LogSettings {
            max_age: namespace.max_age,
            max_bytes: namespace.max_bytes,
            deduplication_window: namespace.deduplication_window,
        }
    }
}

/// What a log keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Tells this log from every other.
    pub id: LogId,
    /// The first position that is kept, or would be: everything before was removed.
    pub first: Sequence,
    /// The committed end: the last message that may be seen. Below `first` if there is none.
    pub end: Sequence,
    /// Ranges that crashes cut off, both ends included, oldest first: handed out once, and gone.
    pub cuts: Vec<(Sequence, Sequence)>,
    /// Bytes that the log takes where it lies.
    pub bytes: u64,
}

impl Bounds {
    /// The last position before `next` that whoever begins there may say he has seen: none that a crash cut off.
    pub fn seen(&self, next: Sequence) -> Sequence {
        let last = next.previous();
        let cut = self.cuts.iter().find(|(first, end)| (*first..=*end).contains(&last));
        cut.map_or(last, |(first, _)| first.previous())
    }
}

/// What is kept of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicStats {
    /// Its name.
    pub name: String,
    /// The oldest message.
    pub first: Sequence,
    /// The newest message.
    pub last: Sequence,
    /// How many.
    pub messages: u64,
    /// Their encoded bytes.
    pub bytes: u64,
    /// When the newest was published.
    pub last_publish_time: Timestamp,
}
