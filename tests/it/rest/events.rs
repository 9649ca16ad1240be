//! Live streams over plain HTTP.

use rustix::process::Signal;

use super::*;
use crate::support::http::{Events, Line, until};

fn texts(messages: &[Value]) -> Vec<&str> {
    messages.iter().map(|message| message["text"].as_str().unwrap()).collect()
}

#[test]
fn events_come_as_they_are_published() {
    let rest = Rest::start();
    rest.say("a/old", "before");
    let mut events = Events::open(&rest.tilde.url, "topic=a/~&topic=b", &[]);
    let started = events.next().unwrap();
    assert_eq!((started.name.as_str(), started.retry.as_str()), ("started", "1000"));
    assert!(!started.id.is_empty() && started.json()["streamId"].is_string(), "{started:?}");
    let sent: Vec<_> = [("a/1", "one"), ("b", "two\nlines"), ("c", "not asked for"), ("a/2", "three")]
        .map(|(topic, text)| (rest.say(topic, text), text))
        .into_iter()
        .filter(|(_, text)| *text != "not asked for")
        .collect();
    for (sequence, text) in sent {
        let event = events.wait("message", &["caughtUp"]);
        assert!(!event.id.is_empty(), "a cursor");
        assert_eq!((number(&event.json(), "sequence"), &event.json()["text"]), (sequence, &json!(text)));
    }
}

#[test]
fn whoever_was_cut_off_goes_on_behind_its_last_event() {
    let rest = Rest::start();
    for at in 0..10 {
        rest.say("a", &at.to_string());
    }
    let mut events = Events::open(&rest.tilde.url, "topic=a&start=earliest", &[]);
    let ids: Vec<_> = (0..10).map(|_| events.wait("message", &["started"]).id).collect();
    drop(events);
    for (at, id) in ids.iter().enumerate().take(9) {
        // The header counts more than what the address says.
        let mut events = Events::open(&rest.tilde.url, "topic=a&start=earliest", &[("last-event-id", id)]);
        assert_eq!(events.message()["text"], json!((at + 1).to_string()));
        let mut events = Events::open(&rest.tilde.url, &format!("topic=a&after={id}"), &[]);
        assert_eq!(events.message()["text"], json!((at + 1).to_string()));
    }
    let started = Events::open(&rest.tilde.url, "topic=a", &[("last-event-id", &ids[9])]).next().unwrap();
    assert!(!started.id.is_empty(), "where nothing is, there is a cursor, too");
}

#[test]
fn every_start_and_every_end() {
    let rest = Rest::start();
    let sequences: Vec<_> = ["1", "2", "3"].map(|text| rest.say("a", text)).into();
    rest.say("b", "4");
    let read = |query: &str| {
        let path = format!("/v1/messages?topic=~&stop_at_end=true&{query}");
        let told = ask(&rest.tilde.url, "GET", &path, &[("accept", "application/x-ndjson")], b"");
        let lines: Vec<Value> = told.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        lines.iter().filter_map(|line| line.get("message").cloned()).collect::<Vec<_>>()
    };
    for (query, expected) in [
        ("start=earliest", vec!["1", "2", "3", "4"]),
        (&format!("start={}", sequences[1]), vec!["2", "3", "4"]),
        ("start=1h", vec!["1", "2", "3", "4"]),
        ("start=2001-01-01T00:00:00Z", vec!["1", "2", "3", "4"]),
        ("last_messages=2", vec!["3", "4"]),
        ("last_per_topic", vec!["3", "4"]),
        ("start=new", vec![]),
        ("start=earliest&max_messages=2", vec!["1", "2"]),
        ("start=earliest&filter=topic%20%3D%3D%20%22b%22", vec!["4"]),
    ] {
        assert_eq!(texts(&read(query)), expected, "{query}");
    }
}

#[test]
fn lines_are_an_object_each() {
    let rest = Rest::start();
    rest.say("a", "x");
    let mut line = Line::to(&rest.tilde.url);
    let accept = [("accept", "application/x-ndjson")];
    line.request("GET", "/v1/messages?topic=a&start=earliest&heartbeat_interval=1s", &accept, b"");
    let head = line.head().unwrap();
    assert_eq!((head.status(), head.header("content-type")), (200, Some("application/x-ndjson")));
    assert_eq!((head.header("cache-control"), head.header("x-accel-buffering")), (Some("no-store"), Some("no")));
    let mut next = || -> Value { serde_json::from_str(&line.line().unwrap()).unwrap() };
    assert!(next()["started"]["streamId"].is_string());
    let message = next();
    assert_eq!((&message["message"]["text"], message["cursor"].is_string()), (&json!("x"), true));
    let caught_up = next();
    assert_eq!((&caught_up["caughtUp"], caught_up["cursor"].is_string()), (&json!(true), true));
    let heartbeat = next();
    assert!(heartbeat["heartbeat"]["serverTime"].is_string() && heartbeat["cursor"].is_string(), "{heartbeat}");
    assert_eq!(heartbeat["heartbeat"]["lastSequence"], message["message"]["sequence"]);
}

