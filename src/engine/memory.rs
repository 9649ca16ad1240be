//! The memory engine: simple and obviously right, the reference that the others are held against. It serves tests, and
//! `--engine memory`, where nothing survives the process. Never touches a disk.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
};

use bytes::Bytes;

use super::{
    Appended, Batch, Block, Bounds, BoxFuture, Engine, Log, LogSettings, Outcome, Page, Query, Receipt, State, Tail,
    TopicStats, Value,
    dedup::{Dedup, IdHasher, MOST, Seen},
    purge::PurgeMarks,
    refusal,
    tail::TailBudget,
};
use crate::{
    clock::Clock,
    model::{Durability, Error, Gap, GapReason, LogId, NamespaceName, Pattern, Result, Sequence, Stamp, Timestamp},
};

/// Memory for the newest blocks. The logs hold the same blocks, so it costs nothing besides.
const TAIL_BYTES: usize = 64 << 20;

/// Keeps everything in memory.
pub struct MemoryEngine {
    clock: Arc<dyn Clock>,
    strongest: Durability,
    tails: Arc<TailBudget>,
    logs: Mutex<HashMap<NamespaceName, Arc<MemoryLog>>>,
    state: MemoryState,
}

impl MemoryEngine {
    /// An empty one. Its answers are worth [`Durability::Memory`].
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        MemoryEngine::pretending(clock, Durability::Memory)
    }

    /// One that answers as if it kept up to `strongest`, to stand in for another engine in tests.
    pub fn pretending(clock: Arc<dyn Clock>, strongest: Durability) -> Self {
        MemoryEngine {
            clock,
            strongest,
            tails: TailBudget::new(TAIL_BYTES),
            logs: Mutex::default(),
            state: MemoryState::default(),
        }
    }

    /// With so many bytes for the newest blocks: for tests in which readers fall behind.
    pub fn with_tail_bytes(mut self, most: usize) -> Self {
        self.tails = TailBudget::new(most);
        self
    }

    fn logs(&self) -> MutexGuard<'_, HashMap<NamespaceName, Arc<MemoryLog>>> {
        self.logs.lock().expect("nobody panics while holding the logs")
    }
}

impl Engine for MemoryEngine {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn strongest(&self) -> Durability {
        self.strongest
    }

    fn log<'a>(&'a self, name: &'a NamespaceName, settings: LogSettings) -> BoxFuture<'a, Result<Arc<dyn Log>>> {
        Box::pin(async move {
            let mut logs = self.logs();
            let made = || Arc::new(MemoryLog::new(self, settings));
            Ok(logs.entry(name.clone()).or_insert_with(made).clone() as Arc<dyn Log>)
        })
    }

    fn remove<'a>(&'a self, name: &'a NamespaceName) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            if let Some(log) = self.logs().remove(name) {
                log.kept().refusal = Some(refusal::removed());
            }
            Ok(())
        })
    }

    fn state(&self) -> &dyn State {
        &self.state
    }

    /// Memory does not fail.
    fn failed(&self) -> BoxFuture<'static, Error> {
        Box::pin(std::future::pending())
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            for log in self.logs().values() {
                log.kept().refusal = Some(refusal::closed());
            }
            Ok(())
        })
    }
}

/// One namespace's messages.
struct MemoryLog {
    id: LogId,
    clock: Arc<dyn Clock>,
    strongest: Durability,
    hasher: IdHasher,
    tail: Tail,
    kept: Mutex<Kept>,
}

/// What the log holds.
struct Kept {
    settings: LogSettings,
    blocks: VecDeque<Arc<Block>>,
    bytes: u64,
    // The first position that is kept, or would be.
    first: Sequence,
    next: Sequence,
    time: Timestamp,
    // The newest message of each topic that is kept.
    newest: HashMap<String, Sequence>,
    dedup: Dedup,
    // Set when nothing is taken any more.
    refusal: Option<Error>,
}

