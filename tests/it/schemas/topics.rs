//! Topics under a schema: what is taken, what is refused, and what is only told.

use tilde::{
    client::{Client, PublishRequest},
    pb::v1::{
        BatchPublishRequest, Compatibility, SchemaRules, UpdateSchemaRulesRequest, ValidatePayloadRequest,
        broker_client::BrokerClient, publish_result,
    },
};

use super::*;
use crate::support::{http::metric, nats::Nats};

const VIOLATIONS: &str = "tilde_schema_violations_total{namespace=\"default\"}";

/// An Avro payload: a text, and a number from 0 to 63.
fn order(id: &str, count: u8) -> Vec<u8> {
    [&[id.len() as u8 * 2], id.as_bytes(), &[count * 2]].concat()
}

fn framed(id: u32, payload: &[u8]) -> Vec<u8> {
    [&[0][..], &id.to_be_bytes(), payload].concat()
}

#[tokio::test]
async fn a_payload_is_as_its_topic_demands() {
    let broker = Tilde::start(&[]);
    let rules = ["--topic-schema", "orders/old=off", "--topic-schema", "orders/~=enforce:orders"];
    broker.run(&[&["namespace", "update", "default"][..], &rules].concat()).ok();
    let publisher = Client::connect(&broker.url).await.unwrap().publisher();
    let publish = async |topic: &str, payload: Vec<u8>, id: &str| {
        let mut request = PublishRequest::data(topic, payload);
        if !id.is_empty() {
            request.attributes.insert("schema_id".into(), id.into());
        }
        publisher.publish(request).await.map(drop).map_err(|fault| fault.reason.unwrap_or_default())
    };
    let violation = || Err("SCHEMA_VIOLATION".to_owned());
    assert_eq!(publish("orders/1", order("a", 1), "").await, violation(), "there is no such subject");
    let mut schemas = schemas(&broker).await;
    register(&mut schemas, "orders", record(&format!("{ID},{COUNT}"))).await.unwrap();
    register(&mut schemas, "other", record(ID)).await.unwrap();
    let wider = order("a", 1).into_iter().chain([0]).collect::<Vec<_>>();
    assert_eq!(publish("orders/1", order("a", 1), "").await, Ok(()), "as soon as it is registered");
    assert_eq!(publish("orders/1", wider.clone(), "").await, violation());
    assert_eq!(publish("orders/1", framed(1, &order("a", 1)), "").await, Ok(()));
    assert_eq!(publish("orders/1", framed(1, &order("a", 1)), "1").await, Ok(()));
    assert_eq!(publish("orders/1", framed(1, &wider), "").await, violation());
    assert_eq!(publish("orders/1", framed(2, &order("a", 1)), "").await, violation(), "of another subject");
    assert_eq!(publish("orders/1", order("a", 1), "2").await, violation());
    assert_eq!(publish("orders/1", order("a", 1), "one").await, violation());
    // A text of no bytes begins with a zero byte, and is no frame.
    assert_eq!(publish("orders/1", order("", 1), "").await, Ok(()));
    // The newest counts for what names none, and the others as long as they are there.
    register(&mut schemas, "orders", record(&format!("{ID},{COUNT},{NOTE}"))).await.unwrap();
    assert_eq!(publish("orders/1", order("a", 1), "").await, violation());
    assert_eq!(publish("orders/1", wider.clone(), "").await, Ok(()));
    assert_eq!(publish("orders/1", order("a", 1), "1").await, Ok(()));
    assert_eq!(publish("orders/1", framed(3, &wider), "").await, Ok(()));
    for topic in ["orders/old", "elsewhere"] {
        assert_eq!(publish(topic, b"anything".to_vec(), "").await, Ok(()));
    }
    assert_eq!(metric(&broker, VIOLATIONS), 7);
    broker.run(&["namespace", "update", "default", "--topic-schema", "none"]).ok();
    assert_eq!(publish("orders/1", b"anything".to_vec(), "").await, Ok(()));
}

