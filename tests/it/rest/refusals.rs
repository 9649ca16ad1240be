//! A refusal says over HTTP what it says over gRPC: the same reason, a status that HTTP knows, and when to come again.

use tilde::pb::v1::{self as pb, broker_client::BrokerClient, publish_request::Payload};
use tonic_types::StatusExt as _;

use super::*;

#[test]
fn each_kind_has_its_status() {
    let rest = Rest::start();
    rest.call("PUT", "/v1/namespaces/slow", json!({ "maxMessagesPerSecond": "1", "maxStreams": 1 }), 200);
    assert_eq!(rest.publish("a/messages?namespace=slow", &[], b"x").status(), 200);
    let limited = rest.publish("a/messages?namespace=slow", &[], b"x");
    let problem = assert_problem(&limited, 429, "RATE_LIMITED");
    let after: u64 = limited.header("retry-after").unwrap().parse().unwrap();
    let exact = problem["retryAfterMs"].as_u64().unwrap();
    assert_eq!(after, exact.div_ceil(1_000).max(1), "whole seconds, none too early");

    let _open = crate::support::http::Events::open(&rest.tilde.url, "topic=a&namespace=slow", &[]);
    let crowded = ask(&rest.tilde.url, "GET", "/v1/messages?topic=a&namespace=slow", &[], b"");
    assert_problem(&crowded, 429, "TOO_MANY_STREAMS");
    assert!(crowded.header("retry-after").is_some());

    let large = rest.publish("a/messages", &[], &vec![b'x'; 2 << 20]);
    assert_problem(&large, 413, "MESSAGE_TOO_LARGE");
    assert_problem(&rest.publish("a/messages?durability=replicated", &[], b"x"), 409, "DURABILITY_UNAVAILABLE");
    let told = ask(&rest.tilde.url, "GET", "/v1/messages?topic=a", &[("accept", "image/png")], b"");
    assert_problem(&told, 406, "NOT_ACCEPTABLE");
    let told = ask(&rest.tilde.url, "PUT", "/v1/namespaces/x", &[("content-type", "text/plain")], b"{}");
    assert_problem(&told, 415, "CONTENT_TYPE_INVALID");
    let told = rest.publish("a/messages", &[("content-encoding", "gzip")], b"x");
    assert_problem(&told, 415, "CONTENT_TYPE_INVALID");
    assert_eq!(rest.kept("topic=~").len(), 0, "nothing was taken");
}

#[test]
fn ways_that_lead_nowhere() {
    let rest = Rest::start();
    for path in ["/", "/v1", "/v1/", "/v1/nothing", "/v2/topics", "/v1/topics/", "/v1/subscriptions/a/b", "/index.html"]
    {
        rest.refused("GET", path, Value::Null, 404, "");
    }
    for (method, path, allowed) in [
        ("PUT", "/v1/topics/a/messages", "POST"),
        ("PATCH", "/v1/messages", "GET, POST, DELETE, HEAD"),
        ("POST", "/v1/subscriptions/a", "GET, PUT, PATCH, DELETE, HEAD"),
        ("DELETE", "/openapi.json", "GET, HEAD"),
        ("POST", "/healthz", "GET, HEAD"),
        ("BREW", "/v1/server", "GET, HEAD"),
    ] {
        let told = rest.ask(method, path, Value::Null);
        assert_problem(&told, 405, "");
        assert_eq!(told.header("allow"), Some(allowed), "{method} {path}");
    }
    let told = rest.ask("OPTIONS", "/v1/messages", Value::Null);
    assert_eq!((told.status(), told.header("allow")), (204, Some("GET, POST, DELETE, HEAD")));
}

