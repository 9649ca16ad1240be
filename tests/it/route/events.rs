//! `tilde events`: what it publishes, when it does not begin, and how it ends.

use std::{
    fs,
    path::Path,
    process::Child,
    thread,
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value as Json;
use tilde::schema::{Kind, Schema, Shape, Value};

use crate::support::{
    Tilde, finish,
    ports::free_address,
    receiver::{Receiver, Reply},
    run, tilde,
};

const TOPIC: &str = "producer.to.processor";
const FILE: &str = "tests/fixtures/events/producer-to-processor.avsc";

fn schema() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE)).unwrap()
}

fn register(broker: &Tilde, subject: &str) {
    broker.run_with(&["schema", "register", subject, "-", "--type", "avro"], schema().as_bytes()).ok();
}

fn registered() -> Tilde {
    let broker = Tilde::in_memory();
    register(&broker, &format!("{TOPIC}-value"));
    broker
}

/// The command with what it needs at least, for these destinations.
fn events<'a>(destinations: &[&'a str], count: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let origin = ["--origin-service-type", "Ledger", "--origin-service-id", "123456"];
    let begin = [&["events", "--target-topic", TOPIC][..], &origin, &["--list-of-destinations"]].concat();
    [&begin, destinations, &["--amount-of-messages", count], more].concat()
}

/// What lies in the topic: its key, its schema's id, and its fields.
fn found(broker: &Tilde) -> Vec<(String, u32, [String; 5])> {
    let schema = Schema::parse(Kind::Avro, &schema(), &[]).unwrap();
    let text = ["origin_service_id", "origin_service_type", "destination_service_type", "payload"];
    let fields = [&text.map(|name| (name, Shape::Text))[..], &[("event_timestamp", Shape::Long)]].concat();
    let reader = schema.reader(&fields).unwrap();
    let read = |message: &Json| {
        let bytes = BASE64_STANDARD.decode(message["data"].as_str().unwrap()).unwrap();
        let mut values = [Value::Long(0); 5];
        assert_eq!(bytes[0], 0);
        reader.read(&bytes[5..], &mut values).unwrap();
        let values = values.map(|value| match value {
            Value::Text(text) => text.to_owned(),
            Value::Long(number) => number.to_string(),
        });
        (
            message["ordering_key"].as_str().unwrap().to_owned(),
            u32::from_be_bytes(bytes[1..5].try_into().unwrap()),
            values,
        )
    };
    broker
        .run(&["subscribe", TOPIC, "--from", "earliest", "--end", "--format", "json"])
        .json()
        .iter()
        .map(read)
        .collect()
}

#[test]
fn events_go_to_their_destinations_in_turn() {
    let broker = registered();
    let told = broker.run(&events(&["FINANCE", "marketing"], "8", &[]));
    assert!(told.stderr.contains("INFO the schema is known") && told.stderr.contains("schema=1"), "{}", told.stderr);
    assert_eq!(told.text(), format!("8 events published to {TOPIC}\n"));
    let found = found(&broker);
    let first: i64 = found[0].2[4].parse().unwrap();
    assert!(first > 1_700_000_000_000, "milliseconds");
    let mut payloads: Vec<_> = found.iter().map(|(_, _, fields)| fields[3].clone()).collect();
    for (at, (key, id, [origin, kind, destination, payload, time])) in found.iter().enumerate() {
        let expected = ["FINANCE", "MARKETING"][at % 2];
        assert_eq!((key.as_str(), *id), (format!("123456:{expected}").as_str(), 1));
        assert_eq!([origin, kind, destination], ["123456", "Ledger", expected]);
        let uuid = payload.strip_prefix("dummy-payload ").unwrap();
        assert!(uuid.len() == 36 && uuid.as_bytes()[14] == b'4', "{uuid}");
        assert!(time.parse::<i64>().unwrap() >= first);
    }
    payloads.sort_unstable();
    payloads.dedup();
    assert_eq!((found.len(), payloads.len()), (8, 8), "no payload is twice there");
}

#[test]
fn flags_may_be_written_as_elsewhere() {
    let broker = registered();
    let address = broker.url.trim_start_matches("http://");
    let registry = format!("http://{address}/schema-registry");
    let args = [
        &["events", "-bootstrap_server", address, "-schema_registry_url", &registry, "-target_topic", TOPIC][..],
        &["-origin_service_type=Ledger", "-origin_service_id", "7", "-list_of_destinations", "a", "b", "c"],
        &["-amount_of_messages", "3", "-sleep_between_messages_in_seconds", "0.01", "-payload_bytes", "1KiB"],
        &["-amount_of_messages_before_poll", "1", "-log_level", "error", "-format", "json"],
    ];
    let told = run(tilde(broker.directory(), &args.concat()), None);
    assert_eq!(told.stderr, "");
    let object = &told.json()[0];
    assert_eq!((&object["published"], &object["topic"]), (&3.into(), &TOPIC.into()));
    let found = found(&broker);
    let keys: Vec<_> = found.iter().map(|(key, ..)| key.as_str()).collect();
    assert_eq!(keys, ["7:A", "7:B", "7:C"]);
    assert!(found.iter().all(|(_, _, fields)| fields[3].len() == 1_024));
    for (args, said) in [
        (&["-log_level", "verbose"][..], "[possible values: DEBUG, INFO, WARNING, ERROR, CRITICAL]"),
        (&["-sleep_between_messages_in_seconds", "-1"], "write seconds from zero on"),
        (&["-amount_of_messages_before_poll", "0"], "'0'"),
        (&["-payload_bytes", "4MiB"], "payloads have at most"),
        (&["-schema_registry_url", "https://a"], "only http:// is spoken"),
    ] {
        let told = broker.run(&events(&["a"], "1", args)).told(2);
        assert!(told.contains(said), "{told}");
    }
    assert!(broker.run(&events(&["a"], "0", &[])).told(2).contains("above zero"));
}

