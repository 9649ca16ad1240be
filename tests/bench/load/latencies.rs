//! How long things took: recorded in nanoseconds, told in microseconds, to three digits.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// What takes longer is recorded as this.
const LONGEST: Duration = Duration::from_secs(60);

/// Durations of one kind of thing.
#[derive(Clone)]
pub struct Latencies(Histogram<u64>);

impl Latencies {
    /// None yet.
    pub fn new() -> Self {
        let longest = LONGEST.as_nanos() as u64;
        Latencies(Histogram::new_with_bounds(1, longest, 3).expect("bounds and digits are in range"))
    }

    /// One more, from `start` until now.
    pub fn since(&mut self, start: Instant) {
        self.0.saturating_record(start.elapsed().as_nanos() as u64);
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// So much of them took at most this, in microseconds.
    pub fn micros(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1e3
    }
}
