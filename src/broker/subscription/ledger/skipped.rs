//! What was passed over without being handed out, so that it can be told from what was settled. Only the newest ranges are
//! known: of what they forget it is said that it was settled. Pure.

use std::collections::VecDeque;

use crate::model::Sequence;

/// So many ranges are known.
pub const RANGES: usize = 256;

/// Ranges that were passed over, in the order in which that happened: the first of each, and the first behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skipped(VecDeque<(Sequence, Sequence)>);

impl Skipped {
    /// What lies from `first` up to `end` is passed over. Nothing does if they do not rise.
    pub fn add(&mut self, first: Sequence, end: Sequence) {
        if first >= end {
            return;
        }
        match self.0.back_mut() {
            Some((_, last)) if *last == first => *last = end,
            _ => self.0.push_back((first, end)),
        }
        if self.0.len() > RANGES {
            self.0.pop_front();
        }
    }

    /// From here on nothing is passed over.
    pub fn cut(&mut self, from: Sequence) {
        self.0.retain_mut(|(first, end)| {
            *end = (*end).min(from);
            first < end
        });
    }

    /// Whether it was passed over.
    pub fn contains(&self, sequence: Sequence) -> bool {
        self.0.iter().any(|(first, end)| (*first..*end).contains(&sequence))
    }

    /// The ranges, to be kept.
    pub fn ranges(&self) -> impl ExactSizeIterator<Item = (Sequence, Sequence)> + '_ {
        self.0.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_grow_and_are_cut_and_the_oldest_is_forgotten() {
        let mut skipped = Skipped::default();
        skipped.add(Sequence(1), Sequence(5));
        skipped.add(Sequence(5), Sequence(8));
        skipped.add(Sequence(9), Sequence(9));
        assert_eq!(skipped.ranges().collect::<Vec<_>>(), [(Sequence(1), Sequence(8))]);
        assert!(skipped.contains(Sequence(7)) && !skipped.contains(Sequence(8)));
        skipped.add(Sequence(20), Sequence(30));
        skipped.cut(Sequence(6));
        assert!(skipped.contains(Sequence(5)) && !skipped.contains(Sequence(6)) && !skipped.contains(Sequence(25)));
        (100..100 + RANGES as u64).for_each(|at| skipped.add(Sequence(2 * at), Sequence(2 * at + 1)));
        assert!(!skipped.contains(Sequence(5)) && skipped.contains(Sequence(200)));
    }
}
