//! The live edge of a log: its newest blocks in memory, the committed end, and who is told of it. Never touches a disk.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, OnceLock, RwLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{Block, Page, Query, purge::PurgeMarks};
use crate::model::Sequence;

/// Is told of every committed block, in order, by whoever committed it: it must not block.
pub trait Follower: Send + Sync {
    /// `block` may be the next that comes: there is time to prepare for it. It may also never come.
    fn foreseen(self: Arc<Self>, _block: &Arc<Block>) {}

    /// `block` is the next that will be seen, and is not seen yet.
    fn coming(&self, _block: &Arc<Block>) {}

    /// `block` may be seen from now on.
    fn committed(&self, block: &Arc<Block>);
}

/// The newest blocks of one log. It is the broadcast channel: whoever is within it reads it, whoever is behind reads
/// the log and comes back by sequence.
pub struct Tail {
    shared: Arc<Shared>,
    budget: Arc<TailBudget>,
    committed: AtomicU64,
    follower: OnceLock<Arc<dyn Follower>>,
    marks: RwLock<Arc<PurgeMarks>>,
}

#[derive(Default)]
struct Shared(Mutex<Ring>);

#[derive(Default)]
struct Ring {
    blocks: VecDeque<Arc<Block>>,
    // Every committed record from here on lies in `blocks`.
    from: Sequence,
}

/// Blocks that are taken out of the ring at a time, so that its lock is never held while they are searched.
const STRIDE: usize = 32;

impl Tail {
    /// A tail of a log whose committed end is `end`. What it holds counts against `budget`.
    pub fn new(end: Sequence, budget: Arc<TailBudget>) -> Self {
        let ring = Ring { from: end.next(), ..Ring::default() };
        Tail {
            shared: Arc::new(Shared(Mutex::new(ring))),
            budget,
            committed: AtomicU64::new(end.0),
            follower: OnceLock::new(),
            marks: RwLock::default(),
        }
    }

    /// The committed end: the last message that may be seen.
    pub fn committed(&self) -> Sequence {
        Sequence(self.committed.load(Ordering::Acquire))
    }

    /// Tells the follower of a block that is likely to be committed next.
    pub fn foresee(&self, block: &Arc<Block>) {
        if let Some(follower) = self.follower.get() {
            follower.clone().foreseen(block);
        }
    }

    /// Makes a block visible and tells the follower.
    pub fn commit(&self, block: impl Into<Arc<Block>>) {
        let block = block.into();
        if let Some(follower) = self.follower.get() {
            follower.coming(&block);
        }
        self.shared.lock().blocks.push_back(block.clone());
        self.committed.store(block.last().0, Ordering::Release);
        self.budget.add(&self.shared, block.footprint());
        if let Some(follower) = self.follower.get() {
            follower.committed(&block);
        }
    }

    /// Names who is told of every block from now on. A log has one follower; a second is refused.
    pub fn follow(&self, follower: Arc<dyn Follower>) -> bool {
        self.follower.set(follower).is_ok()
    }

    /// Reads from memory. None if `query.from` lies before what memory holds.
    pub fn read(&self, query: &Query<'_>) -> Option<Page> {
        // Read first: what is committed afterwards may be missed, and the page says that there is more.
        let committed = self.committed();
        let marks = self.marks();
        let through = query.through.min(committed);
        let mut page = Page::new(query.from);
        while page.next <= through {
            let blocks = self.shared.blocks_from(page.next, query.max_bytes)?;
            if blocks.is_empty() {
                page.go_on(through.next());
            }
            for block in blocks {
                if page.is_tired(query) {
                    return Some(page);
                }
                // Between two blocks sequences may skip; what was not asked for was not looked at.
                if page.next.max(block.first()) > through {
                    page.go_on(through.next());
                    break;
                }
                page.skip_to(block.first());
                if !block.select(query, &marks, &mut page) {
                    return Some(page);
                }
            }
        }
        page.end = true;
        Some(page)
    }

    /// Whether memory still holds everything from `from` on.
    pub fn covers(&self, from: Sequence) -> bool {
        self.shared.lock().from <= from
    }

