//! A committed run of records in memory, indexed by topic. Immutable; shared by all who read it.

use std::{collections::HashMap, ops::Range, sync::OnceLock};

use bytes::Bytes;

use super::{Filter, Page, Query, filter::GROUP, purge::PurgeMarks};
use crate::model::{Record, Records, Sequence, Timestamp, record::Malformed, topic};

/// Records with rising, gapless sequences, one after the other as they travel.
#[derive(Debug)]
pub struct Block {
    records: Bytes,
    first: Sequence,
    // Where each record begins, and behind the last one where it ends.
    starts: Vec<u32>,
    // For each record, which of `topics` it has.
    topic_of: Vec<u32>,
    // For each topic, where its name lies in `records`.
    topics: Vec<(u32, u32)>,
    last_time: Timestamp,
    has_reserved: bool,
    has_expiring: bool,
    // Made when it is first asked for.
    by_topic: OnceLock<ByTopic>,
}

/// The rows of each topic.
#[derive(Debug)]
struct ByTopic {
    // Where each topic's rows begin, and behind the last one where they end.
    starts: Vec<u32>,
    rows: Vec<u32>,
}

impl ByTopic {
    /// Sorted by counting.
    fn of(block: &Block) -> Self {
        let mut starts = vec![0; block.topics.len() + 1];
        block.topic_of.iter().for_each(|topic| starts[*topic as usize + 1] += 1);
        for topic in 0..block.topics.len() {
            starts[topic + 1] += starts[topic];
        }
        let (mut places, mut rows) = (starts.clone(), vec![0; block.topic_of.len()]);
        for (row, topic) in (0..).zip(&block.topic_of) {
            let place = &mut places[*topic as usize];
            rows[*place as usize] = row;
            *place += 1;
        }
        ByTopic { starts, rows }
    }
}

impl Block {
    /// Indexes records whose first has the sequence `first`. `has_expiring` says that some may have an expiry.
    ///
    /// Fails if the bytes are no records, or none at all.
    pub fn index(records: Bytes, first: Sequence, has_expiring: bool) -> Result<Self, Malformed> {
        let mut block = Block {
            first,
            starts: Vec::new(),
            topic_of: Vec::new(),
            topics: Vec::new(),
            last_time: Timestamp::EPOCH,
            has_reserved: false,
            has_expiring,
            by_topic: OnceLock::new(),
            records: Bytes::new(),
        };
        let mut known: HashMap<&str, u32> = HashMap::new();
        let mut last: Option<(&str, u32)> = None;
        let mut time = None;
        let base = records.as_ptr() as usize;
        for record in Records::new(&records) {
            let record = record?;
            let name = record.topic();
            // Runs of one topic are common: ask the map only where the topic changes.
            let topic = match last {
                Some((same, topic)) if same == name => topic,
                _ => *known.entry(name).or_insert_with(|| {
                    let start = (name.as_ptr() as usize - base) as u32;
                    block.topics.push((start, start + name.len() as u32));
                    block.has_reserved |= topic::is_reserved(name);
                    block.topics.len() as u32 - 1
                }),
            };
            last = Some((name, topic));
            block.starts.push((record.framed().as_ptr() as usize - base) as u32);
            block.topic_of.push(topic);
            time = Some(record);
        }
        block.last_time = time.ok_or(Malformed)?.publish_time();
        block.starts.push(records.len() as u32);
        block.records = records;
        Ok(block)
    }

    /// The first record's sequence.
    pub fn first(&self) -> Sequence {
        self.first
    }

    /// The last record's sequence.
    pub fn last(&self) -> Sequence {
        self.first.plus(self.len() as u64 - 1)
    }

    /// When the last record was published.
    pub fn last_time(&self) -> Timestamp {
        self.last_time
    }

    /// How many records; never none.
    #[expect(clippy::len_without_is_empty, reason = "a block is never empty")]
    pub fn len(&self) -> usize {
        self.topic_of.len()
    }

