//! One response of a live stream as it goes on the wire: the records are copied as they lie, never encoded again.

use bytes::{BufMut, Bytes};
use prost::{Message, encoding};

use super::{convert, stream};
use crate::{broker::Event, pb::v1 as pb};

/// `SubscribeResponse.cursor`.
const CURSOR: u32 = 2;

/// Encodes an event as one gRPC message, a `tilde.v1.SubscribeResponse`, into a buffer of exactly its size: whoever
/// holds it while a reader is slow holds not a byte more.
pub fn encode(event: &Event) -> Bytes {
    let cursor = event.cursor.encode();
    let rest = rest(event);
    let mut length = encoding::string::encoded_len(CURSOR, &cursor);
    length += event.runs.iter().map(Bytes::len).sum::<usize>();
    length += rest.as_ref().map_or(0, Message::encoded_len);

    let mut out = stream::frame(length);
    for run in &event.runs {
        out.put_slice(run);
    }
    encoding::string::encode(CURSOR, &cursor, &mut out);
    if let Some(rest) = rest {
        rest.encode_raw(&mut out);
    }
    out.freeze()
}

/// Everything but messages and cursor; none in the common case.
fn rest(event: &Event) -> Option<pb::SubscribeResponse> {
    let quiet = event.started.is_none()
        && event.heartbeat.is_none()
        && event.gap.is_none()
        && event.closing.is_none()
        && !event.caught_up;
    if quiet {
        return None;
    }
    Some(pb::SubscribeResponse {
        messages: Vec::new(),
        cursor: String::new(),
        started: event.started.map(|started| pb::Started {
            stream_id: format!("{:016x}", started.stream_id),
            heartbeat_interval: Some(convert::duration(started.heartbeat_interval)),
            credentials_expire_time: None,
        }),
        heartbeat: event.heartbeat.map(convert::heartbeat),
        gap: event.gap.map(convert::gap),
        caught_up: event.caught_up,
        closing: event.closing.map(|closing| {
            convert::closing(closing, "the broker is stopping: come back after the reconnect delay, with this cursor")
        }),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{stream::PREFIX_BYTES, *};
    use crate::{
        broker::{Closing, Heartbeat, Started},
        model::{Cursor, Gap, GapReason, LogId, Payload, Sequence, Stamp, Timestamp, Topic, limits},
    };

    fn event() -> Event {
        Event {
            runs: Vec::new(),
            messages: 0,
            cursor: Cursor { log: LogId(7), after: Sequence(2), waits: false },
            started: None,
            heartbeat: None,
            gap: None,
            caught_up: false,
            closing: None,
        }
    }

    fn record(text: &str, sequence: u64) -> Bytes {
        let message = crate::model::Message::new(Topic::parse("orders/eu").unwrap(), Payload::Text(text.into()));
        let mut bytes = Vec::new();
        message.encode(limits::MESSAGE_BYTES, &mut bytes).unwrap();
        Stamp::new(Timestamp::from_nanos(1_800_000_000_000_000_007)).put(&mut bytes, Sequence(sequence));
        bytes.into()
    }

    fn decode(frame: &[u8]) -> pb::SubscribeResponse {
        assert_eq!(frame[0], 0);
        assert_eq!(u32::from_be_bytes(frame[1..5].try_into().unwrap()) as usize, frame.len() - PREFIX_BYTES);
        pb::SubscribeResponse::decode(&frame[PREFIX_BYTES..]).unwrap()
    }

    #[test]
    fn decodes_as_the_ordinary_response() {
        let both = [record("b", 2), record("c", 3)].concat().into();
        let event = Event { runs: vec![record("a", 1), both], messages: 3, ..event() };
        let response = decode(&encode(&event));
        let sequences: Vec<_> = response.messages.iter().map(|message| message.sequence).collect();
        assert_eq!(sequences, [1, 2, 3]);
        assert_eq!(response.messages[2].payload, Some(pb::message::Payload::Text("c".into())));
        assert_eq!(response.messages[0].topic, "orders/eu");
        assert_eq!(response.cursor, event.cursor.encode());
        assert!(response.started.is_none() && response.heartbeat.is_none() && response.gap.is_none());
    }

    #[test]
    fn says_everything_besides_messages() {
        let event = Event {
            started: Some(Started { stream_id: 0xab, heartbeat_interval: Duration::from_millis(1500) }),
            heartbeat: Some(Heartbeat { server_time: Timestamp::from_nanos(5), last_sequence: Sequence(9) }),
            gap: Some(Gap { reason: GapReason::Retention, first: Sequence(1), last: Sequence(4) }),
            caught_up: true,
            closing: Some(Closing { grace: Duration::from_secs(2), reconnect_delay: Duration::from_secs(1) }),
            ..event()
        };
        let response = decode(&encode(&event));
        let started = response.started.unwrap();
        assert_eq!(started.stream_id, "00000000000000ab");
        assert_eq!(started.heartbeat_interval, Some(prost_types::Duration { seconds: 1, nanos: 500_000_000 }));
        assert_eq!(response.heartbeat.unwrap().last_sequence, 9);
        let gap = response.gap.unwrap();
        assert_eq!((gap.reason(), gap.first_sequence, gap.last_sequence), (pb::gap::Reason::Retention, 1, 4));
        assert!(response.caught_up);
        assert_eq!(response.closing.unwrap().reason(), pb::closing::Reason::Draining);
    }
}
