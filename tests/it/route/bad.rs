//! `tilde route`: command lines as they are written elsewhere, and when it does not start.

use std::fs;

use super::support::*;
use crate::support::{Tilde, running::Running};

/// How a router ends that must not start.
#[track_caller]
fn refused(broker: &Tilde, flags: &[&str], code: i32) -> String {
    crate::support::run(command(broker, "r-1", flags), None).told(code)
}

#[track_caller]
fn holds(told: &str, parts: &[&str]) {
    assert!(parts.iter().all(|part| told.contains(part)), "{told}");
}

#[test]
fn a_command_line_with_single_dashes_works() {
    let broker = registered();
    let address = broker.url.trim_start_matches("http://").to_owned();
    let registry = format!("http://{address}/schema-registry");
    let line = [
        &["route", "-processor_id", "r-1", "-bootstrap_server", &address, "-schema_registry_url", &registry][..],
        &["-source_topic", SOURCE, "-group_id", GROUP, "-batch_size_to_commit_offsets", "5"],
        &["-destination_configurations", TWO, "-no_messages_before_poll_producers", "5"],
    ]
    .concat();
    let command = |level| crate::support::tilde(broker.directory(), &[&line[..], &["-log_level", level]].concat());
    let (mut router, ready) = Running::start(command("debug"));
    assert_eq!(ready, format!("r-1 routes {SOURCE} as {GROUP}"));
    publish(&broker, [Maker::of(&broker).event("7", "marketing", "0")]);
    assert_eq!(arrived(&broker, "marketing", 1)[0].processor, "r-1");
    let line = router.line();
    holds(&line, &["r-1: [VALID] event 1, key 7:MARKETING, to marketing"]);
    let told = router.stop();
    assert_eq!(told.stderr, "");
    holds(&told.text(), &["stopping: "]);
    let told = crate::support::run(command("verbose"), None).told(2);
    holds(&told, &["'verbose'", "[possible values: DEBUG, INFO, WARNING, ERROR, CRITICAL]"]);
}

#[test]
fn destinations_that_make_no_sense_are_named() {
    let broker = registered();
    for (json, part) in [
        (r#"{"FINANCE": {"output_subject": "s"}}"#, "destination \"FINANCE\" has no output_topic"),
        (r#"{"FINANCE": {"output_topic": "t"}}"#, "destination \"FINANCE\" has no output_subject"),
        (r#"{"FINANCE": {"output_topic": "t", "output_subject""#, "no JSON"),
        ("{}", "there is no destination"),
    ] {
        let told = refused(&broker, &["--destination-configurations", json], 2);
        holds(&told, &["error: destination_configurations: ", part]);
        assert!(!told.contains("routes"), "{told}");
    }
    holds(&refused(&broker, &[], 2), &["there is no destination"]);
    let file = broker.directory().join("route.toml");
    for (lines, part, code) in [
        ("output_subject = \"s\"", "destination \"Finance\" has no output_topic", 2),
        ("output_topic = \"t\"", "destination \"Finance\" has no output_subject", 2),
        ("output_topic = \"t\"\noutput = 1", "route.toml, line 3: unknown field `output`", 1),
        ("output_topic = ", "route.toml, line 2", 1),
    ] {
        fs::write(&file, format!("[destination_configurations.Finance]\n{lines}\n")).unwrap();
        holds(&refused(&broker, &["--config", "route.toml"], code), &[part]);
    }
    holds(&refused(&broker, &["--config", "elsewhere.toml"], 1), &["elsewhere.toml cannot be read"]);
    assert_eq!(broker.run(&["subscription", "list", "--format", "json"]).json().len(), 0, "nothing was made");
}

#[test]
fn settings_that_are_missing_are_named() {
    let broker = registered();
    let all = ["--processor-id", "r-1", "--source-topic", SOURCE, "--group-id", GROUP];
    for (at, name) in [(0, "processor_id"), (2, "source_topic"), (4, "group_id")] {
        let flags: Vec<_> = all.iter().enumerate().filter(|(n, _)| n / 2 != at / 2).map(|(_, flag)| *flag).collect();
        let told = broker.run(&[&["route", "--destination-configurations", TWO][..], &flags].concat()).told(2);
        holds(&told, &[&format!("error: {name} is missing"), &format!("--{}", name.replace('_', "-"))]);
    }
}

#[test]
fn it_does_not_start_without_its_schemas() {
    let broker = Tilde::in_memory();
    let flags = ["--destination-configurations", TWO];
    let told = refused(&broker, &flags, 1);
    holds(&told, &[&format!("no schema of subject \"{INPUT}\""), "`tilde schema register"]);
    register(&broker, INPUT, &schema("producer-to-processor.avsc"));
    let told = refused(&broker, &flags, 1);
    holds(&told, &["destination FINANCE", &format!("no schema of subject \"{OUTPUT}\""), "`tilde schema register"]);
    register(&broker, OUTPUT, &schema("processor-to-consumer.avsc"));
    Router::start(&broker, "r-1", &[]).stop();
}

#[test]
fn a_schema_with_other_fields_is_refused_by_the_name_of_the_field() {
    let broker = Tilde::in_memory();
    let flags = ["--destination-configurations", TWO];
    let (input, output) = (schema("producer-to-processor.avsc"), schema("processor-to-consumer.avsc"));
    register(&broker, INPUT, &input.replace("event_timestamp", "time"));
    holds(&refused(&broker, &flags, 1), &[&format!("the schema of subject \"{INPUT}\""), "event_timestamp"]);
    broker.run(&["schema", "compatibility", INPUT, "none"]).ok();
    register(&broker, INPUT, &input);
    broker.run(&["schema", "compatibility", OUTPUT, "none"]).ok();
    for other in [
        output.replace("\"payload\"", "\"text\""),
        output.replace("{\"name\": \"payload\", \"type\": \"string\"}", "{\"name\": \"payload\", \"type\": \"long\"}"),
    ] {
        assert_ne!(other, output);
        register(&broker, OUTPUT, &other);
        let told = refused(&broker, &flags, 1);
        holds(&told, &["destination FINANCE: ", &format!("the schema of subject \"{OUTPUT}\""), "payload"]);
    }
}

#[test]
fn a_group_that_is_something_else_is_left_alone() {
    let broker = registered();
    let flags = ["--destination-configurations", TWO];
    broker.run(&["subscription", "create", GROUP, SOURCE]).ok();
    let told = refused(&broker, &flags, 1);
    holds(
        &told,
        &["subscription \"router\" is there and does not keep the order of keys", "hint: name another --group-id"],
    );
    // As the hint says.
    let order = ["--order", "key", "--max-outstanding-per-key", "2048"];
    broker.run(&[&["subscription", "update", GROUP, "other"][..], &order].concat()).ok();
    holds(&refused(&broker, &flags, 1), &["is there and reads other, not producer.to.processor"]);
    broker.run(&[&["subscription", "update", GROUP, SOURCE][..], &order].concat()).ok();
    Router::start(&broker, "r-1", &[]).stop();
}