    /// The topics that occur, each once, in the order of their first record.
    pub fn topics(&self) -> impl ExactSizeIterator<Item = &str> + Clone {
        self.topics.iter().map(|&range| self.name(range))
    }

    /// The records, in order.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        Records::new(&self.records).flatten()
    }

    /// The records with the number of their topic, as counted by [`Block::topics`].
    pub fn numbered(&self) -> impl Iterator<Item = (usize, Record<'_>)> {
        self.topic_of.iter().map(|&topic| topic as usize).zip(self.records())
    }

    /// One record.
    pub fn row(&self, at: usize) -> Record<'_> {
        let bytes = &self.records[self.starts[at] as usize..self.starts[at + 1] as usize];
        Records::new(bytes).next().and_then(Result::ok).expect("the block was indexed from these records")
    }

    /// The number of a record's topic, as counted by [`Block::topics`].
    pub fn topic_of(&self, at: usize) -> usize {
        self.topic_of[at] as usize
    }

    /// Whether nobody receives a record any more: it was purged, or has expired by `now`.
    pub fn hides(&self, at: usize, now: Timestamp, marks: &PurgeMarks) -> bool {
        let topic = || self.name(self.topics[self.topic_of(at)]);
        let expired = || self.row(at).expire_time().is_some_and(|time| time <= now);
        (self.has_expiring && expired()) || marks.hide(self.first.plus(at as u64), topic)
    }

    /// Whether all its topics are the broker's own.
    pub fn is_reserved(&self) -> bool {
        self.has_reserved && self.topics().all(topic::is_reserved)
    }

    /// Bytes of its records.
    pub fn bytes(&self) -> usize {
        self.records.len()
    }

    /// Bytes of memory that it holds, or will.
    pub fn footprint(&self) -> usize {
        let rows = 4 * (self.starts.len() + 2 * self.topic_of.len());
        size_of::<Self>() + self.records.len() + 12 * self.topics.len() + rows
    }

    /// Adds to `page` what the query wants of this block, from `page.next` on. Answers whether the page has room for
    /// more.
    pub fn select(&self, query: &Query<'_>, marks: &PurgeMarks, page: &mut Page) -> bool {
        let begin = page.next.max(query.from).0.saturating_sub(self.first.0) as usize;
        let stop = (query.through.0.saturating_add(1).saturating_sub(self.first.0)).min(self.len() as u64) as usize;
        if begin >= stop {
            page.go_on(self.last().next().min(query.through.next()));
            return true;
        }
        let plain = !self.has_expiring && marks.end_before(self.first);
        let whole = plain && query.filter.is_none() && query.patterns.wants_all() && !self.has_reserved;
        let next = match whole {
            true => self.select_run(query, begin, stop, page),
            false => self.select_some(query, marks, begin..stop, page),
        };
        if next > begin {
            page.go_on(self.first.plus(next as u64));
        }
        next == stop
    }

    /// Takes a run as it is, as much as fits. Returns the record to go on with.
    fn select_run(&self, query: &Query<'_>, begin: usize, stop: usize, page: &mut Page) -> usize {
        let most = stop.min(begin.saturating_add(query.max_messages.saturating_sub(page.messages)));
        if most == begin {
            return begin;
        }
        let room = query.max_bytes.saturating_sub(page.bytes);
        let limit = (self.starts[begin] as usize).saturating_add(room);
        let ends = &self.starts[begin + 1..=most];
        let mut count = ends.partition_point(|&end| end as usize <= limit);
        if count == 0 && page.messages == 0 && !ends.is_empty() {
            count = 1;
        }
        self.push(page, begin, begin + count);
        begin + count
    }

    /// Takes what the patterns want of these rows, and the filter, if there is one.
    fn select_some(&self, query: &Query<'_>, marks: &PurgeMarks, within: Range<usize>, page: &mut Page) -> usize {
        if let Some(topics) = query.guide.and_then(|guide| guide.topics(self)) {
            let rows = self.rows_of(&topics);
            let rows = rows.into_iter().map(|at| at as usize).filter(|at| within.contains(at));
            return self.select_rows(query, marks, rows, within.clone(), page);
        }
        let mut wanted = vec![None; self.topics.len()];
        let wants = |at: &usize| {
            let topic = self.topic_of(*at);
            *wanted[topic].get_or_insert_with(|| query.patterns.matches(self.name(self.topics[topic])))
        };
        self.select_rows(query, marks, within.clone().filter(wants), within, page)
    }

    fn select_rows(
        &self,
        query: &Query<'_>,
        marks: &PurgeMarks,
        rows: impl Iterator<Item = usize>,
        within: Range<usize>,
        page: &mut Page,
    ) -> usize {
        let rows = rows.filter(|&at| !self.hides(at, query.now, marks));
        match query.filter {
            Some(filter) => self.select_filtered(query, &**filter, rows, within, page),
            None => self.select_each(query, rows, within, page),
        }
    }

    /// Takes these rows, neighbours as one run. Returns the record to go on with.
    fn select_each(
        &self,
        query: &Query<'_>,
        rows: impl Iterator<Item = usize>,
        within: Range<usize>,
        page: &mut Page,
    ) -> usize {
        let mut run = within.start..within.start;
        for at in rows {
            if !self.extend(&mut run, at, query, page) {
                self.push(page, run.start, run.end);
                return at;
            }
        }
        self.push(page, run.start, run.end);
        within.end
    }

    /// As `select_each`, of what the filter takes: it is asked about some at a time.
    fn select_filtered(
        &self,
        query: &Query<'_>,
        filter: &dyn Filter,
        rows: impl Iterator<Item = usize>,
        within: Range<usize>,
        page: &mut Page,
    ) -> usize {
        let mut rows = rows.peekable();
        let mut run = within.start..within.start;
        while let Some(group) = rows.peek().map(|at| at / GROUP) {
            let mut asked = 0;
            while let Some(at) = rows.next_if(|at| at / GROUP == group) {
                asked |= 1 << (at % GROUP);
            }
            let mut taken = filter.choose(self, group, asked);
            while taken != 0 {
                let at = group * GROUP + taken.trailing_zeros() as usize;
                taken &= taken - 1;
                if !self.extend(&mut run, at, query, page) {
                    self.push(page, run.start, run.end);
                    return at;
                }
            }
        }
        self.push(page, run.start, run.end);
        within.end
    }

    /// The rows of some topics, rising.
    fn rows_of(&self, topics: &[u32]) -> Vec<u32> {
        let ByTopic { starts, rows } = self.by_topic.get_or_init(|| ByTopic::of(self));
        let of = |topic: &u32| &rows[starts[*topic as usize] as usize..starts[*topic as usize + 1] as usize];
        let mut all: Vec<u32> = topics.iter().flat_map(of).copied().collect();
        all.sort_unstable();
        all
    }

    /// Adds a record to the run that is gathered; one that is no neighbour ends it and begins the next. Answers false,
    /// and leaves it out, where the page has no room.
    fn extend(&self, run: &mut Range<usize>, at: usize, query: &Query<'_>, page: &mut Page) -> bool {
        let bytes = (self.starts[at + 1] - self.starts[at]) as usize;
        let pending = (self.starts[run.end] - self.starts[run.start]) as usize;
        let fits = page.messages + run.len() < query.max_messages
            && (page.messages + run.len() == 0 || page.bytes + pending + bytes <= query.max_bytes);
        if fits {
            if run.end != at {
                self.push(page, run.start, run.end);
                run.start = at;
            }
            run.end = at + 1;
        }
        fits
    }

    fn push(&self, page: &mut Page, begin: usize, end: usize) {
        if begin < end {
            page.push(self.records.slice(self.starts[begin] as usize..self.starts[end] as usize), end - begin);
        }
    }

    fn name(&self, (start, end): (u32, u32)) -> &str {
        std::str::from_utf8(&self.records[start as usize..end as usize]).expect("checked when it was indexed")
    }
}
