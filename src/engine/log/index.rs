//! What lies where in a segment: spans of blocks with their first sequence and time, and for each topic what it has
//! and in which spans. Built while a segment is written, stored beside it when it is sealed, and rebuilt from it when
//! the stored one is missing or wrong. Pure.
//!
//! Version 1 of the stored form, little endian: `TILDEIDX`, version, crc32c of all that follows, the segment's
//! identity, a summary, the spans, the topics by name.

use std::collections::HashMap;

use super::frame::Frame;
use crate::{
    engine::{Block, TopicStats},
    model::{Pattern, PatternSet, Sequence, Timestamp},
};

/// Blocks are gathered to spans of at least so many bytes: what is read at a time.
pub const SPAN: u64 = 32 << 10;
/// Where more topics than this match, looking for their spans costs more than reading all.
const WORTH: usize = 256;

const MAGIC: [u8; 8] = *b"TILDEIDX";
const VERSION: u32 = 1;

/// A run of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Where its first block begins.
    pub offset: u64,
    /// The sequence of its first record.
    pub first: Sequence,
    /// The publish time of its first record.
    pub time: Timestamp,
}

/// What a segment holds, in short.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The last record; zero if there is none.
    pub last: Sequence,
    /// When the last record was published.
    pub last_time: Timestamp,
    /// How many records.
    pub messages: u64,
    /// Where the last block ends.
    pub end: u64,
}

/// What a segment holds of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The first record.
    pub first: Sequence,
    /// The last record.
    pub last: Sequence,
    /// How many.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the last was published.
    pub last_time: Timestamp,
    /// The spans that hold any, rising.
    pub spans: Vec<u32>,
}

impl Entry {
    /// What is told of a topic.
    pub fn stats(&self, name: &str) -> TopicStats {
        TopicStats {
            name: name.into(),
            first: self.first,
            last: self.last,
            messages: self.messages,
            bytes: self.bytes,
            last_publish_time: self.last_time,
        }
    }
}

/// The index of the segment that is being written.
#[derive(Debug, Default)]
pub struct Builder {
    summary: Summary,
    spans: Vec<Span>,
    topics: HashMap<Box<str>, Entry>,
}

impl Builder {
    /// Of an empty segment whose blocks begin at `offset`.
    pub fn new(offset: u64) -> Self {
        Builder { summary: Summary { end: offset, ..Summary::default() }, ..Builder::default() }
    }

    /// Adds the next block. `end` is where it ends.
    pub fn add(&mut self, frame: &Frame, block: &Block, end: u64) {
        let offset = end - frame.size() as u64;
        if self.spans.last().is_none_or(|span| self.summary.end - span.offset >= SPAN) {
            self.spans.push(Span { offset, first: frame.first, time: frame.time });
        }
        let span = self.spans.len() as u32 - 1;
        let names: Vec<&str> = block.topics().collect();
        let mut sums = vec![Sum::default(); names.len()];
        for (at, (topic, record)) in block.numbered().enumerate() {
            sums[topic].add(frame.first.plus(at as u64), record.framed().len() as u64);
        }
        for (name, sum) in names.into_iter().zip(sums) {
            self.merge(name, sum, frame.time, span);
        }
        self.summary.last = frame.last();
        self.summary.last_time = frame.time;
        self.summary.messages += u64::from(frame.count);
        self.summary.end = end;
    }

    /// Passes over bytes that hold no records: a closing block.
    pub fn skip(&mut self, end: u64) {
        self.summary.end = end;
    }

    fn merge(&mut self, name: &str, sum: Sum, time: Timestamp, span: u32) {
        // Looked up first, so that the name is copied only once a segment.
        let entry = match self.topics.get_mut(name) {
            Some(entry) => entry,
            None => self.topics.entry(name.into()).or_insert(Entry {
                first: sum.first,
                last: sum.last,
                messages: 0,
                bytes: 0,
                last_time: time,
                spans: Vec::new(),
            }),
        };
        entry.last = sum.last;
        entry.last_time = time;
        entry.messages += sum.messages;
        entry.bytes += sum.bytes;
        if entry.spans.last() != Some(&span) {
            entry.spans.push(span);
        }
    }

