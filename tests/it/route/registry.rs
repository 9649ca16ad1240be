//! The client of a registry: against the broker's own, and against answers that no good one gives.

use std::time::Duration;

use serde_json::json;
use tilde::{
    apps::{
        patience::Patience,
        registry::{Reference, Refusal, Registry, patiently},
    },
    schema::Kind,
};

use crate::support::{
    Tilde,
    plain::ask,
    ports::free_address,
    receiver::{Receiver, Reply},
};

const PRICE: &str = r#"{"type":"record","name":"Price","fields":[{"name":"cents","type":"long"}]}"#;
const ORDER: &str = r#"{"type":"record","name":"Order","fields":[{"name":"price","type":"Price"}]}"#;

fn beside(broker: &Tilde) -> Registry {
    Registry::new(&format!("{}/schema-registry", broker.url), "default").unwrap()
}

#[track_caller]
fn put(broker: &Tilde, subject: &str, body: &serde_json::Value) {
    let url = format!("{}/schema-registry/subjects/{subject}/versions", broker.url);
    let told = ask("POST", &url, &[], body.to_string().as_bytes());
    assert_eq!(told.status(), 200, "{}", told.text());
}

#[tokio::test]
async fn what_a_registry_has_is_ready_to_be_used() {
    let broker = Tilde::in_memory();
    put(&broker, "a%2Fprice%20%25-value", &json!({"schema": PRICE}));
    let references = json!([{"name": "Price", "subject": "a/price %-value", "version": 1}]);
    put(&broker, "order-value", &json!({"schema": ORDER, "references": references}));
    put(
        &broker,
        "list-value",
        &json!({
            "schema": r#"{"type":"array","items":"Order"}"#,
            "references": [{"name": "Order", "subject": "order-value", "version": -1}]
        }),
    );
    put(&broker, "proto-value", &json!({"schema": "syntax = \"proto3\"; message A {}", "schemaType": "PROTOBUF"}));
    let registry = beside(&broker);
    let price = registry.latest("a/price %-value").await.unwrap();
    assert_eq!((price.id, price.schema.kind(), price.schema.text()), (1, Kind::Avro, PRICE));
    let order = registry.latest("order-value").await.unwrap();
    let name = |name: &str| name.to_owned();
    let referred = Reference { name: name("Price"), subject: name("a/price %-value"), version: 1 };
    assert_eq!((order.id, &order.references), (2, &vec![referred]));
    order.schema.validate(&[2]).unwrap();
    // What it refers to refers on.
    let list = registry.by_id(3).await.unwrap();
    list.schema.validate(&[4, 2, 4, 0]).unwrap();
    assert_eq!(registry.by_id(4).await.unwrap().schema.kind(), Kind::Protobuf);
    for (registered, id) in [(&order, 2), (&list, 3), (&registry.latest("proto-value").await.unwrap(), 4)] {
        assert_eq!(registry.register("copies/of-value", registered).await, Ok(id));
        assert_eq!(registry.latest("copies/of-value").await.unwrap().id, id);
        broker.run(&["schema", "compatibility", "copies/of-value", "none"]).ok();
    }
}

#[tokio::test]
async fn what_is_missing_is_told_apart() {
    let broker = Tilde::in_memory();
    let registry = beside(&broker);
    let Refusal::Missing(why) = registry.latest("orders-value").await.unwrap_err() else { panic!("it is missing") };
    assert!(why.contains("has no schema of subject \"orders-value\"") && why.contains("(40401)"), "{why}");
    let Refusal::Missing(why) = registry.by_id(7).await.unwrap_err() else { panic!("it is missing") };
    assert!(why.contains("has no schema with the id 7") && why.contains("(40403)"), "{why}");
    for id in [0, u32::MAX] {
        assert!(matches!(registry.by_id(id).await, Err(Refusal::Missing(_))));
    }
    // No registry is there.
    let registry = Registry::new(&format!("{}/registry", broker.url), "default").unwrap();
    let Refusal::Other(why) = registry.latest("orders-value").await.unwrap_err() else { panic!("it is no registry") };
    assert!(why.contains("is no schema registry") && why.contains("is the URL right?"), "{why}");
    // A next version that may not be.
    put(&broker, "a-value", &json!({"schema": "\"string\""}));
    put(&broker, "b-value", &json!({"schema": "\"int\""}));
    let registry = beside(&broker);
    let int = registry.latest("b-value").await.unwrap();
    let Refusal::Other(why) = registry.register("a-value", &int).await.unwrap_err() else { panic!("it is refused") };
    assert!(why.contains("refused it") && why.contains("(409)"), "{why}");
}

/// What comes of the newest schema when this is answered.
async fn answered(status: u16, body: &str) -> Refusal {
    let body = body.to_owned();
    let receiver = Receiver::start(move |_| Reply::of(status).saying(body.clone())).await;
    Registry::new(&receiver.url, "default").unwrap().latest("s").await.unwrap_err()
}