#[test]
fn a_silent_stream_gives_a_sign_of_life() {
    let rest = Rest::start();
    let mut events = Events::open(&rest.tilde.url, "topic=a&heartbeat_interval=1s", &[]);
    for _ in 0..2 {
        let heartbeat = events.wait("heartbeat", &["started", "caughtUp"]);
        assert!(!heartbeat.id.is_empty() && heartbeat.json()["serverTime"].is_string(), "{heartbeat:?}");
    }
    rest.refused("GET", "/v1/messages?topic=a&heartbeat_interval=1ms", Value::Null, 400, "REQUEST_INVALID");
}

#[test]
fn what_is_no_longer_kept_is_told() {
    let rest = Rest::start();
    rest.say("a", "1");
    let elsewhere = Rest::start();
    let mut other = Events::open(&elsewhere.tilde.url, "topic=a", &[]);
    let foreign = other.next().unwrap().id;
    let mut events = Events::open(&rest.tilde.url, "topic=a", &[("last-event-id", &foreign)]);
    let gap = events.wait("gap", &["started"]);
    assert_eq!(gap.json()["reason"], "REASON_LOG_REPLACED");
    assert_eq!(events.message()["text"], "1");
    let strict = ask(&rest.tilde.url, "GET", "/v1/messages?topic=a&strict", &[("last-event-id", &foreign)], b"");
    assert_problem(&strict, 410, "POSITION_EXPIRED");
}

#[test]
fn a_broker_that_stops_says_so_and_ends_its_streams() {
    let rest = Rest::start();
    rest.say("a", "1");
    let mut events = Events::open(&rest.tilde.url, "topic=a&start=earliest", &[]);
    assert_eq!(events.message()["text"], "1");
    rest.tilde.signal(Signal::TERM);
    let closing = events.wait("closing", &["caughtUp"]);
    assert_eq!(closing.json()["reason"], "REASON_DRAINING");
    let delay: u64 = closing.retry.parse().unwrap();
    assert!(delay > 0 && closing.json()["reconnectDelayMs"] == delay && !closing.id.is_empty(), "{closing:?}");
    let end = events.next();
    assert!(end.as_ref().is_none_or(|end| end.json()["reason"] == "DRAINING"), "{end:?}");
    assert!(end.is_none() || events.next().is_none());
    assert!(events.0.has_ended(), "it came to its end, and did not break off");
    rest.tilde.wait().ok();
}

#[test]
fn a_namespace_that_is_deleted_ends_its_streams() {
    let rest = Rest::start();
    rest.call("PUT", "/v1/namespaces/team", json!({}), 200);
    let mut events = Events::open(&rest.tilde.url, "topic=a&namespace=team", &[]);
    assert_eq!(events.next().unwrap().name, "started");
    rest.call("DELETE", "/v1/namespaces/team", Value::Null, 204);
    let problem = events.wait("problem", &["caughtUp"]);
    assert_eq!((&problem.json()["reason"], &problem.json()["status"]), (&json!("NAMESPACE_NOT_FOUND"), &json!(404)));
    assert!(events.next().is_none() && events.0.has_ended());
}

#[test]
fn a_stream_that_nobody_reads_any_more_is_closed() {
    let rest = Rest::start();
    let open = || crate::support::http::metric(&rest.tilde, "tilde_streams{namespace=\"default\"}");
    let streams: Vec<_> = (0..5).map(|_| Events::open(&rest.tilde.url, "topic=a", &[])).collect();
    assert_eq!(open(), 5);
    drop(streams);
    until("its streams end", || open() == 0);
}

#[test]
fn what_is_asked_behind_a_stream_is_not_answered_before_it_ends() {
    let rest = Rest::start();
    rest.say("a", "x");
    let mut line = Line::to(&rest.tilde.url);
    line.say("GET /v1/messages?topic=a&start=earliest&max_messages=1 HTTP/1.1\r\nhost: localhost\r\n\r\n");
    line.say("GET /v1/topics/a HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let stream = line.told();
    assert!(stream.text().contains("\"text\":\"x\""), "{}", stream.text());
    // The connection may end with the stream, if it said so; or go on with the next.
    match stream.header("connection") {
        Some("close") => assert!(line.is_closed()),
        _ => assert_eq!(line.told().json()["name"], "a"),
    }
}
