//! `GET /v1/messages`: a live stream over plain HTTP, as server-sent events or as a JSON object a line. Each message has the
//! cursor behind it, so that a client which was cut off in the middle misses nothing and gets nothing twice.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Response, header, request};
use tonic::{Status, body::Body};

use super::{
    events::{Events, Form},
    publish,
};
use crate::{
    broker::{Broker, Subscribe},
    model::{
        Cursor, Error, Filter, LagPolicy, NamespaceName, PatternSet, Position, Reason, Result, Sequence, Timestamp,
        limits,
    },
    server::{
        http::{problem::invalid, query::Query},
        http1::Lasts,
    },
    units::{Span, Start},
};

/// What can be asked for.
pub const PARAMETERS: [(&str, &str); 12] = [
    ("topic", "A pattern; the parameter may be repeated. `ab~` matches what begins with ab, `~` everything."),
    ("start", "new (the default), earliest, a sequence, a time as in 2026-11-28T10:00:00Z, or how long ago as in 2h."),
    ("after", "A cursor: what came after it. The header Last-Event-ID says the same, and counts more."),
    ("last_messages", "Begin with the last so many that match, then new ones."),
    ("last_per_topic", "Begin with the newest message of each topic that matches, then new ones."),
    ("filter", "Only messages for which this is true, in CEL."),
    ("max_messages", "End after so many."),
    ("stop_at_end", "End when all is sent that was there in the beginning."),
    ("heartbeat_interval", "How long the stream may be silent, 1s to 300s; 15s if it is left out."),
    ("lag_policy", "What happens if the reader is too slow: catch_up, skip or disconnect."),
    ("strict", "Refuse a position that is no longer kept, instead of telling of the gap."),
    ("namespace", "Where; `default` if it is left out."),
];
/// Sent by a browser that comes back.
const LAST_EVENT_ID: &str = "last-event-id";

/// Answers with a stream.
pub async fn answer(broker: &Arc<Broker>, head: &request::Parts) -> Result<Response<Body>, Status> {
    let form = accepted(&head.headers)?;
    let mut query = Query::of(&head.uri);
    let topics: Vec<String> = query.take_all("topic").into_iter().map(String::from).collect();
    if topics.is_empty() {
        return Err(invalid("topic", "is missing: say which, as in ?topic=orders/~; `~` alone is every topic").into());
    }
    let filter = query.take("filter")?.unwrap_or_default();
    let defaults =
        Subscribe { patterns: PatternSet::parse(&topics)?, filter: Filter::parse(&filter)?, ..everything()? };
    let subscribe = parse(defaults, &mut query, &head.headers, broker.now())?;
    query.end(&PARAMETERS.map(|(name, _)| name))?;
    stream(broker, subscribe, form).await
}

/// Opens a stream, and answers with it.
pub async fn stream(broker: &Arc<Broker>, subscribe: Subscribe, form: Form) -> Result<Response<Body>, Status> {
    let has_end = subscribe.stop_at_end || subscribe.max_messages > 0;
    let stream = broker.subscribe(subscribe).await?;
    let mut response = Response::new(Body::new(Events::new(stream, form)));
    let headers = response.headers_mut();
    let (seconds, nanos) = broker.now().parts();
    let now = jiff::Timestamp::new(seconds, nanos).unwrap_or_default();
    let now = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&now).ok();
    if let Some(now) = now.and_then(|now| HeaderValue::try_from(now).ok()) {
        headers.insert(header::DATE, now);
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(form.content_type()));
    // Neither kept nor held back by what lies in between.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    if !has_end {
        response.extensions_mut().insert(Lasts);
    }
    Ok(response)
}

/// What a stream is that nobody said anything of.
pub fn everything() -> Result<Subscribe> {
    Ok(Subscribe {
        namespace: NamespaceName::default(),
        patterns: PatternSet::parse(&["~"])?,
        filter: None,
        position: Position::New,
        heartbeat_interval: limits::HEARTBEAT_DEFAULT,
        max_messages: 0,
        stop_at_end: false,
        lag_policy: LagPolicy::CatchUp,
        strict: false,
        responder: false,
    })
}

/// Takes what is asked for besides topics and filter; what is not said stays as it is.
pub fn parse(defaults: Subscribe, query: &mut Query<'_>, headers: &HeaderMap, now: Timestamp) -> Result<Subscribe> {
    let namespace = query.take("namespace")?.map(|name| NamespaceName::parse(&name)).transpose()?;
    let position = position(query, headers, now)?;
    let count = |text: &str| text.parse::<u64>().ok();
    let interval = query.take_as("heartbeat_interval", "a duration as in 15s", |text| text.parse::<Span>().ok())?;
    let policy = |text: &str| match text.to_ascii_lowercase().as_str() {
        "catch_up" => Some(LagPolicy::CatchUp),
        "skip" => Some(LagPolicy::Skip),
        "disconnect" => Some(LagPolicy::Disconnect),
        _ => None,
    };
    Ok(Subscribe {
        namespace: namespace.unwrap_or(defaults.namespace),
        position: position.unwrap_or(defaults.position),
        heartbeat_interval: interval.map_or(defaults.heartbeat_interval, |span| span.0),
        max_messages: query.take_as("max_messages", "a number", count)?.unwrap_or(defaults.max_messages),
        stop_at_end: if query.has("stop_at_end") { query.take_flag("stop_at_end")? } else { defaults.stop_at_end },
        lag_policy: query.take_as("lag_policy", "catch_up, skip or disconnect", policy)?.unwrap_or(defaults.lag_policy),
        strict: query.take_flag("strict")?,
        responder: false,
        patterns: defaults.patterns,
        filter: defaults.filter,
    })
}

