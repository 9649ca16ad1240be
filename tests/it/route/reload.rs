//! `tilde route`: destinations that change while events flow, and those that take none.

use std::fs;

use rustix::process::Signal;

use super::support::*;
use crate::support::{Tilde, dice::rounds};

/// Writes the file of the router: its destinations and their topics.
fn write(broker: &Tilde, destinations: &[(&str, &str)]) {
    let destination = |(name, topic): &(&str, &str)| {
        format!("[destination_configurations.{name}]\noutput_topic = \"{topic}\"\noutput_subject = \"{OUTPUT}\"\n")
    };
    let text: String = destinations.iter().map(destination).collect();
    fs::write(broker.directory().join("route.toml"), text).unwrap();
}

/// Has the router read its file again, and waits until it says what came of it.
#[track_caller]
fn reload(router: &mut Router, said: &str) {
    router.signal(Signal::HUP);
    let told = router.says("destinations ");
    assert!(told.contains(said), "{told}");
}

#[test]
fn destinations_change_while_events_flow() {
    let broker = registered();
    let maker = Maker::of(&broker);
    write(&broker, &[("finance", "finance")]);
    let mut router = Router::with(&broker, "r-1", &["--config", "route.toml"]);
    let of = maker.clone();
    let flow = Flow::start(&broker, move |n| of.event(&(n % 2).to_string(), "finance", &n.to_string()));
    let more =
        |router: &Router| router.delivers(router.measure("delivered_events_total{destination=\"FINANCE\"}") + 50);
    more(&router);
    // It goes elsewhere.
    write(&broker, &[("FINANCE", "money")]);
    reload(&mut router, "destinations were read again: FINANCE changes: topic \"money\"");
    arrived(&broker, "money", 50);
    reload(&mut router, "nothing has changed");
    // A file that makes no sense changes nothing.
    write(&broker, &[("FINANCE", ""), ("AUDIT", "audit")]);
    reload(
        &mut router,
        "destinations stay as they were: destination_configurations: destination \"FINANCE\" has no output_topic",
    );
    fs::write(broker.directory().join("route.toml"), "[destination_configurations").unwrap();
    reload(&mut router, "destinations stay as they were: route.toml, line 1");
    let text = "[destination_configurations.A]\noutput_topic = \"a\"\noutput_subject = \"a\"\n";
    fs::write(broker.directory().join("route.toml"), text).unwrap();
    reload(&mut router, "has no schema of subject \"a\"");
    more(&router);
    // Another one is there, and is not any more.
    write(&broker, &[("FINANCE", "money"), ("audit", "audit")]);
    reload(&mut router, "destinations were read again: AUDIT is there: topic \"audit\"");
    publish(&broker, [maker.event("7", "Audit", "0")]);
    arrived(&broker, "audit", 1);
    write(&broker, &[("FINANCE", "money")]);
    reload(&mut router, "destinations were read again: AUDIT is there no longer");
    publish(&broker, [maker.event("7", "Audit", "1")]);
    router.counts("dead_lettered_events_total{reason=\"destination\"}", 1);
    more(&router);
    let count = flow.stop();
    settled(&broker);
    let [before, after] = ["finance", "money"].map(|topic| routed(&broker, topic));
    let both = [before, after].concat();
    for (key, numbers) in numbers(&both) {
        let origin: usize = key.split(':').next().unwrap().parse().unwrap();
        assert_eq!(numbers, (0..count).filter(|n| n % 2 == origin).collect::<Vec<_>>(), "{key}");
    }
    assert_eq!((both.len(), routed(&broker, "audit").len()), (count, 1));
}

#[test]
fn without_a_file_nothing_is_read_again() {
    let broker = registered();
    let mut router = Router::start(&broker, "r-1", &[]);
    router.signal(Signal::HUP);
    router.says("SIGHUP: there is no file with destinations to read again");
    publish(&broker, [Maker::of(&broker).event("7", "finance", "0")]);
    arrived(&broker, "finance", 1);
}

