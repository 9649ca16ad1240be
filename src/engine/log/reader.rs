//! Reads a log's segments: pages, and what is kept of topics. Blocks on the disk, so it runs where blocking is
//! allowed; what the cache holds is answered anywhere.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use bytes::Bytes;

use super::{
    frame::Frame,
    index::Entry,
    segments::{Segment, Segments, Stretch},
};
use crate::{
    engine::{Block, Page, Query, TopicStats, purge::PurgeMarks},
    model::{Gap, GapReason, Pattern, PatternSet, Result, Sequence, Timestamp},
};

/// Spans that are read from the disk at a time.
const AHEAD: usize = 8;
/// Bytes that one call looks through at most; a reader whose patterns match little comes back for more.
pub(super) const EFFORT: u64 = 4 << 20;

impl Segments {
    /// The first position that is kept.
    pub fn first(&self) -> Sequence {
        self.list().first().map_or(Sequence::FIRST, |segment| segment.header.first)
    }

    /// Reads a page. `through` is the committed end. With `cached_only` it answers None where it would have to go to
    /// the disk before it has anything.
    pub fn read(
        &self,
        query: &Query<'_>,
        through: Sequence,
        marks: &PurgeMarks,
        cached_only: bool,
    ) -> Result<Option<Page>> {
        let through = query.through.min(through);
        let query = Query { through, ..*query };
        let mut page = Page::new(query.from);
        let first = self.first();
        if query.from < first {
            page.gap = Some(Gap { reason: GapReason::Retention, first: query.from, last: first.previous() });
            page.go_on(first);
        }
        let list = self.list();
        let mut effort = 0;
        let begin = list.partition_point(|segment| segment.header.first <= page.next).saturating_sub(1);
        for (at, segment) in list.iter().enumerate().skip(begin) {
            if page.next > through {
                break;
            }
            match self.read_segment(segment, &query, marks, cached_only, &mut effort, &mut page) {
                Ok(Flow::On) => {}
                Ok(Flow::Full) => return Ok(Some(page)),
                Ok(Flow::Uncached) => return Ok((page.messages > 0).then_some(page)),
                // Retention took it while it was read: begin again, which tells the gap.
                Err(_) if self.first() > segment.header.first && page.messages == 0 => {
                    return self.read(&query, through, marks, cached_only);
                }
                Err(error) => return Err(error),
            }
            // Nothing more of this segment: go on with the next, which may begin further on, but never beyond what was
            // asked for: what lies between was not looked at.
            match list.get(at + 1) {
                Some(next) if next.header.first <= through => {
                    page.go_on(segment.summary().last.next());
                    page.skip_to(next.header.first);
                }
                _ => break,
            }
        }
        page.go_on(through.next());
        page.end = true;
        Ok(Some(page))
    }

    fn read_segment(
        &self,
        segment: &Segment,
        query: &Query<'_>,
        marks: &PurgeMarks,
        cached_only: bool,
        effort: &mut u64,
        page: &mut Page,
    ) -> Result<Flow> {
        if cached_only && !self.has_index(segment) {
            return Ok(Flow::Uncached);
        }
        let mut least = 0;
        loop {
            let stretches = self.stretches(segment, page.next, least, query.patterns, AHEAD)?;
            let Some(last) = stretches.last() else { return Ok(Flow::On) };
            least = last.span + 1;
            for at in 0..stretches.len() {
                let Some(blocks) = self.blocks(segment, &stretches[at..], cached_only)? else {
                    return Ok(Flow::Uncached);
                };
                for block in blocks.iter() {
                    if page.next.max(block.first()) > query.through {
                        return Ok(Flow::On);
                    }
                    page.skip_to(block.first());
                    if !block.select(query, marks, page) {
                        return Ok(Flow::Full);
                    }
                }
                *effort += stretches[at].range.end - stretches[at].range.start;
                if *effort >= EFFORT {
                    return Ok(Flow::Full);
                }
            }
        }
    }

    /// The blocks of the first stretch, from the cache or from the disk; from there together with those that follow
    /// it closely.
    pub(super) fn blocks(
        &self,
        segment: &Segment,
        stretches: &[Stretch],
        cached_only: bool,
    ) -> Result<Option<Arc<[Block]>>> {
        let identity = segment.header.identity;
        if let Some(blocks) = self.spans.get((identity, stretches[0].span)) {
            return Ok(Some(blocks));
        }
        if cached_only {
            return Ok(None);
        }
        let neighbours = stretches.windows(2).take_while(|pair| pair[0].range.end == pair[1].range.start).count();
        let run = &stretches[..=neighbours];
        let bytes = self.load(segment, run[0].range.start..run[neighbours].range.end)?;
        let mut first = None;
        for stretch in run {
            let start = (stretch.range.start - run[0].range.start) as usize;
            let length = (stretch.range.end - stretch.range.start) as usize;
            let blocks: Arc<[Block]> =
                self.parse(segment, stretch.range.start, bytes.slice(start..start + length))?.into();
            if stretch.complete {
                let footprint = blocks.iter().map(Block::footprint).sum();
                self.spans.put((identity, stretch.span), blocks.clone(), footprint);
            }
            first.get_or_insert(blocks);
        }
        Ok(first)
    }

