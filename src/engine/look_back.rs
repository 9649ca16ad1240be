//! What a stream begins with that counts from the end: where the last so many messages begin, or which message is the
//! newest of each topic. Goes backwards through the log, in steps of bounded work. Never knows where records lie.

use std::{collections::HashSet, sync::Arc};

use super::{Block, Filter, dedup::IdHasher, filter::GROUP, purge::PurgeMarks};
use crate::model::{PatternSet, Sequence, Timestamp};

/// A look back: what is wanted, how far it is, and what it has found.
#[derive(Clone, Debug)]
pub struct LookBack {
    /// The topics that count.
    pub patterns: Arc<PatternSet>,
    /// Which of their messages count.
    pub filter: Option<Arc<dyn Filter>>,
    /// What has expired by then does not count.
    pub now: Timestamp,
    /// What is looked for.
    pub wanted: Wanted,
    /// Everything from here on has been looked at.
    pub before: Sequence,
    /// What was found, the newest first: of [`Wanted::Last`] only the oldest so far.
    pub found: Vec<Sequence>,
    /// There is nothing more to look for.
    pub done: bool,
    // How many were found.
    count: usize,
    // Fingerprints of the topics whose newest was found.
    topics: HashSet<u128>,
    hasher: IdHasher,
}

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Where the last so many messages begin.
    Last(usize),
    /// The newest message of each topic. No more than so many are remembered; one more ends the search.
    OfEachTopic(usize),
}

impl LookBack {
    /// Begins behind `end`.
    pub fn new(patterns: Arc<PatternSet>, wanted: Wanted, end: Sequence, now: Timestamp) -> Self {
        LookBack {
            patterns,
            filter: None,
            now,
            wanted,
            before: end.next(),
            found: Vec::new(),
            done: false,
            count: 0,
            topics: HashSet::new(),
            hasher: IdHasher::default(),
        }
    }

    /// How many were found.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether a topic that matches may still have something that counts.
    pub fn misses(&self, topic: &str) -> bool {
        match self.wanted {
            Wanted::Last(_) => true,
            Wanted::OfEachTopic(_) => !self.topics.contains(&self.hasher.id(topic, b"")),
        }
    }

    /// Looks at a block, from its end, as far as it lies before what was looked at.
    pub fn search(&mut self, block: &Block, marks: &PurgeMarks) {
        let stop = (self.before.0.saturating_sub(block.first().0)).min(block.len() as u64) as usize;
        let names: Vec<_> = block.topics().collect();
        let mut misses: Vec<_> = names.iter().map(|name| self.patterns.matches(name) && self.misses(name)).collect();
        for group in (0..stop.div_ceil(GROUP)).rev() {
            let rows = group * GROUP..((group + 1) * GROUP).min(stop);
            let wanted = rows.filter(|&row| misses[block.topic_of(row)] && !block.hides(row, self.now, marks));
            let mut rows = wanted.fold(0, |rows, row| rows | 1 << (row % GROUP));
            if let Some(filter) = self.filter.as_ref().filter(|_| rows != 0) {
                rows = filter.choose(block, group, rows);
            }
            while rows != 0 && !self.done {
                let bit = GROUP - 1 - rows.leading_zeros() as usize;
                rows &= !(1 << bit);
                let row = group * GROUP + bit;
                let topic = block.topic_of(row);
                if misses[topic] {
                    misses[topic] = self.find(block.first().plus(row as u64), names[topic]);
                }
            }
        }
        self.reach(block.first());
    }

    /// There is nothing more from `first` on.
    pub fn reach(&mut self, first: Sequence) {
        self.before = self.before.min(first);
    }

    /// Takes one that counts. Answers whether its topic may have more.
    fn find(&mut self, sequence: Sequence, topic: &str) -> bool {
        self.count += 1;
        match self.wanted {
            Wanted::Last(most) => {
                self.found.clear();
                self.found.push(sequence);
                self.done = self.count >= most;
                true
            }
            Wanted::OfEachTopic(most) => {
                self.found.push(sequence);
                self.topics.insert(self.hasher.id(topic, b""));
                self.done = self.count > most;
                false
            }
        }
    }
}