impl MemoryLog {
    fn new(engine: &MemoryEngine, settings: LogSettings) -> Self {
        MemoryLog {
            id: LogId(engine.clock.random()),
            clock: engine.clock.clone(),
            strongest: engine.strongest,
            hasher: IdHasher::default(),
            tail: Tail::new(Sequence::ZERO, engine.tails.clone()),
            kept: Mutex::new(Kept {
                settings,
                blocks: VecDeque::new(),
                bytes: 0,
                first: Sequence::FIRST,
                next: Sequence::FIRST,
                time: Timestamp::EPOCH,
                newest: HashMap::new(),
                dedup: Dedup::new(MOST),
                refusal: None,
            }),
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().expect("nobody panics while holding what is kept")
    }

    /// As [`MemoryLog::kept`], after retention.
    fn retained(&self) -> MutexGuard<'_, Kept> {
        let mut kept = self.kept();
        if kept.retain(self.clock.now()) {
            let mut marks = PurgeMarks::clone(&self.tail.marks());
            if marks.forget_before(kept.first) {
                self.tail.set_marks(marks);
            }
        }
        kept
    }

    fn append_now(&self, batch: &mut Batch) -> Result<Vec<Outcome>> {
        // Fingerprints take a while: they are made before the lock.
        let ids: Vec<_> =
            (0..batch.len()).map(|at| batch.entries[at].has_id.then(|| self.hasher.seen(&batch.record(at)))).collect();
        let mut kept = self.retained();
        if let Some(refusal) = &kept.refusal {
            return Err(refusal.clone());
        }
        kept.time = kept.time.max(self.clock.now());
        let (now, window) = (kept.time, kept.settings.deduplication_window);
        kept.dedup.expire(now, window);
        let marks = self.tail.marks();
        let mut placing = Placing::new(&kept, &marks, batch, batch.durability.min(self.strongest));
        let mut outcomes = Vec::with_capacity(batch.len());
        for (at, id) in ids.into_iter().enumerate() {
            match placing.place(at, id) {
                Err(error) if batch.atomic => return Err(error.within(format_args!("requests[{at}]"))),
                outcome => outcomes.push(outcome),
            }
        }
        let (taken, fresh) = (placing.taken, placing.fresh);
        fresh.into_iter().for_each(|(id, seen)| kept.dedup.insert(id, seen));
        if !taken.is_empty() {
            let block = kept.push(batch, &taken);
            // Within the lock, so that blocks are told in their order.
            self.tail.commit(block);
        }
        Ok(outcomes)
    }
}

/// Decides about the records of one batch, one after the other, as if those before it were there already.
struct Placing<'a> {
    kept: &'a Kept,
    marks: &'a PurgeMarks,
    batch: &'a Batch,
    durability: Durability,
    taken: Vec<usize>,
    fresh: HashMap<u128, Seen>,
    topics: HashMap<&'a str, Sequence>,
}

impl<'a> Placing<'a> {
    fn new(kept: &'a Kept, marks: &'a PurgeMarks, batch: &'a Batch, durability: Durability) -> Self {
        let (taken, fresh, topics) = Default::default();
        Placing { kept, marks, batch, durability, taken, fresh, topics }
    }

    fn place(&mut self, at: usize, id: Option<(u128, Seen)>) -> Outcome {
        let record = self.batch.record(at);
        let mut appended = Appended {
            sequence: self.kept.next.plus(self.taken.len() as u64),
            publish_time: self.kept.time,
            duplicate: false,
            durability: self.durability,
        };
        if let Some((id, Seen { payload, .. })) = id {
            if let Some(seen) = self.fresh.get(&id).copied().or_else(|| self.kept.dedup.lookup(id)) {
                if seen.payload != payload {
                    return Err(refusal::reused(record.topic(), record.message_id(), seen.sequence));
                }
                appended.sequence = seen.sequence;
                appended.publish_time = seen.publish_time;
                appended.duplicate = true;
                return Ok(appended);
            }
            self.kept.dedup.room_for(self.fresh.len() + 1)?;
        }
        if let Some(expected) = self.batch.entries[at].expected {
            let actual = self.newest(record.topic());
            if actual != expected {
                return Err(refusal::conflict(record.topic(), expected, actual));
            }
        }
        if let Some((id, Seen { payload, .. })) = id {
            let seen = Seen { sequence: appended.sequence, payload, publish_time: appended.publish_time };
            self.fresh.insert(id, seen);
        }
        self.topics.insert(record.topic(), appended.sequence);
        self.taken.push(at);
        Ok(appended)
    }

    /// The newest message of a topic that is kept and not purged; zero if there is none.
    fn newest(&self, topic: &str) -> Sequence {
        if let Some(&sequence) = self.topics.get(topic) {
            return sequence;
        }
        let stored = self.kept.newest.get(topic).copied().unwrap_or_default();
        if stored <= self.marks.hidden_through(topic) { Sequence::ZERO } else { stored }
    }
}

