//! Which place in the log that a namespace leaves became which in the log that it comes to. Pure.

use super::{OpenRun, Progress};
use crate::model::Sequence;

/// Old places and new ones. Both rise.
#[derive(Debug, Default)]
pub struct Places {
    runs: Vec<Run>,
}

/// Places one after the other, in both logs.
#[derive(Clone, Copy, Debug)]
struct Run {
    old: Sequence,
    new: Sequence,
    count: u64,
}

impl Places {
    /// What had the place `old` has the place `new` by now. Both lie behind all that were added before.
    pub fn add(&mut self, old: Sequence, new: Sequence) {
        match self.runs.last_mut() {
            Some(run) if run.old.plus(run.count) == old && run.new.plus(run.count) == new => run.count += 1,
            _ => self.runs.push(Run { old, new, count: 1 }),
        }
    }

    /// Whether nothing came along.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The old place that was added last; zero if there is none.
    pub fn last_old(&self) -> Sequence {
        self.runs.last().map_or(Sequence::ZERO, |run| run.old.plus(run.count - 1))
    }

    /// What became of a place; None if nothing of it came along.
    pub fn of(&self, old: Sequence) -> Option<Sequence> {
        let run = self.runs[..self.runs.partition_point(|run| run.old <= old)].last()?;
        let offset = old.0 - run.old.0;
        (offset < run.count).then(|| run.new.plus(offset))
    }

    /// The new place of the first that lay there or further on, or the one behind all of them.
    pub fn from(&self, old: Sequence) -> Sequence {
        if let Some(new) = self.of(old) {
            return new;
        }
        let next = self.runs.get(self.runs.partition_point(|run| run.old < old));
        let behind = || self.runs.last().map_or(Sequence::FIRST, |run| run.new.plus(run.count));
        next.map_or_else(behind, |run| run.new)
    }

    /// How far a subscription has come, in new places. What is open and did not come along has expired or was removed.
    pub fn carry(&self, progress: &Progress) -> Progress {
        let mut carried = Progress { read: self.from(progress.read), counts: progress.counts, ..Progress::default() };
        carried.letters = progress.letters.iter().filter_map(|letter| self.of(*letter)).collect();
        let skipped = progress.skipped.iter().map(|(first, end)| (self.from(*first), self.from(*end)));
        carried.skipped = skipped.filter(|(first, end)| first < end).collect();
        for run in &progress.open {
            for old in run.sequences() {
                match self.of(old) {
                    Some(first) => carried.push(OpenRun { first, count: 1, ..*run }),
                    None => carried.counts.expired += 1,
                }
            }
        }
        carried
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::broker::transfer::{Counts, Kind};

    /// A map of old places to new ones, by the distances between them.
    fn map(steps: &[(u64, u64)]) -> BTreeMap<u64, u64> {
        let (mut old, mut new) = (0, 0);
        let next = |(by_old, by_new): &(u64, u64)| {
            (old, new) = (old + by_old, new + by_new);
            (old, new)
        };
        steps.iter().map(next).collect()
    }

    fn places(map: &BTreeMap<u64, u64>) -> Places {
        let mut places = Places::default();
        map.iter().for_each(|(old, new)| places.add(Sequence(*old), Sequence(*new)));
        places
    }

    fn run(first: u64, count: u64, attempts: u32) -> OpenRun {
        OpenRun { first: Sequence(first), count, attempts, kind: Kind::Ready, is_letter: false }
    }

    #[test]
    fn what_lies_together_is_one_run() {
        let places = places(&(1..1000).map(|old| (old + 10, old)).collect());
        assert_eq!((places.runs.len(), places.last_old()), (1, Sequence(1009)));
    }

    #[test]
    fn nothing_that_was_not_settled_counts_as_settled() {
        // 3, 4, 6 and 9 came along, as 1, 2, 3 and 10.
        let places = places(&[(3, 1), (4, 2), (6, 3), (9, 10)].into());
        let progress = Progress {
            read: Sequence(8),
            counts: Counts { acked: 1, expired: 1, ..Counts::default() },
            skipped: vec![(Sequence(1), Sequence(3)), (Sequence(1), Sequence(5))],
            letters: vec![Sequence(5), Sequence(9)],
            open: vec![run(3, 1, 2), run(4, 3, 0), OpenRun { is_letter: true, ..run(9, 1, 1) }],
        };
        let expected = Progress {
            read: Sequence(10),
            counts: Counts { acked: 1, expired: 2, ..Counts::default() },
            skipped: vec![(Sequence(1), Sequence(3))],
            letters: vec![Sequence(10)],
            open: vec![run(1, 1, 2), run(2, 2, 0), OpenRun { is_letter: true, ..run(10, 1, 1) }],
        };
        assert_eq!(places.carry(&progress), expected);
        assert!(expected.is_sound());
    }

    proptest! {
        #[test]
        fn every_place_is_found_as_in_a_map(steps in proptest::collection::vec((1..4u64, 1..3u64), 0..40)) {
            let map = map(&steps);
            let places = places(&map);
            let behind = map.values().next_back().map_or(1, |last| last + 1);
            for old in 0..140 {
                prop_assert_eq!(places.of(Sequence(old)), map.get(&old).map(|new| Sequence(*new)));
                let from = map.range(old..).next().map_or(behind, |(_, new)| *new);
                prop_assert_eq!(places.from(Sequence(old)), Sequence(from));
            }
        }

        /// Message by message: settled stays settled, and what is not stays so.
        #[test]
        fn a_subscription_stands_where_it_stood(
            steps in proptest::collection::vec((1..4u64, 1..3u64), 1..40),
            read in 0..130u64,
            open in proptest::collection::btree_set(0..130u64, 0..30),
        ) {
            let map = map(&steps);
            let open: Vec<_> = open.into_iter().filter(|old| *old < read).collect();
            let mut progress = Progress { read: Sequence(read), ..Progress::default() };
            open.iter().for_each(|old| progress.push(run(*old, 1, 0)));
            let carried = places(&map).carry(&progress);
            let waits = |progress: &Progress, at: u64| {
                let is_open = progress.open.iter().flat_map(OpenRun::sequences).any(|sequence| sequence.0 == at);
                at >= progress.read.0 || is_open
            };
            for (old, new) in &map {
                prop_assert_eq!(waits(&progress, *old), waits(&carried, *new), "{} as {}", old, new);
            }
            prop_assert!(carried.is_sound());
        }
    }
}
