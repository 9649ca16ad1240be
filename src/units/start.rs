//! Where reading begins, as people write it.

use std::{str::FromStr, time::Duration};

use super::Span;

/// Says of a cursor what it is, where it is not plain.
pub const CURSOR: &str = "cursor:";

/// Where to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// `new`: with what is published from now on.
    New,
    /// `earliest`: with everything still kept.
    Earliest,
    /// A number: with the message that has this sequence.
    Sequence(u64),
    /// As in `2026-11-21T10:00:00Z`: with what was published then or later.
    Time(jiff::Timestamp),
    /// As in `2h`: with what was published so long ago or later.
    Ago(Duration),
    /// After what a cursor has seen.
    Cursor(String),
}

impl FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Shorter than a sequence can be long, and than a cursor is.
        const SHORTEST_CURSOR: usize = 21;
        Ok(match text {
            "new" => Start::New,
            "earliest" => Start::Earliest,
            _ if text.starts_with(CURSOR) => Start::Cursor(text[CURSOR.len()..].into()),
            _ if text.parse::<u64>().is_ok() => Start::Sequence(text.parse().unwrap_or_default()),
            _ if text.parse::<i128>().is_ok_and(|number| number < 0) => {
                return Err(
                    "a sequence is counted from the beginning, never from the end: write earliest, a sequence or a \
                            time, or ask for the last so many messages"
                        .into(),
                );
            }
            _ => match (text.parse::<Span>(), text.parse::<jiff::Timestamp>()) {
                (Ok(Span(ago)), _) => Start::Ago(ago),
                (_, Ok(time)) => Start::Time(time),
                _ if text.len() >= SHORTEST_CURSOR => Start::Cursor(text.into()),
                _ => return Err("write new, earliest, a sequence, a time, how long ago, or a cursor".into()),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions() {
        let cursor = "A".repeat(23);
        for (text, expected) in [
            ("new", Start::New),
            ("earliest", Start::Earliest),
            ("18446744073709551615", Start::Sequence(u64::MAX)),
            ("2h", Start::Ago(Duration::from_secs(7_200))),
            (&cursor, Start::Cursor(cursor.clone())),
            (&format!("cursor:{cursor}"), Start::Cursor(cursor.clone())),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        let seconds = |text: &str| match text.parse() {
            Ok(Start::Time(time)) => time.as_second(),
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(seconds("2026-11-21T10:00:00Z"), 1_795_255_200);
        assert_eq!(seconds("2026-11-21T12:00:00.5+02:00"), 1_795_255_200);
        for bad in ["earlist", "", "-1", "2x", "10:00"] {
            assert!(bad.parse::<Start>().is_err(), "{bad}");
        }
    }
}
