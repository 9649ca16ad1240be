//! Time and chance, so that both can be played. Nothing else in Tilde reads a clock or makes a random number.

use std::{
    fmt,
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use crate::model::Timestamp;

/// Where time and chance come from. Sleeping is tokio's, whose time tests can pause.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Wall time: for what is stored and sent. May jump.
    fn now(&self) -> Timestamp;

    /// A random number, good enough for identities that nobody may guess.
    fn random(&self) -> u64;

    /// `duration` with up to a tenth taken off or added, so that many do not act at once.
    fn jitter(&self, duration: Duration) -> Duration {
        duration.mul_f64(0.9 + 0.2 * (self.random() >> 11) as f64 / (1u64 << 53) as f64)
    }
}

/// The machine's.
#[derive(Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_nanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
    }

    fn random(&self) -> u64 {
        getrandom::u64().expect("the operating system has random numbers once it runs")
    }
}

/// One that stands still until it is moved, and whose chance is the same in every run.
#[derive(Debug)]
pub struct ManualClock {
    now: AtomicI64,
    seed: AtomicU64,
}

impl ManualClock {
    /// Stands at `now`; the random numbers follow from `seed`.
    pub fn new(now: Timestamp, seed: u64) -> Self {
        ManualClock { now: AtomicI64::new(now.nanos()), seed: AtomicU64::new(seed) }
    }

    /// Moves on.
    pub fn advance(&self, duration: Duration) {
        self.set(self.now().plus(duration));
    }

    /// Jumps, backwards too.
    pub fn set(&self, now: Timestamp) {
        self.now.store(now.nanos(), Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(self.now.load(Ordering::Relaxed))
    }

    /// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
    fn random(&self) -> u64 {
        let mut z = self.seed.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
