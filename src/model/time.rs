//! Wall time as it is stored and sent.

use std::time::Duration;

/// Nanoseconds since 1970-01-01T00:00:00Z; reaches from 1970 to 2262.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

const NANOS: i64 = 1_000_000_000;

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Timestamp = Timestamp(0);

    /// From nanoseconds since 1970; what lies before becomes 1970.
    pub fn from_nanos(nanos: i64) -> Self {
        Timestamp(nanos.max(0))
    }

    /// From the two parts of a protobuf timestamp; None outside of what is told apart here.
    pub fn from_parts(seconds: i64, nanos: i32) -> Option<Self> {
        if seconds < 0 || !(0..NANOS as i32).contains(&nanos) {
            return None;
        }
        seconds.checked_mul(NANOS)?.checked_add(nanos.into()).map(Timestamp)
    }

    /// Nanoseconds since 1970.
    pub fn nanos(self) -> i64 {
        self.0
    }

    /// The two parts of a protobuf timestamp: seconds, and nanoseconds below a second.
    pub fn parts(self) -> (i64, i32) {
        (self.0 / NANOS, (self.0 % NANOS) as i32)
    }

    /// Later by `duration`, or the latest time there is.
    pub fn plus(self, duration: Duration) -> Self {
        Timestamp(self.0.saturating_add(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// Earlier by `duration`, or 1970.
    pub fn minus(self, duration: Duration) -> Self {
        Timestamp::from_nanos(self.0.saturating_sub(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this is; zero if it is not after it.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0).max(0).unsigned_abs())
    }
}
