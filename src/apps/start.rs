//! Where reading begins, as the contract says what people write.

use std::{fmt, str::FromStr};

use super::output;
use crate::{
    clock::{Clock as _, SystemClock},
    pb::v1::{
        StartPosition,
        start_position::{Position, Preset},
    },
    units,
};

/// Says of a cursor what it is.
const CURSOR: &str = "cursor:";

/// Where to begin.
#[derive(Clone, Debug, PartialEq)]
pub struct Start(pub Position);

impl FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let time = |(seconds, nanos)| Position::Time(prost_types::Timestamp { seconds, nanos });
        Ok(Start(match text.parse()? {
            units::Start::New => Position::Preset(Preset::New.into()),
            units::Start::Earliest => Position::Preset(Preset::Earliest.into()),
            units::Start::Sequence(sequence) => Position::Sequence(sequence),
            units::Start::Time(at) => time((at.as_second(), at.subsec_nanosecond())),
            units::Start::Ago(ago) => time(SystemClock.now().minus(ago).parts()),
            units::Start::Cursor(cursor) => Position::AfterCursor(cursor),
        }))
    }
}

/// As it is written.
impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Position::Preset(preset) if *preset == i32::from(Preset::Earliest) => f.write_str("earliest"),
            Position::Preset(_) => f.write_str("new"),
            Position::AfterCursor(cursor) => write!(f, "{CURSOR}{cursor}"),
            Position::Sequence(sequence) => write!(f, "{sequence}"),
            Position::Time(time) => f.write_str(&output::time(Some(time))),
            Position::LastMessages(last) => write!(f, "last {last}"),
        }
    }
}

impl From<Start> for StartPosition {
    fn from(start: Start) -> StartPosition {
        StartPosition { position: Some(start.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_ago_is_a_time() {
        let seconds = |text: &str| match text.parse::<Start>().map(|start| start.0) {
            Ok(Position::Time(time)) => time.seconds,
            other => panic!("{text}: {other:?}"),
        };
        assert!((7190..7210).contains(&(seconds("0s") - seconds("2h"))));
    }

    #[test]
    fn what_is_written_is_read_again() {
        for text in ["new", "earliest", "1042", "2026-11-21T10:00:00Z", "cursor:abc"] {
            assert_eq!(text.parse::<Start>().unwrap().to_string(), text);
        }
    }
}