#[test]
fn head_is_get_without_a_body() {
    let rest = Rest::start();
    for path in ["/v1/server", "/openapi.json", "/healthz", "/metrics", "/v1/topics", "/v1/nothing", "/v1/topics/none"]
    {
        // On one connection with what follows: a body would be taken for the next answer.
        let mut line = crate::support::http::Line::to(&rest.tilde.url);
        line.say(format!(
            "HEAD {path} HTTP/1.1\r\nhost: localhost\r\n\r\nGET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n"
        ));
        let (head, get) = (line.head().unwrap(), line.told());
        assert_eq!((head.status(), head.header("content-type")), (get.status(), get.header("content-type")), "{path}");
        assert!(!get.body.is_empty(), "{path}");
    }
    let open = ask(&rest.tilde.url, "HEAD", "/v1/messages?topic=a", &[], b"");
    assert_eq!((open.status(), open.header("content-type")), (200, Some("text/event-stream")));
}

/// What is wrong in the same way over both, and what both say.
const WRONG: [(&str, &str); 12] = [
    (r#"{"topic":"a~","text":"x"}"#, "TOPIC_INVALID"),
    (r#"{"topic":"$x","text":"x"}"#, "TOPIC_INVALID"),
    (r#"{"topic":"","text":"x"}"#, "TOPIC_INVALID"),
    (r#"{"topic":"a\u0007","text":"x"}"#, "TOPIC_INVALID"),
    (r#"{"topic":"a","text":"x","namespace":"nobody"}"#, "NAMESPACE_NOT_FOUND"),
    (r#"{"topic":"a","text":"x","namespace":"NO"}"#, "NAMESPACE_INVALID"),
    (r#"{"topic":"a","text":"x","durability":"DURABILITY_REPLICATED"}"#, "DURABILITY_UNAVAILABLE"),
    (r#"{"topic":"a","text":"x","expectedLastSequence":"99"}"#, "SEQUENCE_CONFLICT"),
    (r#"{"topic":"a","text":"x","ttl":"-1s"}"#, "REQUEST_INVALID"),
    (r#"{"topic":"a","text":"x","replyTo":"b~"}"#, "TOPIC_INVALID"),
    (r#"{"topic":"a","text":"x","attributes":{"":"v"}}"#, "MESSAGE_INVALID"),
    (r#"{"topic":"a","text":"x","deliverTime":"9999-01-01T00:00:00Z"}"#, "REQUEST_INVALID"),
];

fn request(of: &Value) -> pb::PublishRequest {
    let text = |name: &str| of[name].as_str().unwrap_or_default().to_owned();
    let attributes = of["attributes"].as_object().cloned().unwrap_or_default();
    pb::PublishRequest {
        topic: text("topic"),
        payload: Some(Payload::Text(text("text"))),
        namespace: text("namespace"),
        durability: if of.get("durability").is_some() { pb::Durability::Replicated as i32 } else { 0 },
        expected_last_sequence: text("expectedLastSequence").parse().ok(),
        ttl: of.get("ttl").map(|_| prost_types::Duration { seconds: -1, nanos: 0 }),
        deliver_time: of.get("deliverTime").map(|_| prost_types::Timestamp { seconds: 253_370_764_800, nanos: 0 }),
        reply_to: text("replyTo"),
        attributes: attributes.into_iter().map(|(key, value)| (key, value.as_str().unwrap().to_owned())).collect(),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_is_refused_for_the_same_reason_over_grpc() {
    let rest = Rest::start();
    let mut client = BrokerClient::connect(rest.tilde.url.clone()).await.unwrap();
    for (wrong, reason) in WRONG {
        let wrong: Value = serde_json::from_str(wrong).unwrap();
        let called = client.publish(request(&wrong)).await.unwrap_err();
        let details = called.get_error_details();
        assert_eq!(details.error_info().unwrap().reason, reason, "{wrong}: {called:?}");
        let batch = json!({ "atomic": true, "requests": [wrong] });
        let told = rest.ask("POST", "/v1/messages", batch);
        let problem = assert_problem(&told, told.status(), reason);
        assert!((400..500).contains(&told.status()), "{problem}");
        let field = details.bad_request().map(|request| request.field_violations[0].field.clone());
        let field = field.map_or(Value::Null, |field| json!(format!("requests[0].{field}")));
        assert_eq!(problem["field"], field, "{problem}");
    }
}
