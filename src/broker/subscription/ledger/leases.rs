//! When leases end. Nearly all of a subscription's last equally long, so their ends come in order and stand in a line;
//! those that do not stand apart. Whoever is settled early stays in the line until it is his turn, or until the line is
//! mostly such. Pure.

use std::collections::{BTreeSet, VecDeque};

use tokio::time::Instant;

use crate::model::Sequence;

/// The line is not tidied as long as it is shorter.
const SHORT: usize = 1_024;

/// The ends of leases: when, of which message, which lease.
#[derive(Debug, Default)]
pub struct Leases {
    line: VecDeque<(Instant, Sequence, u32)>,
    apart: BTreeSet<(Instant, Sequence, u32)>,
    // There were so many when it was tidied last.
    tidied: usize,
}

impl Leases {
    /// A lease ends then, as long from now as most do.
    pub fn add(&mut self, end: Instant, sequence: Sequence, lease: u32) {
        match self.line.back() {
            // The rules have changed since.
            Some((last, ..)) if *last > end => self.add_apart(end, sequence, lease),
            _ => self.line.push_back((end, sequence, lease)),
        }
    }

    /// A lease ends then, which is sooner or later than most do.
    pub fn add_apart(&mut self, end: Instant, sequence: Sequence, lease: u32) {
        self.apart.insert((end, sequence, lease));
    }

    /// Takes the next whose end has come.
    pub fn pop_due(&mut self, now: Instant) -> Option<(Instant, Sequence, u32)> {
        if let Some(first) = self.apart.first()
            && first.0 <= now
        {
            return self.apart.pop_first();
        }
        let is_due = self.line.front().is_some_and(|first| first.0 <= now);
        if is_due { self.line.pop_front() } else { None }
    }

    /// When the next ends that `is_live`; those before it are dropped.
    pub fn first(&mut self, is_live: impl Fn(Sequence, u32, Instant) -> bool) -> Option<Instant> {
        let is_over = |entry: &(Instant, Sequence, u32)| !is_live(entry.1, entry.2, entry.0);
        while self.line.front().is_some_and(is_over) {
            self.line.pop_front();
        }
        while let Some(first) = self.apart.first()
            && is_over(first)
        {
            self.apart.pop_first();
        }
        let ends = [self.line.front(), self.apart.first()];
        ends.into_iter().flatten().map(|(end, ..)| *end).min()
    }

    /// Drops what is not live, if there may be much of it: on the whole it costs as much as adding did.
    pub fn tidy(&mut self, is_live: impl Fn(Sequence, u32, Instant) -> bool) {
        let length = self.line.len() + self.apart.len();
        if length > SHORT && length > 2 * self.tidied {
            self.line.retain(|(end, sequence, lease)| is_live(*sequence, *lease, *end));
            self.apart.retain(|(end, sequence, lease)| is_live(*sequence, *lease, *end));
            self.tidied = self.line.len() + self.apart.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn ends_come_in_order_wherever_they_stand() {
        let (mut leases, now) = (Leases::default(), Instant::now());
        let at = |seconds| now + Duration::from_secs(seconds);
        leases.add(at(30), Sequence(1), 0);
        leases.add(at(31), Sequence(2), 0);
        leases.add_apart(at(5), Sequence(3), 0);
        leases.add(at(32), Sequence(4), 0);
        assert_eq!(leases.first(|_, _, _| true), Some(at(5)));
        assert_eq!(leases.pop_due(at(4)), None);
        assert_eq!(leases.pop_due(at(30)), Some((at(5), Sequence(3), 0)));
        assert_eq!(leases.pop_due(at(30)), Some((at(30), Sequence(1), 0)));
        assert_eq!(leases.pop_due(at(30)), None);
        assert_eq!(leases.first(|sequence, _, _| sequence == Sequence(4)), Some(at(32)), "2 was settled");
    }

    #[test]
    fn what_was_settled_does_not_pile_up() {
        let (mut leases, now) = (Leases::default(), Instant::now());
        for sequence in 0..100_000 {
            leases.add(now, Sequence(sequence), 0);
            leases.tidy(|live, _, _| live.0 + 10 > sequence);
        }
        assert!(leases.line.len() <= 2 * SHORT, "{}", leases.line.len());
    }
}
