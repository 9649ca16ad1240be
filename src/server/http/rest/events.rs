//! A live stream as a body: server-sent events, or a JSON object a line. Polled by its connection, without a task or a
//! channel; it holds nothing while it waits.

use std::{
    io::Write as _,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_core::Stream;
use http_body::{Body, Frame};
use serde_json::{Value, json};
use tonic::Status;

use crate::{
    broker::{Event, LiveStream},
    model::{Cursor, Gap, GapReason, Records, Sequence, Timestamp},
    server::{http::problem, json},
};

/// When a browser that was cut off comes back, unless the broker says otherwise.
const RETRY_MS: u64 = 1_000;
/// Of JSON, what a message takes besides its record; only to make room.
const ROOM: usize = 160;

/// How it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `text/event-stream`: a message is an event without a name, its id a cursor.
    Events,
    /// `application/x-ndjson`: a message is `{"message":…,"cursor":…}`.
    Lines,
}

/// The body.
pub struct Events {
    stream: Box<LiveStream>,
    form: Form,
    has_ended: bool,
}

impl Events {
    /// Of a stream.
    pub fn new(stream: LiveStream, form: Form) -> Self {
        Events { stream: Box::new(stream), form, has_ended: false }
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        let out = match ready!(Pin::new(&mut *self.stream).poll_next(cx)) {
            Some(Ok(event)) => self.form.event(&event),
            Some(Err(error)) => {
                self.has_ended = true;
                let (_, problem) = problem::describe(&error.into());
                self.form.word("problem", None, &Value::Object(problem))
            }
            None => return Poll::Ready(None),
        };
        Poll::Ready(Some(Ok(Frame::data(out.into()))))
    }
}

impl Form {
    /// As headers say it.
    pub fn content_type(self) -> &'static str {
        match self {
            Form::Events => "text/event-stream",
            Form::Lines => "application/x-ndjson",
        }
    }

    fn event(self, event: &Event) -> Vec<u8> {
        let bytes: usize = event.runs.iter().map(Bytes::len).sum();
        let mut out = Vec::with_capacity(bytes + bytes / 4 + event.messages * ROOM + ROOM);
        let behind = (event.messages == 0).then_some(event.cursor);
        if let Some(started) = &event.started {
            let said = json!({ "streamId": format!("{:016x}", started.stream_id) });
            if self == Form::Events {
                write(&mut out, format_args!("retry: {RETRY_MS}\n"));
            }
            out.extend(self.word("started", behind, &said));
        }
        if let Some(gap) = &event.gap {
            // What follows it in the same event has not been read by whoever is cut off here.
            out.extend(self.word("gap", behind, &told_gap(gap)));
        }
        for run in &event.runs {
            for record in Records::new(run).map_while(Result::ok) {
                let cursor = behind_message(event.cursor, record.sequence());
                match self {
                    Form::Events => {
                        write(&mut out, format_args!("id: {}\ndata: ", cursor.encode()));
                        json::message(&record, &mut out);
                        out.extend_from_slice(b"\n\n");
                    }
                    Form::Lines => {
                        out.extend_from_slice(b"{\"message\":");
                        json::message(&record, &mut out);
                        write(&mut out, format_args!(",\"cursor\":\"{}\"}}\n", cursor.encode()));
                    }
                }
            }
        }
        if let Some(heartbeat) = &event.heartbeat {
            let said = json!({
                "serverTime": time(heartbeat.server_time), "lastSequence": heartbeat.last_sequence.0.to_string(),
            });
            out.extend(self.word("heartbeat", Some(event.cursor), &said));
        }
        if event.caught_up {
            out.extend(self.word("caughtUp", Some(event.cursor), &true.into()));
        }
        if let Some(closing) = &event.closing {
            let delay = closing.reconnect_delay.as_millis() as u64;
            let said = json!({ "reason": "REASON_DRAINING", "reconnectDelayMs": delay });
            if self == Form::Events {
                write(&mut out, format_args!("retry: {delay}\n"));
            }
            out.extend(self.word("closing", Some(event.cursor), &said));
        }
        out
    }

    /// Something that is no message.
    fn word(self, name: &str, cursor: Option<Cursor>, said: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Form::Events => {
                if let Some(cursor) = cursor {
                    write(&mut out, format_args!("id: {}\n", cursor.encode()));
                }
                write(&mut out, format_args!("event: {name}\ndata: {said}\n\n"));
            }
            Form::Lines => {
                write(&mut out, format_args!("{{\"{name}\":{said}"));
                if let Some(cursor) = cursor {
                    write(&mut out, format_args!(",\"cursor\":\"{}\"", cursor.encode()));
                }
                out.extend_from_slice(b"}\n");
            }
        }
        out
    }
}

/// Where to go on behind a message of an event that has this cursor. Those that come before everything else, as the newest
/// of their topics, lie ahead of it: whoever is cut off among them gets them again.
fn behind_message(end: Cursor, sequence: Sequence) -> Cursor {
    match sequence < end.after {
        true => Cursor { after: sequence, waits: false, ..end },
        false => end,
    }
}

fn told_gap(gap: &Gap) -> Value {
    let reason = match gap.reason {
        GapReason::Skipped => "REASON_SKIPPED",
        GapReason::Retention => "REASON_RETENTION",
        GapReason::LogReplaced => "REASON_LOG_REPLACED",
    };
    json!({ "reason": reason, "firstSequence": gap.first.0.to_string(), "lastSequence": gap.last.0.to_string() })
}

fn time(time: Timestamp) -> String {
    let (seconds, nanos) = time.parts();
    jiff::Timestamp::new(seconds, nanos).unwrap_or_default().to_string()
}

fn write(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let written = out.write_fmt(text);
    debug_assert!(written.is_ok(), "memory takes what is written");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LogId;

    #[test]
    fn whoever_is_cut_off_goes_on_behind_what_was_read_whole() {
        let end = Cursor { log: LogId(7), after: Sequence(10), waits: true };
        assert_eq!(behind_message(end, Sequence(4)), Cursor { after: Sequence(4), waits: false, ..end });
        assert_eq!(behind_message(end, Sequence(10)), end);
        // One of the newest of their topics.
        assert_eq!(behind_message(end, Sequence(90)), end);
    }

    #[test]
    fn words_beside_the_messages() {
        let cursor = Cursor { log: LogId(7), after: Sequence(10), waits: false };
        let gap = Gap { reason: GapReason::Retention, first: Sequence(1), last: Sequence(9) };
        let told = |form: Form| {
            let event = Event {
                runs: Vec::new(),
                messages: 0,
                cursor,
                started: None,
                heartbeat: None,
                gap: Some(gap),
                caught_up: true,
                closing: None,
            };
            String::from_utf8(form.event(&event)).unwrap().replace(&cursor.encode(), "C")
        };
        let said = r#"{"firstSequence":"1","lastSequence":"9","reason":"REASON_RETENTION"}"#;
        assert_eq!(
            told(Form::Events),
            format!("id: C\nevent: gap\ndata: {said}\n\nid: C\nevent: caughtUp\ndata: true\n\n")
        );
        assert_eq!(
            told(Form::Lines),
            format!("{{\"gap\":{said},\"cursor\":\"C\"}}\n{{\"caughtUp\":true,\"cursor\":\"C\"}}\n")
        );
    }
}