#[tokio::test]
async fn answers_that_make_no_sense_are_refusals() {
    let word = |refusal: &Refusal| match refusal {
        Refusal::Missing(_) => "missing",
        Refusal::Passing(_) => "passing",
        Refusal::Other(_) => "other",
    };
    let long = format!(r#"{{"id":1,"schema":"{}"}}"#, "x".repeat(5 << 20));
    for (status, body, kind, what) in [
        (404, r#"{"error_code":40402,"message":"no version"}"#, "missing", "no version (40402)"),
        (404, r#"{"error_code":404,"message":"HTTP 404 Not Found"}"#, "other", "is no schema registry"),
        (404, "<html>", "other", "404 Not Found"),
        (200, "<html>", "other", "is no schema registry"),
        (200, r#"{"schema":"\"int\""}"#, "other", "without its id"),
        (200, r#"{"id":1,"schema":" "}"#, "missing", "subject \"s\" is empty"),
        (200, r#"{"id":1,"schema":"{"}"#, "other", "schema 1 of the registry"),
        (200, r#"{"id":1,"schema":"x","schemaType":"XML"}"#, "other", "of type \"XML\""),
        (200, &long, "other", "more than"),
        (302, "", "other", "302 Found"),
        (401, r#"{"error_code":401,"message":"who are you"}"#, "other", "who are you (401)"),
        (429, "", "passing", "too much to do"),
        (500, r#"{"error_code":50001,"message":"the store"}"#, "passing", "the store (50001)"),
        (503, "busy", "passing", "503 Service Unavailable"),
    ] {
        let refusal = answered(status, body).await;
        let shown: String = body.chars().take(100).collect();
        assert_eq!(word(&refusal), kind, "{status} {shown}: {refusal}");
        assert!(refusal.to_string().contains(what), "{status} {shown}: {refusal}");
    }
}

#[tokio::test]
async fn references_end() {
    let receiver = Receiver::start(|received| {
        // Each version refers to the next.
        let version: u32 = received.path.split(['/', '?']).nth(4).and_then(|part| part.parse().ok()).unwrap_or(0);
        let next = json!({"name": format!("v{version}"), "subject": "s", "version": version + 1});
        Reply::of(200).saying(json!({"id": 1, "schema": "\"int\"", "references": [next]}).to_string())
    });
    let refusal = Registry::new(&receiver.await.url, "default").unwrap().latest("s").await.unwrap_err();
    assert!(refusal.to_string().contains("lead to more than 256 others"), "{refusal}");
    // A schema that refers to itself.
    let body = r#"{"id":1,"schema":"\"int\"","references":[{"name":"a","subject":"a","version":1}]}"#;
    let receiver = Receiver::start(move |_| Reply::of(200).saying(body)).await;
    Registry::new(&receiver.url, "default").unwrap().latest("s").await.unwrap();
}

#[tokio::test]
async fn requests_are_as_registries_know_them() {
    let mut receiver = Receiver::start(|_| Reply::of(200).saying(r#"{"id":9,"schema":"\"int\""}"#)).await;
    let registry = Registry::new(&format!("{}/at/", receiver.url), "ours").unwrap();
    let int = registry.latest("a b/c%").await.unwrap();
    let latest = receiver.next().await;
    assert_eq!((latest.method.as_str(), latest.path.as_str()), ("GET", "/at/subjects/a%20b%2Fc%25/versions/latest"));
    assert_eq!(latest.header("tilde-namespace"), "ours");
    registry.by_id(7).await.unwrap();
    assert_eq!(receiver.next().await.path, "/at/schemas/ids/7");
    assert_eq!(registry.register("x", &int).await, Ok(9));
    let registering = receiver.next().await;
    assert_eq!((registering.method.as_str(), registering.path.as_str()), ("POST", "/at/subjects/x/versions"));
    assert_eq!(registering.header("content-type"), "application/vnd.schemaregistry.v1+json");
    assert_eq!(registering.json(), json!({"schema": "\"int\""}));
    assert!(receiver.is_empty());
}

#[tokio::test]
async fn who_is_away_is_waited_for() {
    let address = free_address();
    let registry = Registry::new(&address, "default").unwrap();
    let Refusal::Passing(why) = registry.latest("s").await.unwrap_err() else { panic!("it is away") };
    assert!(why.contains(&format!("cannot reach the schema registry at http://{address}/: ")), "{why}");
    let mut patience = Patience::new(Duration::from_millis(300));
    assert!(matches!(patiently(&mut patience, || registry.latest("s")).await, Err(Refusal::Passing(_))));
    let asked = registry.clone();
    let waiting = tokio::spawn(async move {
        let mut patience = Patience::new(Duration::from_secs(60));
        patiently(&mut patience, || asked.latest("s")).await
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let broker = tokio::task::spawn_blocking(move || Tilde::start(&["--listen", &address])).await.unwrap();
    // A broker is a registry below its own path only.
    assert!(matches!(waiting.await.unwrap(), Err(Refusal::Other(_))));
    drop(broker);
}
