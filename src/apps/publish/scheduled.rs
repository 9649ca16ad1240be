//! When what was published is delivered, if that is not at once.

use std::fmt;

use prost_types::Timestamp;
use serde::Serialize;

use super::super::output;
use crate::clock::{Clock as _, SystemClock};

/// A time ahead, or none.
#[derive(Serialize)]
pub struct Scheduled {
    #[serde(skip_serializing_if = "String::is_empty")]
    deliver_time: String,
}

impl Scheduled {
    /// For what was asked of a message that the broker took at `taken`: a time that had passed by then changes nothing.
    pub fn at(deliver_time: Option<Timestamp>, taken: Option<Timestamp>) -> Self {
        let parts = |time: Timestamp| (time.seconds, time.nanos);
        let ahead = deliver_time.filter(|time| Some(parts(*time)) > taken.map(parts));
        Scheduled { deliver_time: output::time(ahead.as_ref()) }
    }

    /// For what is published from now on.
    pub fn from_now(deliver_time: Option<Timestamp>) -> Self {
        let (seconds, nanos) = SystemClock.now().parts();
        Scheduled::at(deliver_time, Some(Timestamp { seconds, nanos }))
    }
}

/// Stands behind what else is said of it.
impl fmt::Display for Scheduled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.deliver_time.as_str() {
            "" => Ok(()),
            time => write!(f, ", scheduled for {time}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_time_ahead_is_told() {
        let time = |seconds| Some(Timestamp { seconds, nanos: 0 });
        assert_eq!(Scheduled::at(time(2), time(1)).to_string(), ", scheduled for 1970-01-01T00:00:02Z");
        for (asked, taken) in [(None, time(1)), (time(1), time(1)), (time(1), time(2))] {
            assert_eq!(Scheduled::at(asked, taken).to_string(), "");
        }
        assert_eq!(Scheduled::from_now(time(1)).to_string(), "");
    }
}
