//! gRPC-Web over HTTP/1.1, on the same port: what browsers speak that have generated clients.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use prost::Message as _;
use tilde::pb::v1::{self as pb, publish_request::Payload, start_position};

use super::*;

/// A message with its prefix.
fn frame(message: &impl prost::Message) -> Vec<u8> {
    let bytes = message.encode_to_vec();
    [&[0][..], &(bytes.len() as u32).to_be_bytes(), &bytes].concat()
}

/// A request to publish.
pub fn publish(topic: &str, text: &str) -> Vec<u8> {
    let payload = Some(Payload::Text(text.to_owned()));
    frame(&pb::PublishRequest { topic: topic.to_owned(), payload, ..Default::default() })
}

/// The messages of an answer, and its trailers.
fn frames(mut body: &[u8]) -> (Vec<Vec<u8>>, String) {
    let mut messages = Vec::new();
    while let [flag, a, b, c, d, rest @ ..] = body {
        let (frame, rest) = rest.split_at(u32::from_be_bytes([*a, *b, *c, *d]) as usize);
        match flag {
            0 => messages.push(frame.to_vec()),
            0x80 => {
                assert!(rest.is_empty(), "trailers come last");
                return (messages, String::from_utf8(frame.to_vec()).unwrap());
            }
            flag => panic!("the flag {flag}"),
        }
        body = rest;
    }
    panic!("no trailers");
}

/// Calls, in one of the two forms.
fn call(rest: &Rest, path: &str, is_text: bool, request: &[u8]) -> (Told, Vec<u8>) {
    let (kind, body) = match is_text {
        false => ("application/grpc-web+proto", request.to_vec()),
        true => ("application/grpc-web-text+proto", STANDARD.encode(request).into_bytes()),
    };
    let told = ask(&rest.tilde.url, "POST", path, &[("content-type", kind), ("accept", kind)], &body);
    assert_eq!(told.status(), 200, "{}", told.text());
    assert_eq!(told.header("content-type"), Some(kind));
    if !is_text {
        let body = told.body.clone();
        return (told, body);
    }
    // Pieces are encoded one by one, each with its own padding.
    let text = told.text();
    let mut body = Vec::new();
    for quantum in text.as_bytes().chunks(4) {
        body.extend(STANDARD.decode(quantum).unwrap());
    }
    (told, body)
}

#[test]
fn calls_streams_and_refusals_in_both_forms() {
    let rest = Rest::start();
    for (at, is_text) in [(0, false), (1, true)] {
        let (_, body) = call(&rest, "/tilde.v1.Broker/Publish", is_text, &publish("a", &format!("text {at}")));
        let (messages, trailers) = frames(&body);
        assert!(trailers.contains("grpc-status:0"), "{trailers}");
        let published = pb::PublishResponse::decode(&*messages[0]).unwrap();
        assert_eq!(published.sequence, at + 1);

        let request = pb::SubscribeRequest {
            topics: vec!["a".into()],
            start: Some(pb::StartPosition {
                position: Some(start_position::Position::Preset(start_position::Preset::Earliest as i32)),
            }),
            max_messages: at + 1,
            ..Default::default()
        };
        let (_, body) = call(&rest, "/tilde.v1.Broker/Subscribe", is_text, &frame(&request));
        let (messages, trailers) = frames(&body);
        assert!(trailers.contains("grpc-status:0"), "{trailers}");
        let told = messages.iter().flat_map(|message| pb::SubscribeResponse::decode(&**message).unwrap().messages);
        assert_eq!(told.map(|message| message.sequence).collect::<Vec<_>>(), (1..=at + 1).collect::<Vec<_>>());

        let (told, body) = call(&rest, "/tilde.v1.Broker/Publish", is_text, &publish("a~", "x"));
        let in_body = if body.is_empty() { String::new() } else { frames(&body).1 };
        let status = told.header("grpc-status").map(|code| format!("grpc-status:{code}")).unwrap_or_default();
        assert!(format!("{status}{in_body}").contains("grpc-status:3"), "{told:?} {in_body}");
    }
    assert_eq!(rest.texts("a"), ["text 0", "text 1"]);
    assert_problem(&rest.ask("POST", "/tilde.v1.Broker/Publish", json!({})), 415, "");
}