fn position(query: &mut Query<'_>, headers: &HeaderMap, now: Timestamp) -> Result<Option<Position>> {
    let start = query.take("start")?;
    let after = query.take("after")?;
    let last = query.take_as("last_messages", "a number", |text| text.parse::<u32>().ok())?;
    let last_per_topic = query.take_flag("last_per_topic")?;
    let cursor = |text: &str, field: &str| Cursor::parse(text).map(Position::After).map_err(|error| error.field(field));
    if let Some(id) = headers.get(LAST_EVENT_ID).filter(|id| !id.is_empty()) {
        return cursor(id.to_str().unwrap_or_default(), LAST_EVENT_ID).map(Some);
    }
    let said = [start.is_some(), after.is_some(), last.is_some(), last_per_topic];
    if said.into_iter().filter(|said| *said).count() > 1 {
        return Err(invalid("start", "is said in several ways: one of start, after, last_messages and last_per_topic"));
    }
    if last_per_topic {
        return Ok(Some(Position::LastPerTopic));
    }
    if let Some(last) = last {
        return match last {
            1..=limits::LAST_MESSAGES => Ok(Some(Position::Last(last))),
            _ => Err(invalid("last_messages", &format!("is {last}: it takes 1 to {}", limits::LAST_MESSAGES))),
        };
    }
    if let Some(after) = after {
        return cursor(&after, "after").map(Some);
    }
    let Some(start) = start else { return Ok(None) };
    let start: Start = start.parse().map_err(|why: String| invalid("start", &format!("is {start:?}: {why}")))?;
    Ok(Some(match start {
        Start::New => Position::New,
        Start::Earliest => Position::Earliest,
        Start::Sequence(sequence) => Position::At(Sequence(sequence)),
        Start::Ago(ago) => Position::Time(now.minus(ago)),
        Start::Time(time) => Position::Time(publish::time("start", &time.to_string())?),
        Start::Cursor(text) => cursor(&text, "start")?,
    }))
}

/// What a client wants to read; events unless it says otherwise.
pub fn accepted(headers: &HeaderMap) -> Result<Form> {
    let accepts: Vec<_> = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    if accepts.is_empty() {
        return Ok(Form::Events);
    }
    let kinds =
        accepts.iter().flat_map(|value| value.split(',')).map(|kind| kind.split(';').next().unwrap_or_default());
    for kind in kinds {
        match kind.trim().to_ascii_lowercase().as_str() {
            "text/event-stream" | "text/*" | "*/*" => return Ok(Form::Events),
            "application/x-ndjson" | "application/jsonl" | "application/json" | "application/*" => {
                return Ok(Form::Lines);
            }
            _ => {}
        }
    }
    let message = "a stream is text/event-stream or application/x-ndjson: accept one of them";
    Err(Error::new(Reason::NotAcceptable, message))
}

#[cfg(test)]
mod tests {
    use http::Uri;

    use super::*;
    use crate::model::LogId;

    fn read(query: &'static str, id: Option<&str>) -> Result<Position> {
        let uri: Uri = format!("/v1/messages?{query}").parse().unwrap();
        let mut headers = HeaderMap::new();
        if let Some(id) = id {
            headers.insert(LAST_EVENT_ID, HeaderValue::from_str(id).unwrap());
        }
        let now = Timestamp::from_nanos(10_000_000_000);
        parse(everything()?, &mut Query::of(&uri), &headers, now).map(|subscribe| subscribe.position)
    }

    #[test]
    fn it_begins_where_it_is_told_to() {
        let cursor = Cursor { log: LogId(1), after: Sequence(2), waits: false };
        let text = cursor.encode();
        for (query, expected) in [
            ("", Position::New),
            ("start=earliest", Position::Earliest),
            ("start=42", Position::At(Sequence(42))),
            ("start=3s", Position::Time(Timestamp::from_nanos(7_000_000_000))),
            ("start=1970-01-01T00:00:02Z", Position::Time(Timestamp::from_nanos(2_000_000_000))),
            ("last_messages=5", Position::Last(5)),
            ("last_per_topic", Position::LastPerTopic),
        ] {
            assert_eq!(read(query, None).unwrap(), expected, "{query}");
            assert_eq!(read(query, Some(&text)).unwrap(), Position::After(cursor), "a browser that comes back");
        }
        for (query, field) in [
            ("start=soon", "start"),
            ("start=new&last_per_topic", "start"),
            ("last_messages=0", "last_messages"),
            ("after=x", "after"),
            ("lag_policy=wait", "lag_policy"),
            ("heartbeat_interval=often", "heartbeat_interval"),
        ] {
            assert_eq!(read(query, None).unwrap_err().violated_field(), Some(field), "{query}");
        }
        assert_eq!(read("", Some("x")).unwrap_err().violated_field(), Some(LAST_EVENT_ID));
    }

    #[test]
    fn a_client_reads_what_it_accepts() {
        let form = |accept: &'static str| {
            let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
            accepted(&headers)
        };
        assert_eq!(accepted(&HeaderMap::new()).unwrap(), Form::Events);
        for (accept, expected) in [
            ("text/event-stream", Form::Events),
            ("*/*", Form::Events),
            ("application/x-ndjson", Form::Lines),
            ("text/html, application/x-ndjson;q=0.9, */*;q=0.1", Form::Lines),
        ] {
            assert_eq!(form(accept).unwrap(), expected, "{accept}");
        }
        assert_eq!(form("image/png").unwrap_err().reason(), Reason::NotAcceptable);
    }
}
