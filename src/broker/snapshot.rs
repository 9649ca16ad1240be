//! The newest message of each topic, as a stream begins with it: which positions are left of it, and how they are read.
//! Never reads a record.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use crate::{
    engine::{Block, Filter, filter::GROUP},
    model::Sequence,
};

/// Positions of a snapshot that lie no further apart are read together.
const NEAR: u64 = 1024;

/// What is left of a snapshot. Everything after its end is an ordinary stream.
pub struct Snapshot {
    picks: Arc<dyn Filter>,
    // Rising.
    sequences: Arc<[Sequence]>,
    // The first that is left.
    at: usize,
    end: Sequence,
    // For the memory of the sequences.
    _room: OwnedSemaphorePermit,
}

impl Snapshot {
    /// Of these positions, up to `end`.
    pub fn new(mut sequences: Vec<Sequence>, end: Sequence, room: OwnedSemaphorePermit) -> Self {
        sequences.sort_unstable();
        let sequences: Arc<[Sequence]> = sequences.into();
        Snapshot { picks: Arc::new(Picks(sequences.clone())), sequences, at: 0, end, _room: room }
    }

    /// Everything before `next` has been dealt with: where to go on, and whether the snapshot goes on there.
    pub fn advance(&mut self, next: Sequence) -> (Sequence, bool) {
        self.at += self.sequences[self.at..].partition_point(|&sequence| sequence < next);
        match self.sequences.get(self.at) {
            Some(&sequence) => (sequence, true),
            None => (next.max(self.end.next()), false),
        }
    }

    /// Chooses what belongs to the snapshot.
    pub fn picks(&self) -> &Arc<dyn Filter> {
        &self.picks
    }

    /// How far to read for at most `most` messages: what lies far off is not worth reading what lies between.
    pub fn through(&self, most: usize) -> Sequence {
        let near = |pair: &&[Sequence]| pair[1].0 - pair[0].0 <= NEAR;
        let left = &self.sequences[self.at..];
        let run = left.windows(2).take(most.saturating_sub(1)).take_while(near).count();
        left.get(run).copied().unwrap_or(self.end)
    }
}

/// Takes what is listed. Sorted.
#[derive(Debug)]
struct Picks(Arc<[Sequence]>);

impl Filter for Picks {
    fn choose(&self, block: &Block, group: usize, wanted: u64) -> u64 {
        let first = block.first().plus((group * GROUP) as u64);
        let from = self.0.partition_point(|&sequence| sequence < first);
        let listed = self.0[from..].iter().map(|sequence| sequence.0 - first.0).take_while(|&bit| bit < GROUP as u64);
        listed.fold(0, |rows, bit| rows | 1 << bit) & wanted
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;

    #[test]
    fn it_goes_on_with_what_is_left_and_reads_what_lies_together() {
        let room = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let sequences = [5000, 10, 12, 1036, 5001].map(Sequence);
        let mut snapshot = Snapshot::new(sequences.to_vec(), Sequence(9000), room);
        assert_eq!(snapshot.advance(Sequence::ZERO), (Sequence(10), true));
        assert_eq!([1, 2, 3, 9].map(|most| snapshot.through(most).0), [10, 12, 1036, 1036]);
        assert_eq!(snapshot.advance(Sequence(11)), (Sequence(12), true));
        assert_eq!(snapshot.advance(Sequence(1037)), (Sequence(5000), true));
        assert_eq!(snapshot.through(9), Sequence(5001));
        assert_eq!(snapshot.advance(Sequence(5002)), (Sequence(9001), false));
    }
}
