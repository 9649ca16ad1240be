//! What waits to be handed out for the first time: how much that is, and holding it below its bound. Never touches what
//! was handed out.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{hub::Hub, inner::Inner, ledger::Failure};
use crate::{
    engine::{Page, Query},
    model::{BacklogPolicy, Records, Result, Sequence},
};

/// It is looked so often whether more waits than may.
pub(super) const LOOK: Duration = Duration::from_secs(1);
/// Messages and bytes that are read at a time: to be counted, and to be put to the dead letters.
const COUNTED: usize = 4_096;
const GIVEN_UP: usize = 256;
/// As much is told exactly, by reading it; not looked at where there are far more positions, as there is no end in sight.
const TOLD: usize = 1_024;
const IN_SIGHT: u64 = 16 * TOLD as u64;
const BYTES: usize = 1 << 20;

/// Counts what waits, in chunks, so that it is known where the oldest of them end. A bound is held to a fiftieth: the
/// first chunk counts whole as long as any of it waits, and is let go whole.
#[derive(Debug)]
pub(super) struct Backlog {
    most: u64,
    // Messages in a chunk.
    step: u64,
    chunks: VecDeque<Chunk>,
    // Everything before it was counted.
    counted: Sequence,
    waiting: u64,
}

/// Some messages, one after the other.
#[derive(Debug)]
struct Chunk {
    first: Sequence,
    last: Sequence,
    count: u64,
}

impl Backlog {
    /// Nothing was counted from `from` on; at most `most` messages may wait.
    pub fn new(from: Sequence, most: u64) -> Self {
        Backlog { most, step: (most / 100).clamp(1, 10_000), chunks: VecDeque::new(), counted: from, waiting: 0 }
    }

    /// Counts messages, and everything before `next` with them.
    fn count(&mut self, sequences: impl Iterator<Item = Sequence>, next: Sequence) {
        for sequence in sequences.filter(|sequence| *sequence >= self.counted) {
            match self.chunks.back_mut() {
                Some(chunk) if chunk.count < self.step => {
                    chunk.last = sequence;
                    chunk.count += 1;
                }
                _ => self.chunks.push_back(Chunk { first: sequence, last: sequence, count: 1 }),
            }
            self.waiting += 1;
        }
        self.counted = self.counted.max(next);
    }

    /// What lies before `read` waits no longer.
    fn passed(&mut self, read: Sequence) {
        while self.chunks.front().is_some_and(|chunk| chunk.last < read) {
            self.let_go();
        }
        self.counted = self.counted.max(read);
    }

    /// Where what may wait begins, and how many messages before it may not; None if no more wait than may.
    fn cut(&mut self) -> Option<(Sequence, u64)> {
        let before = self.waiting;
        while self.waiting > self.most {
            self.let_go();
        }
        let first = self.chunks.front().map_or(self.counted, |chunk| chunk.first);
        (self.waiting < before).then_some((first, before - self.waiting))
    }

    fn let_go(&mut self) {
        if let Some(chunk) = self.chunks.pop_front() {
            self.waiting -= chunk.count;
        }
    }
}

/// What waits: messages and bytes, both upper bounds where there is much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Waiting {
    pub messages: u64,
    pub bytes: u64,
}

impl Hub {
    /// What waits from a position on, beside what is open. Exact up to `TOLD` messages; beyond, no more than there are
    /// positions, and no more than there are messages in the topics that match.
    pub(super) async fn waiting(&self, read: Sequence, open: u64) -> Result<Waiting> {
        let patterns = self.lock().patterns.clone();
        let bounds = self.place.log.bounds();
        let first = read.max(bounds.first);
        let positions = (bounds.end.0 + 1).saturating_sub(first.0);
        // Of what the bytes are an average.
        let (mut messages, mut bytes) = ((bounds.end.0 + 1).saturating_sub(bounds.first.0), bounds.bytes);
        let mut upper = positions;
        if positions > 0 && !patterns.wants_all() {
            (messages, bytes, upper) = (0, 0, 0);
            for pattern in patterns.patterns() {
                for topic in self.place.log.topics(pattern, "", usize::MAX).await? {
                    (messages, bytes) = (messages + topic.messages, bytes + topic.bytes);
                    upper += if topic.last >= read { topic.messages } else { 0 };
                }
            }
            upper = upper.min(positions);
        }
        if (1..=IN_SIGHT).contains(&upper) {
            let page = self.read_backlog(first, Sequence::MAX, TOLD).await?;
            upper = if page.end { page.messages as u64 } else { upper };
        }
        let total = upper + open;
        let bytes = u128::from(bytes) * u128::from(total) / u128::from(messages.max(1));
        Ok(Waiting { messages: total, bytes: u64::try_from(bytes).unwrap_or(u64::MAX) })
    }

    /// Looks whether more waits than may, if it is time, and lets the oldest go. Answers whether all is well.
    pub(super) async fn bound_backlog(self: &Arc<Self>) -> bool {
        let is_due = self.lock().looks_at.is_some_and(|at| at <= Instant::now());
        if !is_due {
            return true;
        }
        let bounded = self.count_backlog().await;
        let mut inner = self.lock();
        inner.looks_at = inner.backlog.is_some().then(|| Instant::now() + LOOK);
        if let Err(error) = &bounded {
            tracing::warn!(key = self.key, %error, "what waits cannot be counted or let go");
            // What was counted and not let go is counted again.
            inner.begin_backlog();
        }
        bounded.is_ok()
    }

