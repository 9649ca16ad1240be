//! One namespace's messages in memory: everything under one lock. Never touches a disk.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
};

use bytes::Bytes;

use crate::{
    clock::Clock,
    engine::{
        Batch, Block, Bounds, BoxFuture, Log, LogSettings, LookBack, Outcomes, Page, Query, Receipt, Session, Tail,
        TopicStats,
        dedup::{Dedup, IdHasher, MOST},
        placing::{Known, Placed, Placing, fingerprints},
        producers::{Most, Producers},
        tail::TailBudget,
    },
    model::{Durability, Error, Gap, GapReason, LogId, Pattern, Result, Sequence, Stamp, Timestamp},
};

/// One namespace's messages.
pub struct MemoryLog {
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
    producers: Producers,
    // Set when nothing is taken any more.
    refusal: Option<Error>,
}

impl MemoryLog {
    /// An empty one. Its answers are worth `strongest` at most.
    pub fn new(clock: Arc<dyn Clock>, strongest: Durability, tails: Arc<TailBudget>, settings: LogSettings) -> Self {
        MemoryLog {
            id: LogId(clock.random()),
            clock,
            strongest,
            hasher: IdHasher::default(),
            tail: Tail::new(Sequence::ZERO, tails),
            kept: Mutex::new(Kept {
                settings,
                blocks: VecDeque::new(),
                bytes: 0,
                first: Sequence::FIRST,
                next: Sequence::FIRST,
                time: Timestamp::EPOCH,
                newest: HashMap::new(),
                dedup: Dedup::new(MOST),
                producers: Producers::new(Most::default()),
                refusal: None,
            }),
        }
    }

    /// Takes nothing any more, and answers with this.
    pub fn refuse(&self, refusal: Error) {
        self.kept().refusal = Some(refusal);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().expect("nobody panics while holding what is kept")
    }

    /// As [`MemoryLog::kept`], after retention.
    fn retained(&self) -> MutexGuard<'_, Kept> {
        let mut kept = self.kept();
        if kept.retain(self.clock.now()) {
            self.tail.change_marks(|marks| marks.forget_before(kept.first));
        }
        kept
    }

    fn append_now(&self, batch: &mut Batch) -> Result<Outcomes> {
        // Fingerprints take a while: they are made before the lock.
        let ids = fingerprints(batch, &self.hasher);
        let mut kept = self.retained();
        if let Some(refusal) = &kept.refusal {
            return Err(refusal.clone());
        }
        kept.time = kept.time.max(self.clock.now());
        let (now, window) = (kept.time, kept.settings.deduplication_window);
        kept.dedup.expire(now, window);
        kept.producers.expire(now, window);
        let known = Known {
            next: kept.next,
            time: kept.time,
            strongest: self.strongest,
            dedup: &kept.dedup,
            producers: &kept.producers,
            newest: &|topic| kept.newest.get(topic).copied().unwrap_or_default(),
            marks: &self.tail.marks(),
        };
        let mut placing = Placing::new(known, batch.picky);
        let Placed { taken, result } = placing.place(batch, &ids);
        let (fresh, additions) = placing.finish();
        let outcomes = result?;
        fresh.into_iter().for_each(|(id, seen)| kept.dedup.insert(id, seen));
        kept.producers.apply(&additions, now);
        if !taken.is_empty() {
            let block = kept.push(batch, &taken);
            // Within the lock, so that blocks are told in their order.
            self.tail.commit(block);
        }
        Ok(outcomes)
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

    fn attach<'a>(&'a self, session: Arc<Session>) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async move {
            let mut kept = self.kept();
            match &kept.refusal {
                Some(refusal) => Err(refusal.clone()),
                None => kept.producers.attach(session, self.clock.now()),
            }
        })
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
                if page.is_tired(&query) || !block.select(&query, &marks, &mut page) {
                    return Ok(page);
                }
            }
            page.end = true;
            Ok(page)
        })
    }

    /// In one step: there is nothing to wait for.
    fn look_back(&self, mut search: LookBack) -> BoxFuture<'_, Result<LookBack>> {
        Box::pin(async move {
            let blocks = self.retained().blocks_from(Sequence::FIRST);
            let marks = self.tail.marks();
            for block in blocks.iter().rev() {
                search.search(block, &marks);
            }
            search.done = true;
            Ok(search)
        })
    }

    fn at_time(&self, time: Timestamp) -> BoxFuture<'_, Result<Sequence>> {
        Box::pin(async move {
            let kept = self.retained();
            let records = kept.blocks.iter().flat_map(|block| block.records());
            let found =
                records.skip_while(|record| record.publish_time() < time).map(|record| record.sequence()).next();
            Ok(found.unwrap_or(kept.next))
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
            let marks = self.tail.marks();
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
                self.tail.change_marks(|marks| marks.add(pattern.clone(), through));
            }
            Ok(purged)
        })
    }

    fn configure(&self, settings: LogSettings) {
        self.kept().settings = settings;
    }
}