    fn load(&self, segment: &Segment, range: Range<u64>) -> Result<Bytes> {
        let file = self.io.open(&segment.path(&self.dir)).map_err(|error| self.failed(segment, &error))?;
        let mut bytes = vec![0; (range.end - range.start) as usize];
        let read = file.read_at(&mut bytes, range.start).map_err(|error| self.failed(segment, &error))?;
        if read < bytes.len() {
            return Err(self.corrupt(segment, range.start + read as u64));
        }
        Ok(bytes.into())
    }

    /// Takes a stretch apart, each block checked.
    fn parse(&self, segment: &Segment, offset: u64, bytes: Bytes) -> Result<Vec<Block>> {
        let seed = segment.header.seed();
        let mut blocks = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let corrupt = || self.corrupt(segment, offset + at as u64);
            let frame = Frame::parse(&bytes[at..]).ok_or_else(corrupt)?;
            let end = at + frame.size();
            let whole = bytes.get(at..end).is_some_and(|block| Frame::verify(seed, block));
            if !whole {
                return Err(corrupt());
            }
            if !frame.closing {
                let Range { start, end } = frame.records();
                let records = bytes.slice(at + start..at + end);
                blocks.push(Block::index(records, frame.first, frame.has_expiring).map_err(|_| corrupt())?);
            }
            at = end;
        }
        Ok(blocks)
    }

    /// The first record that was published at `time` or later, or the position after `through` if none was.
    pub fn at_time(&self, time: Timestamp, through: Sequence) -> Result<Sequence> {
        for segment in self.list().iter() {
            let summary = segment.summary();
            if summary.messages == 0 || summary.last_time < time {
                continue;
            }
            let stretches = self.stretches(segment, segment.header.first, 0, &PatternSet::all(), usize::MAX)?;
            // The last span that begins earlier may end later; all before it ends earlier.
            let later = stretches.partition_point(|stretch| stretch.time < time);
            for stretch in &stretches[later.saturating_sub(1)..] {
                let blocks = self.blocks(segment, std::slice::from_ref(stretch), false)?;
                // All records of a block have one time.
                let mut blocks = blocks.iter().flat_map(|blocks| blocks.iter());
                if let Some(block) = blocks.find(|block| block.last_time() >= time) {
                    return Ok(block.first().min(through.next()));
                }
            }
        }
        Ok(through.next())
    }

    /// What is kept of the topics that match, come after `after` and are not hidden, by name; at most `most`.
    pub fn topics(&self, pattern: &Pattern, after: &str, most: usize, marks: &PurgeMarks) -> Result<Vec<TopicStats>> {
        let mut found: BTreeMap<String, TopicStats> = BTreeMap::new();
        for segment in self.list().iter() {
            for (name, entry) in self.matching(segment, pattern)? {
                if *name <= *after {
                    continue;
                }
                let hidden = marks.hidden_through(&name);
                let Some(stats) = self.visible(segment, &name, &entry, hidden.next()..=Sequence::MAX)? else {
                    continue;
                };
                match found.get_mut(&name) {
                    Some(known) => merge(known, stats),
                    None => drop(found.insert(name, stats)),
                }
                // What falls out comes after enough others that are kept, and never comes back.
                if found.len() > most {
                    found.pop_last();
                }
            }
        }
        Ok(found.into_values().collect())
    }

    /// How many messages of the topics that match are visible up to `through`.
    pub fn count(&self, pattern: &Pattern, through: Sequence, marks: &PurgeMarks) -> Result<u64> {
        let mut count = 0;
        for segment in self.list().iter().take_while(|segment| segment.header.first <= through) {
            for (name, entry) in self.matching(segment, pattern)? {
                let hidden = marks.hidden_through(&name);
                let visible = self.visible(segment, &name, &entry, hidden.next()..=through)?;
                count += visible.map_or(0, |stats| stats.messages);
            }
        }
        Ok(count)
    }

    /// What a segment has of a topic within a range; read message by message only where the range cuts through it.
    fn visible(
        &self,
        segment: &Segment,
        name: &str,
        entry: &Entry,
        range: std::ops::RangeInclusive<Sequence>,
    ) -> Result<Option<TopicStats>> {
        if entry.last < *range.start() || entry.first > *range.end() {
            return Ok(None);
        }
        if range.contains(&entry.first) && range.contains(&entry.last) {
            return Ok(Some(entry.stats(name)));
        }
        let patterns = PatternSet::new(vec![Pattern::Exact(name.into())]);
        let mut found: Option<TopicStats> = None;
        let mut least = 0;
        loop {
            let stretches = self.stretches(segment, segment.header.first, least, &patterns, AHEAD)?;
            let Some(last) = stretches.last() else { return Ok(found) };
            least = last.span + 1;
            for at in 0..stretches.len() {
                let blocks = self.blocks(segment, &stretches[at..], false)?.unwrap_or_else(|| Arc::new([]));
                for record in blocks.iter().flat_map(Block::records) {
                    let sequence = record.sequence();
                    if record.topic() != name || !range.contains(&sequence) {
                        continue;
                    }
                    let one = TopicStats {
                        name: name.into(),
                        first: sequence,
                        last: sequence,
                        messages: 1,
                        bytes: record.framed().len() as u64,
                        last_publish_time: record.publish_time(),
                    };
                    match &mut found {
                        Some(known) => merge(known, one),
                        None => found = Some(one),
                    }
                }
            }
        }
    }
}

enum Flow {
    On,
    Full,
    Uncached,
}

/// Adds what came later.
fn merge(known: &mut TopicStats, later: TopicStats) {
    known.last = later.last;
    known.last_publish_time = later.last_publish_time;
    known.messages += later.messages;
    known.bytes += later.bytes;
}
