//! What a reader asks for, and a page of it. Never knows where records lie.

use std::{fmt, sync::Arc};

use bytes::Bytes;

use super::{Block, Filter, filter::EFFORT};
use crate::model::{Gap, PatternSet, Sequence, Timestamp};

/// What a reader wants next.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// The first position that it has not seen.
    pub from: Sequence,
    /// The last that it wants.
    pub through: Sequence,
    /// The topics it wants.
    pub patterns: &'a Arc<PatternSet>,
    /// Who knows beforehand which topics of a block are wanted, if anybody does.
    pub guide: Option<&'a dyn Guide>,
    /// Which of their messages it wants; all if there is none.
    pub filter: Option<&'a Arc<dyn Filter>>,
    /// At most so many messages.
    pub max_messages: usize,
    /// At most so many bytes, unless one message alone has more.
    pub max_bytes: usize,
    /// What has expired by then is left out.
    pub now: Timestamp,
}

/// Knows beforehand which topics of a block a reader's patterns want: where many readers want little of it each, none of
/// them has to look.
pub trait Guide: fmt::Debug + Send + Sync {
    /// The topics, as the block counts them; rising, each once. None where it does not know.
    fn topics(&self, block: &Block) -> Option<Vec<u32>>;
}

/// Records, in order, and where to go on.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Runs of encoded records, ready for the wire.
    pub runs: Vec<Bytes>,
    /// Records in all runs.
    pub messages: usize,
    /// Bytes in all runs.
    pub bytes: usize,
    /// The first position that this page did not deal with.
    pub next: Sequence,
    /// The last that it dealt with. Further back than `next` where there is nothing between, as where a crash left
    /// positions out: who had seen one of those would be told that it is gone, so nobody is told that he has.
    pub after: Sequence,
    /// All that was committed when it was read, or up to the query's `through`, has been dealt with.
    pub end: bool,
    /// What was asked for and is no longer kept, before the first record.
    pub gap: Option<Gap>,
}

impl Page {
    /// An empty one that begins at `from`.
    pub fn new(from: Sequence) -> Self {
        Page { next: from, after: from.previous(), ..Page::default() }
    }

    /// Everything before `next` has been dealt with.
    pub fn go_on(&mut self, next: Sequence) {
        if next > self.next {
            (self.next, self.after) = (next, next.previous());
        }
    }

    /// There is nothing before `next`.
    pub fn skip_to(&mut self, next: Sequence) {
        self.next = self.next.max(next);
    }

    /// Whether a record of `bytes` still fits.
    pub fn takes(&self, bytes: usize, query: &Query<'_>) -> bool {
        self.messages < query.max_messages && (self.messages == 0 || self.bytes + bytes <= query.max_bytes)
    }

    /// Whether a filter has passed by so much that others should have their turn.
    pub fn is_tired(&self, query: &Query<'_>) -> bool {
        query.filter.is_some() && self.next.0.saturating_sub(query.from.0) >= EFFORT
    }

    /// Adds a run of `messages` records.
    pub fn push(&mut self, run: Bytes, messages: usize) {
        self.messages += messages;
        self.bytes += run.len();
        self.runs.push(run);
    }
}
