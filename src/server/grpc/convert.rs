//! The pieces that several services translate: times, durations, durability, positions, pages. Everything that comes in is
//! checked here and names its field when it is refused.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    broker::{Closing, Heartbeat},
    model::{Cursor, Durability, Error, Gap, GapReason, Position, Reason, Result, Sequence, Timestamp, limits},
    pb::v1 as pb,
};

/// The longest that protobuf knows: about 10,000 years.
const DURATION_SECONDS: i64 = 315_576_000_000;
/// What the rows of one response may take together.
const RESPONSE_BYTES: usize = 1 << 20;

/// Out.
pub fn timestamp(time: Timestamp) -> prost_types::Timestamp {
    let (seconds, nanos) = time.parts();
    prost_types::Timestamp { seconds, nanos }
}

/// In: from 1970 to 2262.
pub fn parse_timestamp(time: prost_types::Timestamp, field: &str) -> Result<Timestamp> {
    Timestamp::from_parts(time.seconds, time.nanos)
        .ok_or_else(|| invalid(field, "is no time between 1970 and 2262 with 0 to 999,999,999 nanoseconds"))
}

/// Out.
pub fn duration(duration: Duration) -> prost_types::Duration {
    let seconds = i64::try_from(duration.as_secs()).unwrap_or(DURATION_SECONDS).min(DURATION_SECONDS);
    prost_types::Duration { seconds, nanos: duration.subsec_nanos() as i32 }
}

/// In: valid as protobuf has it, and not negative.
pub fn parse_duration(duration: prost_types::Duration, field: &str) -> Result<Duration> {
    let valid = (0..=DURATION_SECONDS).contains(&duration.seconds) && (0..1_000_000_000).contains(&duration.nanos);
    match valid {
        true => Ok(Duration::new(duration.seconds.unsigned_abs(), duration.nanos.unsigned_abs())),
        false => Err(invalid(field, "is no duration of zero or more, with 0 to 999,999,999 nanoseconds")),
    }
}

/// Out.
pub fn durability(durability: Durability) -> i32 {
    let durability = match durability {
        Durability::Memory => pb::Durability::Memory,
        Durability::Written => pb::Durability::Written,
        Durability::Synced => pb::Durability::Synced,
        Durability::Replicated => pb::Durability::Replicated,
    };
    durability.into()
}

/// In: none if it is left open.
pub fn parse_durability(value: i32, field: &str) -> Result<Option<Durability>> {
    Ok(match pb::Durability::try_from(value) {
        Ok(pb::Durability::Unspecified) => None,
        Ok(pb::Durability::Memory) => Some(Durability::Memory),
        Ok(pb::Durability::Written) => Some(Durability::Written),
        Ok(pb::Durability::Synced) => Some(Durability::Synced),
        Ok(pb::Durability::Replicated) => Some(Durability::Replicated),
        Err(_) => return Err(unknown_value(value, field)),
    })
}

/// In: where reading begins; with what is new if it is left out.
pub fn position(start: Option<pb::StartPosition>, field: &str) -> Result<Position> {
    use pb::start_position::{Position as Start, Preset};
    Ok(match start.and_then(|start| start.position) {
        None => Position::New,
        Some(Start::Preset(preset)) => match Preset::try_from(preset) {
            Ok(Preset::Unspecified | Preset::New) => Position::New,
            Ok(Preset::Earliest) => Position::Earliest,
            Ok(Preset::LastPerTopic) => Position::LastPerTopic,
            Err(_) => return Err(unknown_value(preset, &format!("{field}.preset"))),
        },
        Some(Start::Time(time)) => Position::Time(parse_timestamp(time, &format!("{field}.time"))?),
        Some(Start::LastMessages(count)) => match count {
            1..=limits::LAST_MESSAGES => Position::Last(count),
            _ => {
                let what = format!("is {count}: it takes 1 to {}", limits::LAST_MESSAGES);
                return Err(invalid(&format!("{field}.last_messages"), &what));
            }
        },
        Some(Start::AfterCursor(cursor)) => {
            Position::After(Cursor::parse(&cursor).map_err(|error| error.field(format!("{field}.after_cursor")))?)
        }
        Some(Start::Sequence(sequence)) => Position::At(Sequence(sequence)),
    })
}