    async fn count_backlog(self: &Arc<Self>) -> Result<()> {
        loop {
            let (from, generation) = {
                let mut inner = self.lock();
                let read = inner.ledger.read();
                let generation = inner.generation;
                let Some(backlog) = &mut inner.backlog else { return Ok(()) };
                backlog.passed(read);
                (backlog.counted, generation)
            };
            if self.place.log.tail().committed() < from {
                break;
            }
            let page = self.read_backlog(from, Sequence::MAX, COUNTED).await?;
            let mut inner = self.lock();
            if inner.generation != generation {
                // It reads on elsewhere, or something else.
                continue;
            }
            let Some(backlog) = &mut inner.backlog else { return Ok(()) };
            backlog.count(sequences(&page), page.next);
            if page.end {
                break;
            }
        }
        let (policy, cut) = {
            let mut inner = self.lock();
            let cut = inner.backlog.as_mut().and_then(Backlog::cut);
            (inner.specification.backlog_policy, cut)
        };
        match (cut, policy) {
            (None, _) => Ok(()),
            (Some((first, messages)), BacklogPolicy::DropOldest) => {
                let mut inner = self.lock();
                inner.ledger.drop_until(first, messages);
                inner.forget_found();
                self.changed(&mut inner);
                Ok(())
            }
            (Some((first, _)), BacklogPolicy::DeadLetter) => self.give_up_until(first).await,
        }
    }

    /// Puts what is new and lies before `first` to the dead letters.
    async fn give_up_until(self: &Arc<Self>, first: Sequence) -> Result<()> {
        loop {
            let (from, generation) = {
                let inner = self.lock();
                (inner.ledger.read(), inner.generation)
            };
            if from >= first {
                return Ok(());
            }
            let page = self.read_backlog(from, first.previous(), GIVEN_UP).await?;
            {
                let mut inner = self.lock();
                if inner.generation != generation {
                    return Ok(());
                }
                let most = inner.specification.max_backlog.unwrap_or_default();
                inner.forget_found();
                for sequence in sequences(&page) {
                    let reason = format!("more than {most} messages waited, as many as may");
                    if !inner.ledger.give_up(sequence, Failure { reason, consumer: "".into() }) {
                        // Others are to be given up first.
                        return Ok(());
                    }
                }
                inner.ledger.passed(page.next.min(first));
                inner.behind = inner.ledger.read();
                self.changed(&mut inner);
            }
            if !self.bury_all().await {
                return Ok(());
            }
        }
    }

    async fn read_backlog(&self, from: Sequence, through: Sequence, max_messages: usize) -> Result<Page> {
        let (patterns, filter) = {
            let inner = self.lock();
            (inner.patterns.clone(), inner.specification.filter())
        };
        let filter = filter.map(|filter| self.place.filters.register(filter));
        let query = Query {
            from,
            through,
            patterns: &patterns,
            guide: None,
            filter: filter.as_ref().map(|filter| &filter.alone),
            max_messages,
            max_bytes: BYTES,
            now: self.shared.clock.now(),
        };
        self.place.log.read(query).await
    }
}

impl Inner {
    /// Counts from here on, if what may wait is bounded.
    pub(super) fn begin_backlog(&mut self) {
        let read = self.ledger.read();
        self.backlog = self.specification.max_backlog.map(|most| Backlog::new(read, most));
        self.looks_at = self.backlog.is_some().then(|| Instant::now() + LOOK);
    }
}

fn sequences(page: &Page) -> impl Iterator<Item = Sequence> {
    let records = page.runs.iter().flat_map(|run| Records::new(run).map_while(Result::ok));
    records.map(|record| record.sequence())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        /// Messages, so many, each behind a gap of so much.
        Come(u64, u64),
        /// So many of what waits are handed out.
        Read(usize),
        Cut,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..40u64, 0..3u64).prop_map(|(count, gap)| Step::Come(count, gap)),
            (0..30usize).prop_map(Step::Read),
            Just(Step::Cut),
        ]
    }

    proptest! {
        #[test]
        fn the_bound_is_held_and_hardly_more_is_let_go(most in 1..600u64, steps in proptest::collection::vec(step(), 0..80)) {
            let mut backlog = Backlog::new(Sequence(1), most);
            let (mut waiting, mut next) = (VecDeque::new(), 1);
            for step in steps {
                match step {
                    Step::Come(count, gap) => {
                        let came: Vec<_> = (0..count).map(|n| Sequence(next + n * (gap + 1))).collect();
                        next += count * (gap + 1);
                        backlog.count(came.iter().copied(), Sequence(next));
                        waiting.extend(came);
                    }
                    Step::Read(count) => {
                        let read = waiting.drain(..count.min(waiting.len())).next_back();
                        backlog.passed(read.map_or(Sequence(1), Sequence::next));
                    }
                    Step::Cut => {
                        let before = waiting.len();
                        if let Some((first, _)) = backlog.cut() {
                            waiting.retain(|sequence| *sequence >= first);
                        }
                        prop_assert!(waiting.len() as u64 <= most);
                        let (least, left) = (most - most / 50, waiting.len() as u64);
                        prop_assert!(left == before as u64 || left >= least.min(before as u64), "{left} of {before} are left");
                    }
                }
                prop_assert!(backlog.waiting >= waiting.len() as u64 && backlog.chunks.len() <= 2 + waiting.len() / backlog.step as usize);
            }
        }
    }
}
