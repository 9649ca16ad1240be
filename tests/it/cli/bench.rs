//! `tilde bench`: each run prints one JSON line with what it promises, and what cannot be measured is refused with a
//! sentence. Nothing here is about how fast anything is.

use serde_json::Value;

use crate::support::{Answer, Tilde, dice::rounds};

/// Runs one, and takes its only line.
#[track_caller]
fn bench(broker: &Tilde, args: &[&str]) -> Value {
    let Answer { status, stdout, stderr } = broker.run(&[&["bench"], args].concat());
    assert!(status.success(), "{stderr}");
    assert_eq!(stderr, "", "a pipe hears nothing of progress");
    let text = String::from_utf8(stdout).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    let line: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(line["bench"], args[0], "{line}");
    promised(&line);
    line
}

/// What every line has: numbers that can be.
#[track_caller]
fn promised(line: &Value) {
    let number = |name: &str| line[name].as_f64().unwrap_or_else(|| panic!("{name} is missing: {line}"));
    assert!(number("messages") >= 1.0 && number("seconds") > 0.0 && number("rate") >= 1.0, "{line}");
    let quantiles = ["p50_us", "p99_us", "p999_us", "max_us"].map(number);
    assert!(quantiles[0] > 0.0 && quantiles.is_sorted(), "{line}");
    assert!(number("broker_cpu_s") >= 0.0 && number("client_cpu_s") > 0.0, "{line}");
    if cfg!(target_os = "linux") {
        assert!(number("broker_resident_bytes") > 1e6, "{line}");
    }
}

/// How many messages the broker keeps, of topics that match.
fn kept(broker: &Tilde, pattern: &str) -> u64 {
    let topics = broker.run(&["topics", "list", pattern, "--format", "json"]).json();
    topics.iter().map(|topic| topic["messages"].as_u64().unwrap()).sum()
}

#[test]
fn publish_publishes_as_many_as_are_asked_for() {
    let broker = Tilde::start(&[]);
    let args = ["publish", "--messages", "100", "--streams", "3", "--frame", "7", "--in-flight", "20", "--topics", "4"];
    let line = bench(&broker, &args);
    assert_eq!((&line["messages"], &line["streams"], &line["durability"]), (&100.into(), &3.into(), &"synced".into()));
    assert_eq!(kept(&broker, "bench/publish/~"), 100);
    assert_eq!(broker.run(&["topics", "list", "bench/~", "--format", "json"]).json().len(), 4);
    let line = bench(&broker, &["publish", "--for", "50ms", "--topic", "other", "--size", "1KiB"]);
    assert_eq!(kept(&broker, "other"), line["messages"].as_u64().unwrap(), "all that was published was answered");
}

#[test]
fn publish_through_the_client_does_the_same() {
    let broker = Tilde::start(&[]);
    let args = ["publish", "--client", "--messages", "100", "--streams", "3", "--in-flight", "20", "--topics", "4"];
    let line = bench(&broker, &args);
    assert_eq!((&line["messages"], &line["streams"], &line["client"]), (&100.into(), &3.into(), &true.into()));
    assert_eq!(kept(&broker, "bench/publish/~"), 100);
    let line = bench(&broker, &["publish", "--client", "--for", "50ms", "--topic", "other", "--size", "1KiB"]);
    assert_eq!(kept(&broker, "other"), line["messages"].as_u64().unwrap(), "all that was published was answered");
}

#[test]
fn what_is_published_is_of_the_size_asked_for() {
    let broker = Tilde::in_memory();
    for (topic, more) in [("bare", &[][..]), ("client", &["--client"])] {
        let args = ["publish", "--messages", "2", "--size", "300", "--durability", "memory", "--topic", topic];
        bench(&broker, &[&args, more].concat());
        let payloads = broker.run(&["subscribe", topic, "--from", "earliest", "--end", "--format", "raw"]).ok();
        assert_eq!(payloads.len(), 2 * 301);
        assert_eq!(payloads[301..309], 1u64.to_le_bytes(), "the second message has the number 1");
    }
}

#[test]
fn call_rate_makes_as_many_calls_as_are_asked_for() {
    let broker = Tilde::in_memory();
    let args = ["call-rate", "--messages", "50", "--connections", "2", "--in-flight", "3", "--durability", "memory"];
    assert_eq!(bench(&broker, &args)["messages"], 50);
    assert_eq!(kept(&broker, "bench/call-rate"), 50);
}

#[test]
fn fanout_delivers_everything_to_everyone() {
    let broker = Tilde::start(&[]);
    let line = bench(&broker, &["fanout", "--messages", "60", "--subscribers", "5", "--connections", "2"]);
    assert_eq!((&line["published"], &line["messages"]), (&60.into(), &300.into()));
    assert!(line["published_rate"].as_u64().unwrap() >= 1, "{line}");
    let many = ["fanout", "--messages", "60", "--subscribers", "5", "--patterns", "7"];
    assert_eq!(bench(&broker, &many)["messages"], 300);
    let apart = bench(&broker, &[&many[..], &["--apart", "--lead", "10"]].concat());
    assert_eq!((&apart["messages"], &apart["topics"]), (&60.into(), &35.into()));
}