impl Kept {
    /// Adds those records of a batch that are taken, as one block.
    fn push(&mut self, batch: &mut Batch, taken: &[usize]) -> Arc<Block> {
        let mut records = match taken.len() == batch.len() {
            true => std::mem::take(&mut batch.records),
            false => taken.iter().flat_map(|&at| &batch.records[batch.range(at)]).copied().collect(),
        };
        let mut stamp = Stamp::new(self.time);
        let (first, mut start) = (self.next, 0);
        for &at in taken {
            let before = if at == 0 { 0 } else { batch.entries[at - 1].end };
            let end = start + batch.entries[at].end - before;
            stamp.put(&mut records[start..end], self.next);
            self.next = self.next.next();
            start = end;
        }
        let block = Block::index(Bytes::from(records), first, batch.expiring);
        let block = Arc::new(block.expect("a batch holds what Message::encode made"));
        for (at, topic) in block.numbered().map(|(_, record)| (record.sequence(), record.topic())) {
            match self.newest.get_mut(topic) {
                Some(newest) => *newest = at,
                None => drop(self.newest.insert(topic.to_owned(), at)),
            }
        }
        self.bytes += block.footprint() as u64;
        self.blocks.push_back(block.clone());
        block
    }

    /// Removes the oldest blocks as long as there is too much, or they are too old. The newest stays.
    fn retain(&mut self, now: Timestamp) -> bool {
        let before = self.first;
        while let [Some(oldest), Some(_)] = [self.blocks.front(), self.blocks.get(1)] {
            let old = now.since(oldest.last_time()) > self.settings.max_age;
            if !old && self.bytes <= self.settings.max_bytes {
                break;
            }
            let oldest = self.blocks.pop_front().expect("there are two");
            self.bytes -= oldest.footprint() as u64;
            self.first = oldest.last().next();
            for topic in oldest.topics() {
                if self.newest.get(topic).is_some_and(|newest| *newest < self.first) {
                    self.newest.remove(topic);
                }
            }
        }
        self.first > before
    }

    /// The blocks from the one that holds `from` on.
    fn blocks_from(&self, from: Sequence) -> Vec<Arc<Block>> {
        let begin = self.blocks.partition_point(|block| block.last() < from);
        self.blocks.range(begin..).cloned().collect()
    }
}

impl Log for MemoryLog {
    fn append(&self, mut batch: Batch) -> Receipt {
        Receipt::ready(self.append_now(&mut batch))
    }

    fn read<'a>(&'a self, query: Query<'a>) -> BoxFuture<'a, Result<Page>> {
        Box::pin(async move {
            let (first, blocks, committed, marks) = {
                let kept = self.retained();
                let from = query.from.max(kept.first);
                (kept.first, kept.blocks_from(from), self.tail.committed(), self.tail.marks())
            };
            let mut page = Page::new(query.from.max(first));
            let wanted = query.from.max(Sequence::FIRST);
            if wanted < first {
                page.gap = Some(Gap { reason: GapReason::Retention, first: wanted, last: first.previous() });
            }
            let through = query.through.min(committed);
            for block in blocks {
                if page.next > through {
                    break;
                }
                if !block.select(&query, &marks, &mut page) {
                    return Ok(page);
                }
            }
            page.end = true;
            Ok(page)
        })
    }

    fn tail(&self) -> &Tail {
        &self.tail
    }

    fn bounds(&self) -> Bounds {
        let kept = self.retained();
        Bounds { id: self.id, first: kept.first, end: kept.next.previous(), cuts: Vec::new(), bytes: kept.bytes }
    }