#[test]
fn a_destination_that_refuses_holds_up_no_other_and_loses_nothing() {
    let broker = registered();
    register(&broker, "other-value", r#"{"type":"record","name":"Other","fields":[{"name":"cents","type":"long"}]}"#);
    let maker = Maker::of(&broker);
    let mut router = Router::start(&broker, "r-1", &[]);
    let event = |n: usize| maker.event(&(n % 6).to_string(), ["finance", "marketing"][n % 2], &n.to_string());
    publish(&broker, (0..100).map(event));
    router.delivers(100);
    broker.run(&["namespace", "update", "default", "--topic-schema", "finance=enforce:other-value"]).ok();
    publish(&broker, (100..700).map(event));
    let told = router.says("destination FINANCE takes no events: ");
    assert!(told.contains("SCHEMA_VIOLATION"), "{told}");
    arrived(&broker, "marketing", 350);
    assert_eq!(lying(&broker, "finance").len(), 50);
    assert_eq!(router.measure("destination_refuses{destination=\"FINANCE\"}"), 1);
    assert_eq!(router.measure("destination_refuses{destination=\"MARKETING\"}"), 0);
    router.counts("returned_events_total{destination=\"FINANCE\"}", 300);
    assert_eq!(router.measure("returned_events_total{destination=\"MARKETING\"}"), 0);
    // It is tried again, and the other one goes on.
    publish(&broker, (700..800).map(event));
    arrived(&broker, "marketing", 400);
    router.counts("returned_events_total{destination=\"FINANCE\"}", 301);
    broker.run(&["namespace", "update", "default", "--topic-schema", "none"]).ok();
    router.says("destination FINANCE takes events again");
    settled(&broker);
    assert_eq!(router.measure("destination_refuses{destination=\"FINANCE\"}"), 0);
    for (at, topic) in ["finance", "marketing"].into_iter().enumerate() {
        for (key, numbers) in numbers(&routed(&broker, topic)) {
            let origin: usize = key.split(':').next().unwrap().parse().unwrap();
            let expected: Vec<_> = (0..800).filter(|n| (n % 2, n % 6) == (at, origin)).collect();
            assert_eq!(numbers, expected, "{key}");
        }
    }
    assert_eq!(lying(&broker, &format!("$dead/{GROUP}")).len(), 0);
}

#[test]
fn a_refusal_that_comes_and_goes_keeps_the_order() {
    let broker = registered();
    register(&broker, "other-value", r#"{"type":"record","name":"Other","fields":[{"name":"cents","type":"long"}]}"#);
    let maker = Maker::of(&broker);
    let mut router = Router::start(&broker, "r-1", &[]);
    let flow = Flow::start(&broker, move |n| maker.event(&(n % 4).to_string(), "finance", &n.to_string()));
    for round in 1..=rounds(4, 50) {
        router.delivers(20 * round as u64);
        broker.run(&["namespace", "update", "default", "--topic-schema", "finance=enforce:other-value"]).ok();
        router.says("destination FINANCE takes no events: ");
        broker.run(&["namespace", "update", "default", "--topic-schema", "none"]).ok();
        router.says("destination FINANCE takes events again");
    }
    let count = flow.stop();
    settled(&broker);
    let routed = routed(&broker, "finance");
    assert_eq!(routed.len(), count);
    for (key, numbers) in numbers(&routed) {
        let origin: usize = key.split(':').next().unwrap().parse().unwrap();
        assert_eq!(numbers, (0..count).filter(|n| n % 4 == origin).collect::<Vec<_>>(), "{key}");
    }
}

#[test]
fn a_router_can_be_stopped_while_a_destination_refuses() {
    let broker = registered();
    register(&broker, "other-value", r#"{"type":"record","name":"Other","fields":[{"name":"cents","type":"long"}]}"#);
    broker.run(&["namespace", "update", "default", "--topic-schema", "finance=enforce:other-value"]).ok();
    let maker = Maker::of(&broker);
    let mut router = Router::start(&broker, "r-1", &NEVER);
    let event = |n: usize| maker.event("7", ["finance", "marketing"][n % 2], &n.to_string());
    publish(&broker, (0..100).map(event));
    router.says("destination FINANCE takes no events: ");
    router.delivers(50);
    router.stop();
    let stats = stats(&broker);
    assert_eq!((&stats["acked"], &stats["backlog_messages"], &stats["consumers"]), (&50.into(), &50.into(), &0.into()));
    broker.run(&["namespace", "update", "default", "--topic-schema", "none"]).ok();
    let _router = Router::start(&broker, "r-1", &[]);
    settled(&broker);
    for (at, topic) in ["finance", "marketing"].into_iter().enumerate() {
        let expected: Vec<_> = (0..100).filter(|n| n % 2 == at).collect();
        let routed = routed(&broker, topic);
        assert_eq!(numbers(&routed).into_values().collect::<Vec<_>>(), [expected], "{topic}");
    }
}