#[tokio::test]
async fn a_warning_is_told_and_counted_and_each_kind_is_looked_at() {
    let broker = Tilde::start(&[]);
    broker.run(&["namespace", "update", "default", "--topic-schema", "~=warn"]).ok();
    let mut schemas = schemas(&broker).await;
    let proto = "syntax = \"proto3\"; message A { string text = 1; } message B { int32 number = 1; }";
    register(&mut schemas, "json-value", schema(SchemaType::Json, r#"{"required":["n"]}"#)).await.unwrap();
    register(&mut schemas, "proto-value", schema(SchemaType::Protobuf, proto)).await.unwrap();
    let publisher = Client::connect(&broker.url).await.unwrap().publisher();
    let text = [0x0a, 1, b'x'];
    for (topic, payload, violations) in [
        ("json", br#"{"n":1}"#.to_vec(), 0),
        ("json", framed(1, br#"{"n":1}"#), 0),
        ("json", b"{}".to_vec(), 1),
        ("proto", text.to_vec(), 1),
        // A frame says which message it is: the first, and the second, which has no text.
        ("proto", framed(2, &[&[0][..], &text].concat()), 1),
        ("proto", framed(2, &[&[2, 2][..], &text].concat()), 2),
        ("proto", framed(2, &[2, 2, 0x08, 7]), 2),
    ] {
        publisher.publish(PublishRequest::data(topic, payload.clone())).await.unwrap();
        assert_eq!(metric(&broker, VIOLATIONS), violations, "{topic} {payload:?}");
    }
    assert!(broker.logged().contains("taken, though not as its schema says"), "{}", broker.logged());
    let request = ValidatePayloadRequest { payload: framed(1, b"{}"), ..Default::default() };
    assert_eq!(refusal(&schemas.validate_payload(request).await.unwrap_err(), "path").1, "$");
}

#[tokio::test]
async fn batches_streams_and_plain_http_are_no_way_around_it() {
    let broker = Tilde::start(&[]);
    broker.run(&["namespace", "update", "default", "--topic-schema", "a=enforce"]).ok();
    let mut schemas = schemas(&broker).await;
    register(&mut schemas, "a-value", schema(SchemaType::Json, r#"{"type":"integer"}"#)).await.unwrap();
    let publisher = Client::connect(&broker.url).await.unwrap().publisher();
    assert!(publisher.publish(PublishRequest::text("a", "7")).await.is_ok());
    let fault = publisher.publish(PublishRequest::text("a", "seven")).await.unwrap_err();
    assert_eq!(fault.reason.as_deref(), Some("SCHEMA_VIOLATION"));
    assert!(publisher.publish(PublishRequest::text("a", "8")).await.is_ok(), "the stream goes on");
    let told = crate::support::http::ask(&broker.url, "POST", "/v1/topics/a/messages", &[], b"seven");
    crate::support::http::assert_problem(&told, 400, "SCHEMA_VIOLATION");
    let lines = broker.run_with(&["publish", "a", "--lines"], b"1\ntwo\n3\n");
    assert!(lines.stderr.contains("SCHEMA_VIOLATION"), "{}", lines.stderr);
}

/// One after the other, each way in is the first to name what another broker has registered right before.
#[tokio::test]
async fn what_another_broker_has_just_registered_is_known_to_whoever_publishes() {
    let nats = Nats::start();
    let [there, here] = [(); 2].map(|()| Tilde::start(&["--engine", "jetstream", "--nats", &nats.urls()[0]]));
    there.run(&["namespace", "update", "default", "--topic-schema", "n=enforce"]).ok();
    let mut schemas = schemas(&there).await;
    let rules = SchemaRules { compatibility: Compatibility::None.into(), read_only: None };
    let rules = UpdateSchemaRulesRequest { rules: Some(rules), ..Default::default() };
    schemas.update_schema_rules(rules).await.unwrap();
    let mut broker = BrokerClient::new(client::connect(&here.url).await.unwrap());
    let publisher = Client::connect(&here.url).await.unwrap().publisher();
    let request = |payload: &[u8]| PublishRequest::data("n", payload.to_vec());
    // Settings take a moment too.
    while broker.publish(request(b"nothing")).await.is_ok() {}
    for n in 1..=60u32 {
        let only = schema(SchemaType::Json, &format!("{{\"const\":{n}}}"));
        let (_, id, _) = register(&mut schemas, "n-value", only).await.unwrap();
        let plain = n.to_string().into_bytes();
        let payload = if n % 2 == 0 { framed(id, &plain) } else { plain };
        match n % 3 {
            0 => drop(broker.publish(request(&payload)).await.unwrap()),
            1 => drop(publisher.publish(request(&payload)).await.unwrap()),
            _ => {
                // What is behind it stays behind it, and what is wrong is refused.
                let requests = [&payload[..], b"wrong", &payload[..]].map(request).into();
                let batch = BatchPublishRequest { requests, ..Default::default() };
                let results = broker.batch_publish(batch).await.unwrap().into_inner().results;
                let places: Vec<_> = results
                    .into_iter()
                    .map(|result| match result.result.unwrap() {
                        publish_result::Result::Published(published) => Some(published.sequence),
                        publish_result::Result::Error(_) => None,
                    })
                    .collect();
                assert!(places[0] < places[2] && places[1].is_none(), "{n}: {places:?}");
            }
        }
    }
    // Refusals stay what they were, also many of them at once.
    let refused = (0..500).map(|_| publisher.publish(request(b"wrong")));
    for fault in futures_util::future::join_all(refused).await {
        assert_eq!(fault.unwrap_err().reason.as_deref(), Some("SCHEMA_VIOLATION"));
    }
}
