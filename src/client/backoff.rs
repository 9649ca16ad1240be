//! How long to wait before the next try. Never sleeps itself.

use std::time::Duration;

use crate::clock::Clock;

/// Grows with every try, with full jitter: any time up to the bound is as likely, so that many clients come back one
/// by one (Brooker, Exponential Backoff And Jitter, 2015).
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    tries: u32,
}

impl Backoff {
    /// The first wait is up to `first`, and none is longer than `most`.
    pub fn new(first: Duration, most: Duration) -> Self {
        Backoff { first, most, tries: 0 }
    }

    /// The next wait. `asked` is what the broker asked for: that much at least.
    pub fn next(&mut self, clock: &dyn Clock, asked: Option<Duration>) -> Duration {
        let bound = self.first.saturating_mul(1 << self.tries.min(20)).min(self.most);
        self.tries += 1;
        // The upper 53 bits are as many as a float tells apart.
        let share = (clock.random() >> 11) as f64 / (1u64 << 53) as f64;
        asked.unwrap_or_default() + bound.mul_f64(share)
    }

    /// It worked: begins anew.
    pub fn reset(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::ManualClock, model::Timestamp};

    #[test]
    fn grows_up_to_its_bound_and_honours_what_was_asked() {
        let clock = ManualClock::new(Timestamp::EPOCH, 7);
        let (first, most) = (Duration::from_millis(100), Duration::from_secs(5));
        let mut backoff = Backoff::new(first, most);
        let mut bound = first;
        for _ in 0..40 {
            assert!(backoff.next(&clock, None) <= bound);
            bound = (bound * 2).min(most);
        }
        assert!(backoff.next(&clock, Some(most)) >= most);
        backoff.reset();
        assert!(backoff.next(&clock, None) <= first);
    }
}