#[test]
fn it_does_not_begin_without_its_schema() {
    let broker = Tilde::in_memory();
    let told = broker.run(&events(&["a"], "1", &[])).told(1);
    assert!(told.contains(&format!("no schema of subject \"{TOPIC}-value\"")), "{told}");
    assert!(told.contains(&format!("`tilde schema register {TOPIC}-value FILE.avsc`")), "{told}");
    let other = br#"{"type":"record","name":"R","fields":[{"name":"origin_service_id","type":"string"}]}"#;
    broker.run_with(&["schema", "register", &format!("{TOPIC}-value"), "-", "--type", "avro"], other).ok();
    let told = broker.run(&events(&["a"], "1", &[])).told(1);
    assert!(told.contains("schema 1 of subject") && told.contains("has no field origin_service_type"), "{told}");
    assert_eq!(broker.run(&["topics", "list", "--format", "json"]).json().len(), 0, "nothing was published");
}

#[test]
fn an_event_that_is_refused_ends_it() {
    let broker = registered();
    let strict = format!("{TOPIC}=enforce:other-value");
    broker.run(&["namespace", "update", "default", "--topic-schema", &strict]).ok();
    register(&broker, "unused-value");
    let told = broker.run(&events(&["a"], "1000000", &["--log-level", "warning"])).told(1);
    assert!(told.contains("SCHEMA_VIOLATION") && told.contains("; 0 events published, "), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
}

#[test]
fn who_is_away_at_the_start_is_waited_for() {
    let place = tempfile::tempdir().unwrap();
    let address = free_address();
    let broker = Tilde::start_in(place.path(), &["--listen", &address]);
    register(&broker, &format!("{TOPIC}-value"));
    broker.stop();
    let args = |limit| events(&["a"], "5", &["--broker", &address, "--log-level", "ERROR", "--start-within", limit]);
    let begun = Instant::now();
    let told = run(tilde(place.path(), &args("300ms")), None).told(1);
    let why = format!("cannot reach a broker at http://{address}: ");
    assert!(
        told.starts_with(&format!("waiting for up to 300ms: {why}")) && told.contains(&format!("\nerror: {why}")),
        "{told}"
    );
    assert!(begun.elapsed() < Duration::from_secs(30));
    let waiting = tilde(place.path(), &args("60s")).spawn().unwrap();
    thread::sleep(Duration::from_millis(300));
    let broker = Tilde::start_in(place.path(), &["--listen", &address]);
    let told = finish(waiting);
    assert!(told.stderr.starts_with("waiting for up to 1m: "), "{}", told.stderr);
    assert_eq!(told.text(), format!("5 events published to {TOPIC}\n"));
    assert_eq!(found(&broker).len(), 5);
    // Whoever does not want to wait any more.
    let away = free_address();
    let waiting = tilde(place.path(), &[&args("60s")[..], &["--schema-registry-url", &away]].concat()).spawn().unwrap();
    thread::sleep(Duration::from_millis(500));
    let told = stop(waiting, Signal::INT);
    assert!(told.stderr.contains(&format!("cannot reach the schema registry at http://{away}/")), "{}", told.stderr);
    assert_eq!(told.text(), format!("stopped: 0 events published to {TOPIC}\n"));
}

fn stop(child: Child, signal: Signal) -> crate::support::Answer {
    kill_process(Pid::from_child(&child), signal).unwrap();
    finish(child)
}

#[test]
fn what_is_under_way_when_it_is_stopped_is_published() {
    let broker = registered();
    for (signal, more) in [(Signal::TERM, &["--sleep-between-messages-in-seconds", "0.001"][..]), (Signal::INT, &[])] {
        let before = found(&broker).len();
        let producing = broker.command(&events(&["a", "b"], "100000000", more)).spawn().unwrap();
        let begun = Instant::now();
        while found(&broker).len() < before + 20 {
            assert!(begun.elapsed() < Duration::from_secs(60), "nothing is published");
        }
        let told = stop(producing, signal);
        assert!(told.stderr.contains("INFO stopped: no more is sent"), "{}", told.stderr);
        let text = told.text();
        let count: usize = text.strip_prefix("stopped: ").unwrap().split(' ').next().unwrap().parse().unwrap();
        let lies = broker.run(&["topics", "show", TOPIC, "--format", "json"]).json()[0]["messages"].clone();
        assert_eq!(lies, before + count, "{text}");
    }
}

#[tokio::test]
async fn the_schema_may_be_of_another_registry() {
    let answer = serde_json::json!({"id": 258, "version": 1, "schema": schema()}).to_string();
    let mut registry = Receiver::start(move |_| Reply::of(200).saying(answer.clone())).await;
    let broker = Tilde::in_memory();
    let args = ["--schema-registry-url", registry.url.clone().leak(), "--log-level", "critical"];
    let command = broker.command(&events(&["a"], "1", &args));
    let told = tokio::task::spawn_blocking(|| run(command, None)).await.unwrap();
    assert_eq!(told.stderr, "");
    assert_eq!(told.text(), format!("1 event published to {TOPIC}\n"));
    let asked = registry.next().await;
    assert_eq!(asked.path, format!("/subjects/{TOPIC}-value/versions/latest"));
    assert_eq!(asked.header("tilde-namespace"), "default");
    assert_eq!(found(&broker)[0].1, 258);
}
