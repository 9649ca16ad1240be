//! Where reading begins, as people write it.

use std::{fmt, str::FromStr};

use super::output;
use crate::{
    clock::{Clock as _, SystemClock},
    pb::v1::{
        StartPosition,
        start_position::{Position, Preset},
    },
    units::Span,
};

/// Says of a cursor what it is, where it is not plain.
const CURSOR: &str = "cursor:";

/// Where to begin.
#[derive(Clone, Debug, PartialEq)]
pub struct Start(pub Position);

impl FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Shorter than a sequence can be long, and than a cursor is.
        const SHORTEST_CURSOR: usize = 21;
        let position = match text {
            "new" => Position::Preset(Preset::New.into()),
            "earliest" => Position::Preset(Preset::Earliest.into()),
            _ if text.starts_with(CURSOR) => Position::AfterCursor(text[CURSOR.len()..].into()),
            _ if text.parse::<u64>().is_ok() => Position::Sequence(text.parse().unwrap_or_default()),
            _ if text.parse::<i128>().is_ok_and(|number| number < 0) => {
                return Err("a sequence is counted from the beginning, never from the end; \
                            for messages that are there already use --last N, earliest or a sequence"
                    .into());
            }
            _ => match time(text) {
                Some(time) => Position::Time(time),
                None if text.len() >= SHORTEST_CURSOR => Position::AfterCursor(text.into()),
                None => return Err("write new, earliest, a sequence, a time, how long ago, or a cursor".into()),
            },
        };
        Ok(Start(position))
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

/// A time as in 2026-11-21T10:00:00Z, or how long ago it was.
fn time(text: &str) -> Option<prost_types::Timestamp> {
    let (seconds, nanos) = match text.parse::<Span>() {
        Ok(ago) => SystemClock.now().minus(ago.0).parts(),
        Err(_) => {
            let time: jiff::Timestamp = text.parse().ok()?;
            (time.as_second(), time.subsec_nanosecond())
        }
    };
    Some(prost_types::Timestamp { seconds, nanos })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions() {
        let position = |text: &str| text.parse::<Start>().map(|start| start.0);
        assert_eq!(position("earliest"), Ok(Position::Preset(Preset::Earliest.into())));
        assert_eq!(position("18446744073709551615"), Ok(Position::Sequence(u64::MAX)));
        let cursor = "A".repeat(23);
        assert_eq!(position(&cursor), Ok(Position::AfterCursor(cursor.clone())));
        assert_eq!(position(&format!("cursor:{cursor}")), Ok(Position::AfterCursor(cursor.clone())));
        let seconds = |text: &str| match position(text) {
            Ok(Position::Time(time)) => time.seconds,
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(seconds("2026-11-21T10:00:00Z"), 1_795_255_200);
        assert_eq!(seconds("2026-11-21T12:00:00.5+02:00"), 1_795_255_200);
        assert!((7190..7210).contains(&(seconds("0s") - seconds("2h"))));
        for bad in ["earlist", "", "-1", "2x", "10:00"] {
            assert!(position(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for text in ["new", "earliest", "1042", "2026-11-21T10:00:00Z", "cursor:abc"] {
            assert_eq!(text.parse::<Start>().unwrap().to_string(), text);
        }
    }
}
