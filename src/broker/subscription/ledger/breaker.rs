//! Whether what consumers do has a chance at all. When most of the recent attempts failed, the subscription is tripped:
//! it tries one message at a time, with a pause after each failure, until one succeeds. So a broken consumer does not use
//! up the attempts of everything that waits. Pure: it is told the time.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// So many of the last attempts are looked at.
const LOOKED_AT: usize = 20;
/// With fewer it is too early to judge.
const LEAST: usize = 10;
/// The longest pause between two tries.
const LONGEST: Duration = Duration::from_secs(30);
/// The first pause; each failure doubles it.
const FIRST: Duration = Duration::from_millis(500);

/// The recent attempts of one subscription, and what follows from them.
#[derive(Clone, Debug, Default)]
pub struct Breaker {
    // Whether they failed, oldest first.
    recent: VecDeque<bool>,
    failed: usize,
    tripped: Option<Tripped>,
}

#[derive(Clone, Debug)]
struct Tripped {
    failures: u32,
    next: Instant,
}

impl Breaker {
    /// A message was settled.
    pub fn succeeded(&mut self) {
        match self.tripped.take() {
            // What was before says nothing about what is now.
            Some(_) => (self.recent, self.failed) = Default::default(),
            None => self.count(false),
        }
    }

    /// An attempt failed.
    pub fn failed(&mut self, now: Instant) {
        if let Some(tripped) = &mut self.tripped {
            if now < tripped.next {
                // It began before: one consumer that breaks with all that it has says no more than one that has little.
                return;
            }
            tripped.failures = tripped.failures.saturating_add(1);
            tripped.next = now + pause(tripped.failures);
            return;
        }
        self.count(true);
        if self.recent.len() >= LEAST && self.failed * 2 > self.recent.len() {
            self.tripped = Some(Tripped { failures: 1, next: now + pause(1) });
        }
    }

    /// When the next message may be tried, and nothing beside it; None while all is well.
    pub fn next_try(&self) -> Option<Instant> {
        self.tripped.as_ref().map(|tripped| tripped.next)
    }

    fn count(&mut self, failed: bool) {
        if self.recent.len() == LOOKED_AT {
            self.failed -= usize::from(self.recent.pop_front() == Some(true));
        }
        self.recent.push_back(failed);
        self.failed += usize::from(failed);
    }
}

fn pause(failures: u32) -> Duration {
    FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_trips_when_most_fail_and_recovers_with_the_first_success() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        (0..LEAST - 1).for_each(|_| breaker.failed(now));
        assert_eq!(breaker.next_try(), None, "too early to judge");
        breaker.failed(now);
        assert_eq!(breaker.next_try(), Some(now + FIRST));
        (0..100).for_each(|_| breaker.failed(now));
        assert_eq!(breaker.next_try(), Some(now + FIRST), "they began before");
        let mut now = now + FIRST;
        breaker.failed(now);
        assert_eq!(breaker.next_try(), Some(now + 2 * FIRST));
        for _ in 0..50 {
            now = breaker.next_try().unwrap();
            breaker.failed(now);
        }
        assert_eq!(breaker.next_try(), Some(now + LONGEST));
        breaker.succeeded();
        assert_eq!(breaker.next_try(), None);
        (0..LEAST - 1).for_each(|_| breaker.failed(now));
        assert_eq!(breaker.next_try(), None, "what was before does not count");
    }

    #[test]
    fn half_is_not_most_and_what_is_long_past_does_not_count() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..100 {
            breaker.succeeded();
            breaker.failed(now);
        }
        assert_eq!(breaker.next_try(), None);
        breaker.failed(now);
        assert!(breaker.next_try().is_some(), "11 of the last 20");
    }
}