    /// What was purged.
    pub fn marks(&self) -> Arc<PurgeMarks> {
        self.marks.read().expect("nobody panics while holding the marks").clone()
    }

    /// Changes what was purged.
    pub fn change_marks(&self, change: impl FnOnce(&mut PurgeMarks)) {
        change(Arc::make_mut(&mut *self.marks.write().expect("nobody panics while holding the marks")));
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Ring> {
        self.0.lock().expect("nobody panics while holding the ring")
    }

    /// Some blocks from the one that holds `from` on, no more than so many bytes need. None if it is gone.
    fn blocks_from(&self, from: Sequence, bytes: usize) -> Option<Vec<Arc<Block>>> {
        let ring = self.lock();
        if from < ring.from {
            return None;
        }
        let begin = ring.find(from);
        let mut taken = 0;
        let enough = |block: &&Arc<Block>| {
            let wanted = taken < bytes.max(1);
            taken += block.bytes();
            wanted
        };
        Some(ring.blocks.range(begin..).take(STRIDE).take_while(enough).cloned().collect())
    }

    /// Drops the oldest block.
    fn evict(&self) {
        let mut ring = self.lock();
        let evicted = ring.blocks.pop_front();
        if let Some(block) = &evicted {
            ring.from = block.last().next();
        }
        // The bytes are given back outside of the lock.
        drop(ring);
        drop(evicted);
    }
}

impl Ring {
    /// Where the first block lies that ends at `from` or later. Looked for from the newest on, in growing steps: nearly
    /// all readers are there, and the writer waits for the lock.
    fn find(&self, from: Sequence) -> usize {
        let before = |at: usize| self.blocks[at].last() < from;
        let (mut high, mut step) = (self.blocks.len(), 1);
        let mut low = loop {
            match high.checked_sub(step) {
                None => break 0,
                Some(at) if before(at) => break at + 1,
                Some(at) => (high, step) = (at, 2 * step),
            }
        };
        while low < high {
            let middle = low.midpoint(high);
            match before(middle) {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        low
    }
}

/// Bounds the memory of all tails together: the oldest block of all goes first.
pub struct TailBudget {
    most: usize,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    bytes: usize,
    // One a block, in the order of commits over all tails.
    blocks: VecDeque<(Weak<Shared>, usize)>,
}

impl TailBudget {
    /// A budget of so many bytes.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(TailBudget { most, held: Mutex::default() })
    }

    fn add(&self, tail: &Arc<Shared>, bytes: usize) {
        let mut held = self.held.lock().expect("nobody panics while holding the budget");
        held.bytes += bytes;
        held.blocks.push_back((Arc::downgrade(tail), bytes));
        // The block just added stays, however large it is: readers at the edge find it in memory.
        while held.bytes > self.most && held.blocks.len() > 1 {
            let Some((owner, bytes)) = held.blocks.pop_front() else { break };
            held.bytes -= bytes;
            if let Some(owner) = owner.upgrade() {
                owner.evict();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Message, Payload, Stamp, Timestamp, Topic, limits};

    fn block(first: u64, messages: u64) -> Arc<Block> {
        let mut bytes = Vec::new();
        for sequence in first..first + messages {
            let begin = bytes.len();
            let message = Message::new(Topic::parse("a").unwrap(), Payload::None);
            message.encode(limits::MESSAGE_BYTES, &mut bytes).unwrap();
            Stamp::new(Timestamp::EPOCH).put(&mut bytes[begin..], Sequence(sequence));
        }
        Arc::new(Block::index(Bytes::from(bytes), Sequence(first), false).unwrap())
    }

    proptest! {
        #[test]
        fn the_first_block_that_is_not_behind_is_found(sizes in proptest::collection::vec((0..3u64, 1..4u64), 0..40)) {
            let (mut ring, mut next) = (Ring::default(), 1);
            for (skipped, messages) in sizes {
                ring.blocks.push_back(block(next + skipped, messages));
                next += skipped + messages;
            }
            for from in (0..next + 2).map(Sequence) {
                prop_assert_eq!(ring.find(from), ring.blocks.partition_point(|block| block.last() < from));
            }
        }
    }
}