    /// Counts what has expired as long as it is there, as every engine may.
    fn topics<'a>(
        &'a self,
        pattern: &'a Pattern,
        after: &'a str,
        most: usize,
    ) -> BoxFuture<'a, Result<Vec<TopicStats>>> {
        Box::pin(async move {
            let blocks = self.retained().blocks_from(Sequence::FIRST);
            let marks = self.tail.marks();
            let mut rows: BTreeMap<&str, TopicStats> = BTreeMap::new();
            for record in blocks.iter().flat_map(|block| block.records()) {
                let name = record.topic();
                if name <= after || !pattern.matches(name) || marks.hide(record.sequence(), || name) {
                    continue;
                }
                let row = rows.entry(name).or_insert_with(|| TopicStats {
                    name: name.to_owned(),
                    first: record.sequence(),
                    last: record.sequence(),
                    messages: 0,
                    bytes: 0,
                    last_publish_time: record.publish_time(),
                });
                row.last = record.sequence();
                row.messages += 1;
                row.bytes += record.framed().len() as u64;
                row.last_publish_time = record.publish_time();
            }
            Ok(rows.into_values().take(most).collect())
        })
    }

    fn purge<'a>(
        &'a self,
        pattern: &'a Pattern,
        before: Option<Timestamp>,
        dry_run: bool,
    ) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async move {
            let kept = self.retained();
            let mut marks = PurgeMarks::clone(&self.tail.marks());
            let records = kept.blocks.iter().flat_map(|block| block.records());
            // Times never fall, so what was published before a time is what lies before a position.
            let old = records.take_while(|record| before.is_none_or(|before| record.publish_time() < before));
            let (mut purged, mut through) = (0, Sequence::ZERO);
            for record in old {
                through = record.sequence();
                if pattern.matches(record.topic()) && !marks.hide(through, || record.topic()) {
                    purged += 1;
                }
            }
            if purged > 0 && !dry_run {
                marks.add(pattern.clone(), through);
                self.tail.set_marks(marks);
            }
            Ok(purged)
        })
    }

    fn configure(&self, settings: LogSettings) {
        self.kept().settings = settings;
    }
}

/// Small values.
#[derive(Default)]
struct MemoryState(Mutex<Values>);

#[derive(Default)]
struct Values {
    by_key: BTreeMap<String, Value>,
    // One for all keys, so that a key that was removed and made again has another version.
    version: u64,
}

impl MemoryState {
    fn values(&self) -> MutexGuard<'_, Values> {
        self.0.lock().expect("nobody panics while holding the values")
    }
}

impl Values {
    fn is_at(&self, key: &str, expected: u64) -> bool {
        self.by_key.get(key).map_or(0, |value| value.version) == expected
    }
}

impl State for MemoryState {
    fn get(&self, key: &str) -> Result<Option<Value>> {
        Ok(self.values().by_key.get(key).cloned())
    }

    fn list(&self, prefix: &str) -> Result<Vec<(String, Value)>> {
        let values = self.values();
        let from = values.by_key.range(prefix.to_owned()..);
        Ok(from.take_while(|(key, _)| key.starts_with(prefix)).map(|(k, v)| (k.clone(), v.clone())).collect())
    }

    fn put<'a>(&'a self, key: &'a str, bytes: Vec<u8>, expected: u64) -> BoxFuture<'a, Result<Option<u64>>> {
        Box::pin(async move {
            let mut values = self.values();
            if !values.is_at(key, expected) {
                return Ok(None);
            }
            values.version += 1;
            let version = values.version;
            values.by_key.insert(key.to_owned(), Value { bytes, version });
            Ok(Some(version))
        })
    }

    fn delete<'a>(&'a self, key: &'a str, expected: u64) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move {
            let mut values = self.values();
            let matches = expected != 0 && values.is_at(key, expected);
            if matches {
                values.by_key.remove(key);
            }
            Ok(matches)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::ManualClock,
        model::{Message, Namespace, Payload, Reason, Topic, limits},
    };

    #[tokio::test]
    async fn an_answer_is_worth_no_more_than_it_is() {
        let clock = Arc::new(ManualClock::new(Timestamp::from_nanos(1), 1));
        let answer = async |engine: MemoryEngine| {
            let name = NamespaceName::default();
            let log = engine.log(&name, LogSettings::from(&Namespace::new(name.clone()))).await.unwrap();
            let mut batch = Batch::new(Durability::Synced);
            let message = Message::new(Topic::parse("t").unwrap(), Payload::None);
            batch.push(&message, limits::MESSAGE_BYTES, None).unwrap();
            log.append(batch).await.unwrap().remove(0).unwrap().durability
        };
        assert_eq!(answer(MemoryEngine::new(clock.clone())).await, Durability::Memory);
        assert_eq!(answer(MemoryEngine::pretending(clock, Durability::Synced)).await, Durability::Synced);
    }

    #[tokio::test]
    async fn nothing_is_taken_after_the_end() {
        let clock = Arc::new(ManualClock::new(Timestamp::from_nanos(1), 1));
        let engine = MemoryEngine::new(clock);
        let name = NamespaceName::default();
        let log = engine.log(&name, LogSettings::from(&Namespace::new(name.clone()))).await.unwrap();
        engine.close().await.unwrap();
        assert_eq!(log.append(Batch::new(Durability::Memory)).await.unwrap_err().reason(), Reason::Draining);
    }
}
