//! When messages were handed over, until they are answered. Only some of them: looking at the clock costs as much as
//! encoding a message.

use std::time::{Duration, Instant};

use super::latencies::Latencies;

/// So many of those in flight are timed, if there are more.
const TIMED: u64 = 64;

/// Start times by the messages' numbers.
#[derive(Debug, Default)]
pub struct Timed {
    every: u64,
    slots: Vec<(u64, Option<Instant>)>,
}

impl Timed {
    /// Of so many that may be in flight. What is beyond is not timed.
    pub fn new(in_flight: u64) -> Timed {
        let every = (in_flight / TIMED).max(1);
        Timed { every, slots: vec![(0, None); in_flight.div_ceil(every) as usize + 1] }
    }

    /// So many from `first` on are handed over now.
    pub fn sent(&mut self, first: u64, count: u64) {
        for number in self.within(first, count) {
            *self.slot(number) = (number, Some(Instant::now()));
        }
    }

    /// So many from `first` on are answered.
    pub fn answered(&mut self, first: u64, count: u64, now: Instant, latencies: &mut Latencies) {
        for number in self.within(first, count) {
            if let (of, start @ Some(_)) = self.slot(number)
                && *of == number
            {
                latencies.record(start.take().map_or(Duration::ZERO, |start| now.saturating_duration_since(start)));
            }
        }
    }

    /// The numbers within a range that are timed.
    fn within(&self, first: u64, count: u64) -> impl Iterator<Item = u64> + use<> {
        (first.next_multiple_of(self.every)..first + count).step_by(self.every as usize)
    }

    fn slot(&mut self, number: u64) -> &mut (u64, Option<Instant>) {
        let slots = self.slots.len() as u64;
        &mut self.slots[(number / self.every % slots) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_of_those_in_flight_are_timed() {
        let mut timed = Timed::new(1_024);
        assert_eq!(timed.within(1, 40).collect::<Vec<_>>(), [16, 32]);
        let mut latencies = Latencies::new();
        for first in (0..1_024).step_by(8) {
            timed.sent(first, 8);
        }
        timed.answered(512, 512, Instant::now(), &mut latencies);
        assert_eq!(latencies.count(), 32);
        timed.answered(0, 512, Instant::now(), &mut latencies);
        timed.answered(0, 512, Instant::now(), &mut latencies);
        assert_eq!(latencies.count(), 64, "each is timed once");
    }

    #[test]
    fn one_at_a_time_is_timed_every_time() {
        let (mut timed, mut latencies) = (Timed::new(1), Latencies::new());
        for first in 0..100 {
            timed.sent(first, 1);
            timed.answered(first, 1, Instant::now(), &mut latencies);
        }
        assert_eq!(latencies.count(), 100);
    }
}
