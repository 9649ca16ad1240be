//! Which streams want which topics of one block, found out once for all of them: a stream then reads what concerns it, and
//! does not look at the rest. Pure.

use std::ops::Range;

use super::index::Slot;
use crate::model::Sequence;

/// The routes of one block. Streams that want everything have none.
#[derive(Debug, Default)]
pub struct Routes {
    /// The block's first sequence.
    pub first: Sequence,
    /// Which streams want topics of a group; sorted.
    slots: Vec<(Slot, u32)>,
    /// For each group, which of `topics` it has.
    groups: Vec<Range<u32>>,
    topics: Vec<u32>,
}

impl Routes {
    /// Of groups that were found topic by topic: who belongs to which, and which topics each has, as pairs that begin with
    /// the stream and with the group.
    pub fn new(first: Sequence, groups: u32, mut slots: Vec<(Slot, u32)>, pairs: &[(u32, u32)]) -> Self {
        slots.sort_unstable();
        // Sorted by counting: the topics of a group stay in the order of the block.
        let mut starts = vec![0; groups as usize + 1];
        pairs.iter().for_each(|(group, _)| starts[*group as usize + 1] += 1);
        for group in 0..groups as usize {
            starts[group + 1] += starts[group];
        }
        let ranges = starts.windows(2).map(|pair| pair[0]..pair[1]).collect();
        let mut topics = vec![0; pairs.len()];
        for &(group, topic) in pairs {
            let place = &mut starts[group as usize];
            topics[*place as usize] = topic;
            *place += 1;
        }
        Routes { first, slots, groups: ranges, topics }
    }

    /// The streams that want any topic, each once for each of its patterns that match.
    pub fn slots(&self) -> impl Iterator<Item = Slot> {
        self.slots.iter().map(|(slot, _)| *slot)
    }

    /// The topics that a stream wants, as the block counts them; rising, each once.
    pub fn topics(&self, slot: Slot) -> Vec<u32> {
        let begin = self.slots.partition_point(|(other, _)| *other < slot);
        let own = self.slots[begin..].iter().take_while(|(other, _)| *other == slot);
        let range = |group: u32| self.groups[group as usize].start as usize..self.groups[group as usize].end as usize;
        let mut topics: Vec<u32> = own.flat_map(|(_, group)| &self.topics[range(*group)]).copied().collect();
        topics.sort_unstable();
        topics.dedup();
        topics
    }

    /// Bytes of memory that they hold.
    pub fn footprint(&self) -> usize {
        size_of::<Self>() + size_of_val(&self.slots[..]) + size_of_val(&self.groups[..]) + size_of_val(&self.topics[..])
    }
}
