//! How long things took: recorded in nanoseconds, told in microseconds, to three digits.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use serde::Serialize;

/// What takes longer is recorded as this.
const LONGEST: Duration = Duration::from_secs(60);

/// Durations of one kind of thing.
#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u64>);

/// What a run tells of them, in microseconds; all 0 if there are none.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Told {
    /// Half of them took at most this.
    pub p50_us: f64,
    /// 99 of 100.
    pub p99_us: f64,
    /// 999 of 1,000.
    pub p999_us: f64,
    /// All of them.
    pub max_us: f64,
}

impl Latencies {
    /// None yet.
    pub fn new() -> Self {
        let longest = LONGEST.as_nanos() as u64;
        Latencies(Histogram::new_with_bounds(1, longest, 3).expect("bounds and digits are in range"))
    }

    /// One more.
    pub fn record(&mut self, took: Duration) {
        self.0.saturating_record(took.as_nanos() as u64);
    }

    /// One more, from `start` until now.
    pub fn since(&mut self, start: Instant) {
        self.record(start.elapsed());
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// So much of them took at most this, in microseconds.
    pub fn micros(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1e3
    }

    /// The usual four.
    pub fn told(&self) -> Told {
        let [p50_us, p99_us, p999_us, max_us] = [0.5, 0.99, 0.999, 1.0].map(|quantile| self.micros(quantile));
        Told { p50_us, p99_us, p999_us, max_us }
    }
}

/// What several tasks record together: one takes some hundred KiB.
#[derive(Clone, Debug, Default)]
pub struct Gathered(Arc<Mutex<Latencies>>);

impl Gathered {
    /// For as long as it takes to record some.
    pub fn lock(&self) -> MutexGuard<'_, Latencies> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Latencies {
    fn default() -> Self {
        Latencies::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_all_that_were_recorded() {
        let first = Gathered::default();
        let second = first.clone();
        for n in 1..=500 {
            first.lock().record(Duration::from_micros(n));
            second.lock().record(Duration::from_micros(n + 500));
        }
        let told = first.lock().told();
        let near = |told: f64, exact: f64| (told - exact).abs() <= exact / 500.0;
        assert_eq!(first.lock().count(), 1_000);
        assert!(near(told.p50_us, 500.0) && near(told.p99_us, 990.0), "{told:?}");
        assert!(near(told.p999_us, 999.0) && near(told.max_us, 1_000.0), "{told:?}");
    }

    #[test]
    fn what_takes_too_long_is_the_longest() {
        let mut latencies = Latencies::new();
        latencies.record(Duration::from_secs(3_600));
        assert!((latencies.told().max_us / 60e6 - 1.0).abs() < 0.002);
        assert_eq!(Latencies::new().told().max_us, 0.0);
    }
}