/// Out.
pub fn start_position(position: Position) -> pb::StartPosition {
    use pb::start_position::{Position as Start, Preset};
    let position = match position {
        Position::New => Start::Preset(Preset::New.into()),
        Position::Earliest => Start::Preset(Preset::Earliest.into()),
        Position::LastPerTopic => Start::Preset(Preset::LastPerTopic.into()),
        Position::After(cursor) => Start::AfterCursor(cursor.encode()),
        Position::At(sequence) => Start::Sequence(sequence.0),
        Position::Time(time) => Start::Time(timestamp(time)),
        Position::Last(count) => Start::LastMessages(count),
    };
    pb::StartPosition { position: Some(position) }
}

/// In: the default if it is left out, or zero.
pub fn heartbeat_interval(interval: Option<prost_types::Duration>) -> Result<Duration> {
    const FIELD: &str = "heartbeat_interval";
    let interval = interval.map(|interval| parse_duration(interval, FIELD)).transpose()?.unwrap_or_default();
    match interval {
        Duration::ZERO => Ok(limits::HEARTBEAT_DEFAULT),
        interval if (limits::HEARTBEAT_MIN..=limits::HEARTBEAT_MAX).contains(&interval) => Ok(interval),
        _ => {
            let (least, most) = (limits::HEARTBEAT_MIN.as_secs(), limits::HEARTBEAT_MAX.as_secs());
            Err(invalid(FIELD, &format!("takes {least} s to {most} s; leave it out for the default")))
        }
    }
}

/// Out.
pub fn heartbeat(heartbeat: Heartbeat) -> pb::Heartbeat {
    let server_time = Some(timestamp(heartbeat.server_time));
    pb::Heartbeat { server_time, last_sequence: heartbeat.last_sequence.0 }
}

/// Out: the broker drains; there is no other planned end so far.
pub fn closing(closing: Closing, message: &str) -> pb::Closing {
    pb::Closing {
        reason: pb::closing::Reason::Draining.into(),
        grace: Some(duration(closing.grace)),
        reconnect_delay: Some(duration(closing.reconnect_delay)),
        message: message.to_owned(),
    }
}

/// Out.
pub fn gap(gap: Gap) -> pb::Gap {
    let reason = match gap.reason {
        GapReason::Skipped => pb::gap::Reason::Skipped,
        GapReason::Retention => pb::gap::Reason::Retention,
        GapReason::LogReplaced => pb::gap::Reason::LogReplaced,
    };
    pb::Gap { reason: reason.into(), first_sequence: gap.first.0, last_sequence: gap.last.0 }
}

/// Refuses a number that the enum does not have: a newer client asks for what this broker cannot do.
pub fn unknown_value(value: i32, field: &str) -> Error {
    invalid(field, &format!("has the value {value}, which this broker does not know"))
}

/// Refuses a field of a request.
pub fn invalid(field: &str, what: &str) -> Error {
    Error::new(Reason::RequestInvalid, format!("{field} {what}")).field(field)
}

/// The token of a page that begins behind a name, whether there is such a one or not.
pub fn page_after(name: &str) -> String {
    URL_SAFE_NO_PAD.encode(name)
}

/// What a listing asks for: how many rows, after which name.
#[derive(Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// Rows, 1 to 1,000.
    pub rows: usize,
    /// The last name of the page before; empty at the beginning.
    pub after: String,
}

impl PageRequest {
    /// In: more rows than there may be are cut to what may be.
    pub fn parse(size: u32, token: &str) -> Result<Self> {
        let rows = match size {
            0 => limits::PAGE_ROWS_DEFAULT,
            size => (size as usize).min(limits::PAGE_ROWS),
        };
        let name = URL_SAFE_NO_PAD.decode(token).ok().and_then(|name| String::from_utf8(name).ok());
        match name {
            Some(after) => Ok(PageRequest { rows, after }),
            None => {
                Err(invalid("page_token", "is none of this broker: pass back `next_page_token` as it was received"))
            }
        }
    }

    /// Rows to ask for: one more, which tells whether there is another page.
    pub fn wanted(&self) -> usize {
        self.rows + 1
    }