#[test]
fn latency_times_every_arrival() {
    let broker = Tilde::start(&[]);
    let args = ["latency", "--rate", "200", "--for", "100ms", "--warm-up", "50ms", "--subscribers", "3"];
    let line = bench(&broker, &args);
    assert_eq!((&line["messages"], &line["rate"], &line["connections"]), (&20.into(), &200.into(), &3.into()));
    assert_eq!(kept(&broker, "bench/latency/~"), 30, "those of the warm-up too");
}

#[test]
fn consume_settles_each_message_once() {
    let broker = Tilde::start(&[]);
    let line = bench(&broker, &["consume", "--messages", "500", "--consumers", "3", "--window", "10"]);
    assert_eq!((&line["messages"], &line["consumers"]), (&500.into(), &3.into()));
    let rows = broker.run(&["subscription", "list", "--format", "json"]).json();
    assert!(rows.is_empty(), "its subscription is gone: {rows:?}");
}

#[test]
fn consumers_that_are_equally_fast_have_equal_shares() {
    let broker = Tilde::start(&[]);
    let line = bench(&broker, &["consume", "--messages", "100000", "--consumers", "3", "--window", "100"]);
    let [least, most] = [&line["least"], &line["most"]].map(|share| share.as_u64().unwrap());
    // Beside other tests nobody is equally fast for long.
    let allowed = rounds(100, 20) as u64;
    assert!(most * 100 <= least * (100 + allowed), "{line}");
}

#[test]
fn replay_reads_what_it_stored_or_what_is_there() {
    let broker = Tilde::start(&[]);
    let line = bench(&broker, &["replay", "--messages", "500"]);
    assert_eq!((&line["messages"], &line["stored"]), (&500.into(), &500.into()));
    broker.run(&["publish", "other", "hello"]).ok();
    let line = bench(&broker, &["replay", "--no-store"]);
    assert_eq!((&line["messages"], &line["stored"]), (&501.into(), &0.into()));
    assert_eq!(bench(&broker, &["replay", "--no-store", "--pattern", "other"])["messages"], 1);
}

#[test]
fn a_namespace_of_its_own() {
    let broker = Tilde::in_memory();
    broker.run(&["namespace", "create", "apart"]).ok();
    let rest = ["--namespace", "apart", "--durability", "memory", "--messages", "10"];
    bench(&broker, &[&["publish"], &rest[..]].concat());
    bench(&broker, &[&["call-rate"], &rest[..]].concat());
    bench(&broker, &[&["fanout"], &rest[..]].concat());
    assert_eq!(kept(&broker, "~"), 0);
    let args = ["topics", "list", "--namespace", "apart", "--format", "json"];
    assert_eq!(broker.run(&args).json().len(), 3);
}

#[test]
fn what_cannot_be_measured_is_refused_with_a_sentence() {
    let broker = Tilde::in_memory();
    for (args, expected) in [
        (&["bench"][..], "Usage: tilde bench"),
        (&["bench", "publish", "--frame", "9", "--in-flight", "8"], "never goes while 8 may be in flight"),
        (&["bench", "fanout", "--frame", "9", "--lead", "8"], "never goes while the publisher may be 8 ahead"),
        (&["bench", "publish", "--size", "7"], "7 bytes are not within 8 and 1000000"),
        (&["bench", "publish", "--for", "0s"], "write a duration above zero"),
        (&["bench", "publish", "--for", "1s", "--messages", "1"], "cannot be used with"),
        (&["bench", "publish", "--streams", "0"], "0 is not in 1..=4096"),
        (&["bench", "latency", "--rate", "0"], "0 is not in 1..=1000000"),
        (&["bench", "replay", "--no-store", "--messages", "3"], "cannot be used with"),
    ] {
        let told = broker.run(args).told(2);
        assert!(told.contains(expected), "{args:?}: {told}");
    }
    for (args, expected) in [
        (&["bench", "publish", "--topic", "a~"][..], "(TOPIC_INVALID)"),
        (&["bench", "call-rate", "--topic", "a~"], "(TOPIC_INVALID)"),
        (&["bench", "publish", "--messages", "1"], "(DURABILITY_UNAVAILABLE)"),
        (&["bench", "replay", "--no-store", "--namespace", "nobody"], "(NAMESPACE_NOT_FOUND)"),
        (&["bench", "replay", "--no-store"], "nothing is there to be read"),
        (&["bench", "latency", "--broker", "127.0.0.1:1"], "cannot reach a broker at http://127.0.0.1:1"),
    ] {
        let told = broker.run(args).told(1);
        assert!(told.starts_with("error: ") && told.contains(expected), "{args:?}: {told}");
    }
}