    /// What the segment holds so far, in short.
    pub fn summary(&self) -> Summary {
        self.summary
    }

    /// How many topics it holds.
    pub fn topics(&self) -> usize {
        self.topics.len()
    }

    /// What it holds of a topic.
    pub fn topic(&self, name: &str) -> Option<&Entry> {
        self.topics.get(name)
    }

    /// What it holds of the topics that match, in no order.
    pub fn matching<'a>(&'a self, pattern: &'a Pattern) -> impl Iterator<Item = (&'a str, &'a Entry)> {
        self.topics.iter().filter(|(name, _)| pattern.matches(name)).map(|(name, entry)| (&**name, entry))
    }

    /// The spans.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Goes on where a stored index ends.
    pub fn resume(index: Index) -> Self {
        Builder { summary: index.summary, spans: index.spans, topics: index.topics.into_iter().collect() }
    }

    /// The index of what was added so far.
    pub fn finish(&self) -> Index {
        let mut topics: Vec<_> = self.topics.iter().map(|(name, entry)| (name.clone(), entry.clone())).collect();
        topics.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        Index { summary: self.summary, spans: self.spans.clone(), topics }
    }
}

/// What a block adds to one topic.
#[derive(Clone, Copy, Default)]
struct Sum {
    first: Sequence,
    last: Sequence,
    messages: u64,
    bytes: u64,
}

impl Sum {
    fn add(&mut self, sequence: Sequence, bytes: u64) {
        if self.messages == 0 {
            self.first = sequence;
        }
        self.last = sequence;
        self.messages += 1;
        self.bytes += bytes;
    }
}

/// The index of a sealed segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    summary: Summary,
    spans: Vec<Span>,
    // Sorted by name.
    topics: Vec<(Box<str>, Entry)>,
}

impl Index {
    /// What the segment holds, in short.
    pub fn summary(&self) -> Summary {
        self.summary
    }

    /// The spans.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// What it holds of a topic.
    pub fn topic(&self, name: &str) -> Option<&Entry> {
        let at = self.topics.binary_search_by(|(known, _)| (**known).cmp(name)).ok()?;
        Some(&self.topics[at].1)
    }

