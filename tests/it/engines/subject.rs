//! An engine that is tested, and the shorthands of the cases.

use std::{any::Any, sync::Arc};

use tilde::{
    clock::{Clock, ManualClock},
    engine::{Batch, Engine, Log, LogSettings, Outcome, Page, Query},
    model::{
        Durability, Message, Namespace, NamespaceName, PatternSet, Payload, Records, Result, Sequence, Timestamp,
        Topic, limits,
    },
};

/// An engine, and the clock that it reads.
pub struct Subject {
    pub engine: Arc<dyn Engine>,
    pub clock: Arc<ManualClock>,
    /// What must live as long as the engine: a directory, for example.
    #[expect(dead_code, reason = "it is only kept")]
    pub keep: Box<dyn Any + Send + Sync>,
}

/// A clock for a subject.
pub fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Timestamp::from_nanos(1_800_000_000_000_000_000), 7))
}

impl Subject {
    /// The default namespace's log.
    pub async fn log(&self) -> Arc<dyn Log> {
        self.log_of("default", settings()).await
    }

    /// A namespace's log.
    pub async fn log_of(&self, name: &str, settings: LogSettings) -> Arc<dyn Log> {
        self.engine.log(&NamespaceName::parse(name).unwrap(), settings).await.unwrap()
    }

    /// An empty batch that asks for as much as the engine gives on one machine.
    pub fn batch(&self) -> Batch {
        Batch::new(self.engine.strongest().min(Durability::Synced))
    }

    /// Appends messages as one batch.
    pub async fn append(&self, log: &dyn Log, messages: &[Message<'_>]) -> Result<Vec<Outcome>> {
        Ok(log.append(fill(self.batch(), messages)).await?.iter().collect())
    }

    /// Appends messages as one batch, all of which must be taken. Answers their sequences.
    pub async fn take(&self, log: &dyn Log, messages: &[Message<'_>]) -> Vec<Sequence> {
        let outcomes = self.append(log, messages).await.unwrap();
        outcomes.into_iter().map(|outcome| outcome.unwrap().sequence).collect()
    }

    /// Everything that is kept and matches, page by page.
    pub async fn read_all(&self, log: &dyn Log, patterns: &[&str]) -> Vec<Seen> {
        let patterns = set(patterns);
        let mut from = Sequence::FIRST;
        let mut all = Vec::new();
        loop {
            let page = log.read(Query { from, ..self.query(&patterns) }).await.unwrap();
            all.extend(seen(&page));
            assert!(page.next > from || page.end, "a page that is not the last moves on");
            from = page.next;
            if page.end {
                return all;
            }
        }
    }

    /// A query without limits.
    pub fn query<'a>(&self, patterns: &'a Arc<PatternSet>) -> Query<'a> {
        Query {
            from: Sequence::FIRST,
            through: Sequence::MAX,
            patterns,
            guide: None,
            filter: None,
            max_messages: usize::MAX,
            max_bytes: usize::MAX,
            now: self.clock.now(),
        }
    }
}

/// Settings under which nothing is removed.
pub fn settings() -> LogSettings {
    LogSettings::from(&Namespace::new(NamespaceName::default()))
}

/// Adds messages to a batch.
pub fn fill(mut batch: Batch, messages: &[Message<'_>]) -> Batch {
    for message in messages {
        batch.push(message, limits::MESSAGE_BYTES, None).unwrap();
    }
    batch
}

/// A message.
pub fn message(topic: &str, text: &str) -> Message<'static> {
    Message::new(Topic::parse(topic.to_owned()).unwrap(), Payload::Text(text.to_owned().into()))
}

/// A message with an id.
pub fn with_id(topic: &str, text: &str, id: &str) -> Message<'static> {
    Message { message_id: id.to_owned().into(), ..message(topic, text) }
}

/// Patterns.
pub fn set(patterns: &[&str]) -> Arc<PatternSet> {
    Arc::new(PatternSet::parse(patterns).unwrap())
}

/// What a reader sees of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub sequence: Sequence,
    pub time: Timestamp,
    pub topic: String,
    pub payload: Vec<u8>,
}

/// What a reader sees of a page.
pub fn seen(page: &Page) -> Vec<Seen> {
    let records = page.runs.iter().flat_map(|run| Records::new(run)).map(|record| record.unwrap());
    let seen: Vec<_> = records
        .map(|record| Seen {
            sequence: record.sequence(),
            time: record.publish_time(),
            topic: record.topic().to_owned(),
            payload: record.payload().to_vec(),
        })
        .collect();
    assert_eq!(page.messages, seen.len());
    assert_eq!(page.bytes, page.runs.iter().map(|run| run.len()).sum::<usize>());
    seen
}

/// The payloads, as text.
pub fn texts(seen: &[Seen]) -> Vec<String> {
    seen.iter().map(|seen| String::from_utf8(seen.payload.clone()).unwrap()).collect()
}