    /// Out: cuts the rows that were found to what one response carries, and answers the token of the next page, empty
    /// if there is none.
    pub fn cut<T>(&self, rows: &mut Vec<T>, bytes: impl Fn(&T) -> usize, name: impl Fn(&T) -> &str) -> String {
        let mut room = RESPONSE_BYTES;
        let fitting = rows.iter().take(self.rows).take_while(|row| match room.checked_sub(bytes(row)) {
            Some(left) => {
                room = left;
                true
            }
            None => false,
        });
        let keep = fitting.count();
        if keep == rows.len() {
            return String::new();
        }
        rows.truncate(keep);
        rows.last().map(|row| page_after(name(row))).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LogId;

    #[test]
    fn durations_and_times_are_checked_and_name_their_field() {
        let good = prost_types::Duration { seconds: 1, nanos: 5 };
        assert_eq!(parse_duration(good, "ttl").unwrap(), Duration::new(1, 5));
        assert_eq!(duration(Duration::new(1, 5)), good);
        for (seconds, nanos) in [(-1, 0), (0, -1), (0, 1_000_000_000), (i64::MAX, 0), (1, i32::MIN)] {
            let error = parse_duration(prost_types::Duration { seconds, nanos }, "ttl").unwrap_err();
            assert_eq!((error.reason(), error.violated_field()), (Reason::RequestInvalid, Some("ttl")));
        }
        let now = Timestamp::from_nanos(1_800_000_000_000_000_001);
        assert_eq!(parse_timestamp(timestamp(now), "before").unwrap(), now);
        for (seconds, nanos) in [(-1, 0), (0, 1_000_000_000), (i64::MAX, 0)] {
            let error = parse_timestamp(prost_types::Timestamp { seconds, nanos }, "before").unwrap_err();
            assert_eq!(error.violated_field(), Some("before"));
        }
    }

    #[test]
    fn durability_comes_back_and_unknown_values_are_refused() {
        use Durability::*;
        for value in [Memory, Written, Synced, Replicated] {
            assert_eq!(parse_durability(durability(value), "durability").unwrap(), Some(value));
        }
        assert_eq!(parse_durability(0, "durability").unwrap(), None);
        assert_eq!(parse_durability(9, "durability").unwrap_err().violated_field(), Some("durability"));
    }

    #[test]
    fn every_position_comes_back_and_a_refusal_names_the_field() {
        use pb::start_position::Position as Start;
        let cursor = Cursor { log: LogId(1), after: Sequence(2), waits: false };
        let positions = [
            Position::New,
            Position::Earliest,
            Position::LastPerTopic,
            Position::After(cursor),
            Position::At(Sequence(3)),
            Position::Time(Timestamp::from_nanos(4)),
            Position::Last(5),
        ];
        for there in positions {
            assert_eq!(position(Some(start_position(there)), "start").unwrap(), there);
        }
        assert_eq!(position(None, "start").unwrap(), Position::New);
        let refused = [
            ("preset", Start::Preset(9)),
            ("time", Start::Time(prost_types::Timestamp { seconds: -1, nanos: 0 })),
            ("last_messages", Start::LastMessages(0)),
            ("after_cursor", Start::AfterCursor("x".into())),
        ];
        for (field, start) in refused {
            let refusal = position(Some(pb::StartPosition { position: Some(start) }), "a.start").unwrap_err();
            assert_eq!(refusal.violated_field(), Some(format!("a.start.{field}").as_str()));
        }
    }

    #[test]
    fn pages_go_on_where_the_last_one_ended() {
        assert_eq!(PageRequest::parse(0, "").unwrap().rows, limits::PAGE_ROWS_DEFAULT);
        assert_eq!(PageRequest::parse(u32::MAX, "").unwrap().rows, limits::PAGE_ROWS);
        assert!(PageRequest::parse(1, "no token").is_err());

        let page = PageRequest::parse(2, "").unwrap();
        let mut rows = vec!["a", "b", "c"];
        let token = page.cut(&mut rows, |row| row.len(), |row| row);
        assert_eq!((rows, PageRequest::parse(2, &token).unwrap().after.as_str()), (vec!["a", "b"], "b"));
        assert_eq!(page.cut(&mut vec!["c"], |row| row.len(), |row| row), "");

        let mut large = vec!["a", "b"];
        assert_ne!(page.cut(&mut large, |_| RESPONSE_BYTES / 2 + 1, |row| row), "");
        assert_eq!(large, ["a"]);
    }
}