    /// What it holds of the topics that match, by name.
    pub fn matching<'a>(&'a self, pattern: &'a Pattern) -> impl Iterator<Item = (&'a str, &'a Entry)> {
        let start = match pattern {
            Pattern::Exact(text) | Pattern::Prefix(text) => self.topics.partition_point(|(name, _)| **name < **text),
        };
        // An empty prefix passes over the broker's own topics, which do not come last: so nothing ends it early.
        let whole = matches!(pattern, Pattern::Prefix(prefix) if prefix.is_empty());
        let from = self.topics[start..].iter().map(|(name, entry)| (&**name, entry));
        from.take_while(move |(name, _)| whole || pattern.matches(name)).filter(move |(name, _)| pattern.matches(name))
    }

    /// The spans that may hold what the patterns want; None where that is likely all of them.
    pub fn spans_of(&self, patterns: &PatternSet) -> Option<Vec<u32>> {
        if patterns.wants_all() || self.topics.len() <= 1 && patterns.matches(&self.topics.first()?.0) {
            return None;
        }
        let mut found = 0;
        let mut spans = Vec::new();
        for pattern in patterns.patterns() {
            for (_, entry) in self.matching(pattern) {
                found += 1;
                if found > WORTH {
                    return None;
                }
                spans.extend_from_slice(&entry.spans);
            }
        }
        spans.sort_unstable();
        spans.dedup();
        Some(spans)
    }

    /// Bytes of memory that it holds, about.
    pub fn footprint(&self) -> usize {
        let topics = self.topics.iter().map(|(name, entry)| name.len() + 4 * entry.spans.len() + 96);
        24 * self.spans.len() + topics.sum::<usize>()
    }

    /// The stored form, for the segment of this identity.
    pub fn encode(&self, identity: u64) -> Vec<u8> {
        let mut out = vec![0; 16];
        out[0..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        let summary = &self.summary;
        let head = [identity, summary.last.0, summary.last_time.nanos() as u64, summary.messages, summary.end];
        put(&mut out, &head);
        put(&mut out, &[self.spans.len() as u64, self.topics.len() as u64]);
        for span in &self.spans {
            put(&mut out, &[span.offset, span.first.0, span.time.nanos() as u64]);
        }
        for (name, entry) in &self.topics {
            put(&mut out, &[name.len() as u64, entry.spans.len() as u64]);
            put(&mut out, &[entry.first.0, entry.last.0, entry.messages, entry.bytes, entry.last_time.nanos() as u64]);
            out.extend_from_slice(name.as_bytes());
            for span in &entry.spans {
                out.extend_from_slice(&span.to_le_bytes());
            }
        }
        let crc = crc32c::crc32c(&out[16..]);
        out[12..16].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Of which segment a stored form is. None if it is not whole, or of another version.
    pub fn identity(bytes: &[u8]) -> Option<u64> {
        let identity = u64::from_le_bytes(bytes.get(16..24)?.try_into().ok()?);
        Index::decode(bytes, identity).map(|_| identity)
    }

    /// Takes back the stored form. None if it is not whole, not of this segment, or of another version.
    pub fn decode(bytes: &[u8], identity: u64) -> Option<Index> {
        let (head, body) = bytes.split_at_checked(16)?;
        let u32_at = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes"));
        if head[0..8] != MAGIC || u32_at(8) != VERSION || u32_at(12) != crc32c::crc32c(body) {
            return None;
        }
        let mut rest = Take(body);
        if rest.number()? != identity {
            return None;
        }
        let summary =
            Summary { last: rest.sequence()?, last_time: rest.time()?, messages: rest.number()?, end: rest.number()? };
        let (spans, topics) = (rest.number()?, rest.number()?);
        let mut index = Index { summary, spans: Vec::new(), topics: Vec::new() };
        for _ in 0..spans {
            index.spans.push(Span { offset: rest.number()?, first: rest.sequence()?, time: rest.time()? });
        }
        for _ in 0..topics {
            let (name, spans) = (rest.number()? as usize, rest.number()? as usize);
            let entry = Entry {
                first: rest.sequence()?,
                last: rest.sequence()?,
                messages: rest.number()?,
                bytes: rest.number()?,
                last_time: rest.time()?,
                spans: Vec::new(),
            };
            let name = std::str::from_utf8(rest.bytes(name)?).ok()?;
            let words = rest.bytes(spans.checked_mul(4)?)?.chunks_exact(4);
            let spans = words.map(|word| u32::from_le_bytes(word.try_into().expect("four bytes"))).collect();
            index.topics.push((name.into(), Entry { spans, ..entry }));
        }
        rest.0.is_empty().then_some(index)
    }
}

fn put(out: &mut Vec<u8>, numbers: &[u64]) {
    for number in numbers {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

/// Takes the stored form apart from the front.
struct Take<'a>(&'a [u8]);

impl<'a> Take<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(front)
    }

    fn number(&mut self) -> Option<u64> {
        self.bytes(8).map(|bytes| u64::from_le_bytes(bytes.try_into().expect("eight bytes")))
    }

    fn sequence(&mut self) -> Option<Sequence> {
        self.number().map(Sequence)
    }

    fn time(&mut self) -> Option<Timestamp> {
        self.number().map(|nanos| Timestamp::from_nanos(nanos as i64))
    }
}
